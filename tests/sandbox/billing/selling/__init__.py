"""Stripe's selling pages: checkout, payment links, quotes, the customer portal."""
