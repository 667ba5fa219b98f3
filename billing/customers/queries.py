"""All reads about customers."""

from billing.customers.models import Customer


def customer_by_key(customer_key: str) -> Customer | None:
    """Return the customer with this key, or None."""
    return Customer.objects.filter(customer_key=customer_key).first()


def customer_by_stripe_id(stripe_customer_id: str) -> Customer | None:
    """Return the customer that is this one at Stripe, or None."""
    return Customer.objects.filter(stripe_customer_id=stripe_customer_id).first()
