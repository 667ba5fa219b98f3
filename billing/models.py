"""Every table of billing, told room by room in the order in which one cent passes through them."""

from billing.catalog.models import Plan, PlanVersion, Rate, RateCard
from billing.customers.models import Customer
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceCloseStep, InvoiceLine
from billing.payments.models import BalanceTransaction, CustomerBalanceTransaction, Payment
from billing.rating.models import GrantDrawdown, UsageAccrual, UsageAccrualLine
from billing.reconciliation.models import Discrepancy, ReconciliationRun
from billing.stripe.models import InboxEvent, OutboxIntent
from billing.subscriptions.models import BillingPeriod, Subscription

__all__ = [
    "BalanceTransaction",
    "BillingPeriod",
    "Customer",
    "CustomerBalanceTransaction",
    "Discrepancy",
    "GrantDrawdown",
    "InboxEvent",
    "Invoice",
    "InvoiceClose",
    "InvoiceCloseStep",
    "InvoiceLine",
    "OutboxIntent",
    "Payment",
    "Plan",
    "PlanVersion",
    "Rate",
    "RateCard",
    "ReconciliationRun",
    "Subscription",
    "UsageAccrual",
    "UsageAccrualLine",
]
