"""Ours and Stripe's at the end of a life, side by side; and our figures alone, to be the same in every order."""

from collections import Counter
from typing import Any

from django.db import connection

from billing.customers.models import Customer
from billing.invoicing.models import CreditNote, Invoice
from billing.payments.models import BalanceTransaction, CustomerBalanceTransaction, Dispute, Payment, Payout, Refund
from billing.stripe import mirror, mirroring
from billing.stripe.models import InboxEvent
from billing.subscriptions.models import Subscription
from ledger import queries as ledger_queries
from tests.billing.accounting.documents import balances
from tests.billing.accounting.stripe_story import discrepancies
from tests.billing.convergence.life import Life

State = dict[str, list[dict[str, Any]]]
Figures = dict[str, Any]
# How often a period was rated on the way is of no matter: what it came to is.
RATING = ("usage_accrued",)

_ENTRIES = """
SELECT en.kind, array_agg(ac.code || ' ' || trim_scale(po.amount) ORDER BY ac.code, po.amount)
  FROM ledger_journalentry en
  JOIN ledger_posting po ON po.entry_id = en.id
  JOIN ledger_account ac ON ac.id = po.account_id
 GROUP BY en.id
"""


def differences(life: Life, *, reconciled: bool) -> list[str]:
    """Everything in which our rows are not what Stripe says, in words; `reconciled` asks reconciliation, too."""
    state: State = life.sandbox.state()
    found = [f"{name}: ours {ours}, Stripe's {theirs}" for name, ours, theirs in _pairs(state) if ours != theirs]
    found += [f"event {one}" for one in life.unfinished()]
    found += [f"out of balance: {one}" for one in ledger_queries.out_of_balance()]
    if reconciled:
        found += [f"reconciliation: {one}" for one in discrepancies(life)]
    return found


def mirror_differences(life: Life) -> list[str]:
    """The same of dj-stripe's tables, once they followed every event."""
    while mirror.refresh(now=life.now, limit=500):
        pass
    followed = set(InboxEvent.objects.exclude(mirrored_at=None).values_list("object_id", flat=True))
    found = mirroring.compare(go_on=lambda: True, on_page=lambda *_: None)
    return [str(one) for one in found if one.object_id in followed]


def _pairs(state: State) -> list[tuple[str, Any, Any]]:
    """(what is compared, as we have it, as Stripe has it)"""
    return [
        ("invoices", _ours_of_invoices(), _invoices(state)),
        ("payments", _ours_of_payments(), _payments(state)),
        ("refunds", _rows(Refund, "stripe_refund_id", "status", "amount_minor"), _plain(state, "refund")),
        ("disputes", _rows(Dispute, "stripe_dispute_id", "amount_minor"), _disputes(state)),
        ("payouts", _rows(Payout, "stripe_payout_id", "status", "amount_minor"), _plain(state, "payout")),
        ("credit notes", _rows(CreditNote, "stripe_credit_note_id", "status", "total_minor"), _notes(state)),
        ("customer balances", _ours_of_balances(), _balances(state)),
        ("subscriptions", _rows(Subscription, "stripe_subscription_id", "status"), _subscriptions(state)),
        ("balance transactions", _once(BalanceTransaction), _ids(state, "balance_transaction")),
        ("balance movements", _once(CustomerBalanceTransaction), _ids(state, "customer_balance_transaction")),
    ]


def _rows(model: Any, *names: str) -> dict[str, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in model.objects.values_list(*names)}


def _once(model: Any) -> Counter[str]:
    return Counter(model.objects.values_list("stripe_id", flat=True))


def _ids(state: State, kind: str) -> Counter[str]:
    return Counter(one["id"] for one in state.get(kind, []))


def _plain(state: State, kind: str) -> dict[str, tuple[Any, ...]]:
    return {one["id"]: (one["status"], one["amount"]) for one in state.get(kind, [])}


def _ours_of_invoices() -> dict[str, tuple[Any, ...]]:
    return _rows(Invoice, "stripe_invoice_id", "status", "total_minor", "amount_paid_minor", "amount_remaining_minor")


def _invoices(state: State) -> dict[str, tuple[Any, ...]]:
    return {
        one["id"]: (one["status"], one["total"], one["amount_paid"], one["amount_remaining"])
        for one in state.get("invoice", [])
    }


def _ours_of_payments() -> dict[str, tuple[Any, ...]]:
    known = Payment.objects.filter(status="succeeded")
    return {row[0]: row[1:] for row in known.values_list("stripe_payment_intent_id", "amount_minor")}


def _payments(state: State) -> dict[str, tuple[Any, ...]]:
    return {one["id"]: (one["amount_received"],) for one in state.get("payment_intent", []) if one["amount_received"]}


def _disputes(state: State) -> dict[str, tuple[Any, ...]]:
    return {one["id"]: (one["amount"],) for one in state.get("dispute", [])}


def _notes(state: State) -> dict[str, tuple[Any, ...]]:
    return {one["id"]: (one["status"], one["total"]) for one in state.get("credit_note", [])}


def _ours_of_balances() -> dict[str, int]:
    rows = CustomerBalanceTransaction.objects.values_list("customer__stripe_customer_id", "amount_minor")
    found = dict.fromkeys(Customer.objects.values_list("stripe_customer_id", flat=True), 0)
    for stripe_id, amount in rows:
        found[stripe_id] += amount
    return {str(stripe_id): amount for stripe_id, amount in found.items()}


def _balances(state: State) -> dict[str, int]:
    return {one["id"]: one["balance"] for one in state.get("customer", [])}


def _subscriptions(state: State) -> dict[str, tuple[Any, ...]]:
    return {one["id"]: (one["status"],) for one in state.get("subscription", [])}


def figures(life: Life) -> Figures:
    """Ledger figures without ids, and how often something was done at Stripe that costs somebody money."""
    with connection.cursor() as cursor:
        cursor.execute(_ENTRIES)
        entries = Counter((kind, tuple(postings)) for kind, postings in cursor.fetchall() if kind not in RATING)
    state = life.sandbox.state()
    kinds = ("charge", "invoice", "credit_note", "refund", "payout", "invoiceitem", "subscription", "customer")
    return {
        "balances": balances(),
        "entries": entries,
        "at Stripe": {kind: len(state.get(kind, [])) for kind in kinds},
        "lines": sorted(
            (line["amount"], line["quantity"] or 0) for one in state["invoice"] for line in one["lines"]["data"]
        ),
    }


def first_difference(left: Figures, right: Figures) -> str:
    """Which figure is another, for the message of a test that failed."""
    for name in left:
        if left[name] == right[name]:
            continue
        if isinstance(left[name], Counter):
            return f"{name}: only first {left[name] - right[name]}; only second {right[name] - left[name]}"
        return f"{name}: {left[name]} != {right[name]}"
    return ""
