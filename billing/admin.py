"""Django looks here for billing's admin pages; each room keeps its own."""

from billing.accounting import admin as accounting
from billing.catalog import admin as catalog
from billing.customers import admin as customers
from billing.invoicing import admin as invoicing
from billing.invoicing import late_admin
from billing.invoicing.metered import admin as metered_admin
from billing.invoicing.metered import shortfall_admin
from billing.invoicing.orders import admin as invoice_order_admin
from billing.invoicing.requests import admin as invoice_request_admin
from billing.payments import admin as payments
from billing.payments.bank import admin as bank_admin
from billing.payments.disputing import admin as disputing_admin
from billing.payments.recovery import admin as recovery_admin
from billing.payments.refunding import admin as refunding_admin
from billing.rating import admin as rating
from billing.reconciliation import admin as reconciliation
from billing.rollouts import admin as rollout_admin
from billing.rollouts.approvals import admin as approval_admin
from billing.rollouts.backtests import admin as backtest_admin
from billing.rollouts.shadow import admin as shadow_admin
from billing.stripe import admin as stripe
from billing.subscriptions import admin as subscriptions
from billing.takeover import admin as takeover_admin
from billing.teams import admin as teams

__all__ = [
    "accounting",
    "approval_admin",
    "backtest_admin",
    "bank_admin",
    "catalog",
    "customers",
    "disputing_admin",
    "invoice_order_admin",
    "invoice_request_admin",
    "invoicing",
    "late_admin",
    "metered_admin",
    "payments",
    "rating",
    "reconciliation",
    "recovery_admin",
    "refunding_admin",
    "rollout_admin",
    "shadow_admin",
    "shortfall_admin",
    "stripe",
    "subscriptions",
    "takeover_admin",
    "teams",
]
