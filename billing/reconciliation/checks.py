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
from billing.reconciliation.comparison import Check, Part, Slicing


def _whole(check: Check) -> Part:
    return Part(Slicing.WHOLE, check)


def _days(check: Check) -> Part:
    return Part(Slicing.DAYS, check)


def _customers(check: Check) -> Part:
    return Part(Slicing.CUSTOMERS, check)


# events_inbox runs before the comparisons with Stripe: what it misses explains what they find.
CHECKS: dict[str, tuple[Part, ...]] = {
    "events_windows": (_days(usage_checks.events_windows),),
    "windows_rated": (_customers(usage_checks.windows_rated),),
    "rated_funded": (_customers(usage_checks.rated_funded),),
    "rated_ledger": (_customers(ledger_checks.rated_ledger), _whole(ledger_checks.accrued_by_nobody)),
    "unbilled_invoiced": (_customers(ledger_checks.unbilled_invoiced),),
    "line_rounding": (_days(ledger_checks.line_rounding), _whole(ledger_checks.rounding_accounts)),
    "invoice_proofs": (_days(proof_checks.invoice_proofs),),
    "invoice_accounts": (_whole(invoice_checks.invoice_accounts), _customers(invoice_checks.credited_and_prepaid)),
    "receivable_invoices": (_customers(receivable_checks.receivable_invoices),),
    "events_inbox": (_days(stripe_checks.events_inbox),),
    "customers_subscriptions": (_days(stripe_checks.customers_subscriptions),),
    "ledger_stripe_invoices": (_days(stripe_checks.ledger_stripe_invoices),),
    "metered_stripe": (_whole(metered_checks.metered_unanswered), _customers(metered_checks.metered_stripe)),
    "ledger_stripe_customers": (_whole(stripe_checks.ledger_stripe_customers),),
    "changes_invoiced": (
        _whole(subscription_checks.changes_overdue),
        _customers(subscription_checks.changes_invoiced),
    ),
    "stripe_balance": (_days(stripe_checks.stripe_balance), _whole(stripe_checks.clearing_account)),
    "stripe_money": (_days(money_checks.stripe_money),),
    "bank_lines": (_whole(bank_checks.bank_lines),),
    "clearing_accounts": (_whole(money_checks.clearing_accounts),),
    "ledger_balanced": (_whole(ledger_checks.ledger_balanced),),
    "identity": (_customers(ledger_checks.identity),),
    "manual_entries": (_whole(manual_entry_checks.manual_entries),),
    "orphans": (_whole(usage_checks.orphans),),
}
