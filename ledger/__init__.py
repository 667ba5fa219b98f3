"""Who holds value, and every movement of it."""
