"""Every check, in the order in which one cent passes through them: the first that parts is where to look."""

from billing.reconciliation import ledger_checks, stripe_checks, usage_checks
from billing.reconciliation.comparison import Check

# events_inbox runs before the comparisons with Stripe: what it misses explains what they find.
CHECKS: dict[str, Check] = {
    "events_windows": usage_checks.events_windows,
    "windows_rated": usage_checks.windows_rated,
    "rated_funded": usage_checks.rated_funded,
    "rated_ledger": ledger_checks.rated_ledger,
    "unbilled_invoiced": ledger_checks.unbilled_invoiced,
    "line_rounding": ledger_checks.line_rounding,
    "events_inbox": stripe_checks.events_inbox,
    "ledger_stripe_invoices": stripe_checks.ledger_stripe_invoices,
    "ledger_stripe_customers": stripe_checks.ledger_stripe_customers,
    "stripe_balance": stripe_checks.stripe_balance,
    "ledger_balanced": ledger_checks.ledger_balanced,
    "identity": ledger_checks.identity,
    "orphans": usage_checks.orphans,
}
