"""What things cost and how much was used: products, prices, plans, meters, billing credits."""
