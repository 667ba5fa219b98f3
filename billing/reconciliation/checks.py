"""Every check, in the order in which one cent passes through them: the first that parts is where to look."""

from billing.reconciliation import (
    bank_checks,
    invoice_checks,
    ledger_checks,
    manual_entry_checks,
    metered_checks,
    money_checks,
    proof_checks,
    receivable_checks,
    stripe_checks,
    subscription_checks,
    usage_checks,
)
from billing.reconciliation.comparison import Check

# events_inbox runs before the comparisons with Stripe: what it misses explains what they find.
CHECKS: dict[str, Check] = {
    "events_windows": usage_checks.events_windows,
    "windows_rated": usage_checks.windows_rated,
    "rated_funded": usage_checks.rated_funded,
    "rated_ledger": ledger_checks.rated_ledger,
    "unbilled_invoiced": ledger_checks.unbilled_invoiced,
    "line_rounding": ledger_checks.line_rounding,
    "invoice_proofs": proof_checks.invoice_proofs,
    "invoice_accounts": invoice_checks.invoice_accounts,
    "receivable_invoices": receivable_checks.receivable_invoices,
    "events_inbox": stripe_checks.events_inbox,
    "customers_subscriptions": stripe_checks.customers_subscriptions,
    "ledger_stripe_invoices": stripe_checks.ledger_stripe_invoices,
    "metered_stripe": metered_checks.metered_stripe,
    "ledger_stripe_customers": stripe_checks.ledger_stripe_customers,
    "changes_invoiced": subscription_checks.changes_invoiced,
    "stripe_balance": stripe_checks.stripe_balance,
    "stripe_money": money_checks.stripe_money,
    "bank_lines": bank_checks.bank_lines,
    "clearing_accounts": money_checks.clearing_accounts,
    "ledger_balanced": ledger_checks.ledger_balanced,
    "identity": ledger_checks.identity,
    "manual_entries": manual_entry_checks.manual_entries,
    "orphans": usage_checks.orphans,
}
