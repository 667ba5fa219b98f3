"""
One month of Ada, and its reconciliation.

1,234,567 tokens cost 3.703701 USD; a grant pays 1, so the line is 2.703701, charged as 2.70; with the fee of 20.00 the
second invoice is 22.70, of which Stripe keeps 0.96.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from billing.reconciliation.models import Discrepancy, ReconciliationRun
from billing.reconciliation.operations import reconcile
from promotions.operations import issue_grant
from tests.billing.accounting.people import hire
from tests.billing.payments.bank.importing import take
from tests.billing.thread import SECOND_MONTH, START, Thread

OCT_10 = datetime(2026, 10, 10, 12, tzinfo=UTC)


def live_through(thread: Thread) -> None:
    """From the first payment to the paid invoice of the second."""
    thread.subscribe()
    thread.settle()
    issue_grant(
        customer_key="ada",
        kind="goodwill",
        name="Apology",
        amount=Decimal(1),
        currency="USD",
        effective_at=START,
        expires_at=None,
        reason="a test",
        actor="user:tester",
        idempotency_key="apology",
        recorded_at=thread.now,
    )
    thread.use(1_234_567, at=OCT_10)
    thread.sandbox.advance(SECOND_MONTH)
    thread.settle()


def hear_from_the_bank() -> None:
    """A statement of the bank, of which no line is Stripe's."""
    hire()
    take("2026-10-05,-500.00,rent")


def reconciled(thread: Thread) -> ReconciliationRun:
    return reconcile(
        range_start=START, range_end=SECOND_MONTH + timedelta(hours=1), now=thread.now, actor="user:tester"
    )


def discrepancies(thread: Thread) -> list[Discrepancy]:
    return list(reconciled(thread).discrepancies.order_by("id"))
