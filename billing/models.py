"""Every table of billing, told room by room in the order in which one cent passes through them."""

from billing.accounting.models import ManualEntry, ManualEntryDecision
from billing.accounting.reports.models import FinanceReport
from billing.catalog.models import Allowance, Plan, PlanVersion, Product, Rate, RateCard
from billing.customers.models import Customer
from billing.invoicing.models import (
    AbsorbedUsage,
    CreditNote,
    CreditNoteLine,
    Invoice,
    InvoiceClose,
    InvoiceCloseStep,
    InvoiceLine,
    LateCorrection,
    LateCreditLine,
    PrepaidPurchase,
)
from billing.payments.models import (
    BalanceTransaction,
    CreditNoteRefund,
    CustomerBalanceTransaction,
    Dispute,
    Payment,
    Payout,
    Refund,
)
from billing.rating.models import (
    AllowanceDrawdown,
    GrantDrawdown,
    LateProgress,
    LateUsage,
    UsageAccrual,
    UsageAccrualLine,
)
from billing.reconciliation.models import Discrepancy, ReconciliationRun
from billing.rollouts.models.backtests import Backtest, BacktestLine, BacktestPart
from billing.rollouts.models.rollouts import (
    ApprovalDecision,
    ApprovalRequest,
    Rollout,
    RolloutCheck,
    RolloutEvent,
    RolloutLimits,
    RolloutMove,
    RolloutStage,
)
from billing.rollouts.models.shadow import ShadowPeriod, ShadowPoint, ShadowRating
from billing.stripe.models import InboxEvent, OutboxIntent
from billing.subscriptions.models import BillingPeriod, PeriodAddOn, PeriodAllowance, Subscription, SubscriptionAddOn

__all__ = [
    "AbsorbedUsage",
    "Allowance",
    "AllowanceDrawdown",
    "ApprovalDecision",
    "ApprovalRequest",
    "Backtest",
    "BacktestLine",
    "BacktestPart",
    "BalanceTransaction",
    "BillingPeriod",
    "CreditNote",
    "CreditNoteLine",
    "CreditNoteRefund",
    "Customer",
    "CustomerBalanceTransaction",
    "Discrepancy",
    "Dispute",
    "FinanceReport",
    "GrantDrawdown",
    "InboxEvent",
    "Invoice",
    "InvoiceClose",
    "InvoiceCloseStep",
    "InvoiceLine",
    "LateCorrection",
    "LateCreditLine",
    "LateProgress",
    "LateUsage",
    "ManualEntry",
    "ManualEntryDecision",
    "OutboxIntent",
    "Payment",
    "Payout",
    "PeriodAddOn",
    "PeriodAllowance",
    "Plan",
    "PlanVersion",
    "PrepaidPurchase",
    "Product",
    "Rate",
    "RateCard",
    "ReconciliationRun",
    "Refund",
    "Rollout",
    "RolloutCheck",
    "RolloutEvent",
    "RolloutLimits",
    "RolloutMove",
    "RolloutStage",
    "ShadowPeriod",
    "ShadowPoint",
    "ShadowRating",
    "Subscription",
    "SubscriptionAddOn",
    "UsageAccrual",
    "UsageAccrualLine",
]
