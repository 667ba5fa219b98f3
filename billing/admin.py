"""Django looks here for billing's admin pages; each room keeps its own."""

from billing.accounting import admin as accounting
from billing.catalog import admin as catalog
from billing.customers import admin as customers
from billing.invoicing import admin as invoicing
from billing.invoicing import late_admin
from billing.payments import admin as payments
from billing.rating import admin as rating
from billing.reconciliation import admin as reconciliation
from billing.stripe import admin as stripe
from billing.subscriptions import admin as subscriptions

__all__ = [
    "accounting",
    "catalog",
    "customers",
    "invoicing",
    "late_admin",
    "payments",
    "rating",
    "reconciliation",
    "stripe",
    "subscriptions",
]
