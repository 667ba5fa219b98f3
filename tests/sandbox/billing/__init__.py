"""How Stripe behaves with money: lines, finalisation, charging, renewal. Called by `resources` and by the clock."""
