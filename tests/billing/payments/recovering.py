"""
Stories of payments that fail. The task of recovery runs when the test says, at instants of the sandbox's clock; what is
projected is projected at the thread's, which goes by the events' arrival.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from billing.invoicing.models import Invoice
from billing.payments.recovery import operations, queries
from billing.payments.recovery.carrying_out import advance_case
from billing.payments.recovery.models import Message, RecoveryCase
from billing.payments.recovery.policy import terms_of
from billing.stripe.errors import StripeUnavailable
from tests.billing.accounting.stripe_story import HAND_DECLINED
from tests.billing.thread import SECOND_MONTH, START, Thread

OURS: dict[str, Any] = {
    "retries": "ours",
    "retry_days": [3, 5, 7],
    "reminders": [{"day": 0, "text": "payment_failed"}, {"day": 6, "text": "last_reminder"}],
    "grace_days": 4,
    "restrict_after_days": 8,
    "write_off_after_days": 30,
}
SECOND = timedelta(seconds=1)


def choose(terms: dict[str, Any] | None = None, **changes: Any) -> None:
    """This policy holds for everybody."""
    policy = operations.declare_policy(
        code="tests", name="Tests", terms=terms_of({**(terms or OURS), **changes}), actor="user:fiona", now=START
    )
    operations.choose_policy(policy=policy, reason="for the tests", actor="user:fiona", now=START)


def failed(thread: Thread, *, card: str = HAND_DECLINED, first_card: str = "pm_card_visa") -> RecoveryCase:
    """Ada's first month is paid; her second, 20.00, cannot be collected."""
    thread.subscribe(card=first_card)
    thread.settle()
    thread.use_card("ada", card)
    go_to(thread, SECOND_MONTH + timedelta(hours=2))
    return RecoveryCase.objects.select_related("invoice", "customer").get()


def go_to(thread: Thread, instant: datetime) -> None:
    """It is then at Stripe, and what happened on the way is projected."""
    thread.sandbox.advance(instant)
    thread.settle()


def run(thread: Thread, at: datetime | None = None) -> int:
    """The task runs once, at an instant or at the sandbox's present; what came of it is projected."""
    now = at or sandbox_now(thread)
    operations.open_overdue_cases(now=now, limit=10)
    advanced = 0
    for case_id in queries.due_cases(now=now, limit=10):
        with suppress(StripeUnavailable):
            advanced += advance_case(case_id=case_id, now=now)
    if advanced:
        thread.settle()
    return advanced


def day(case: RecoveryCase, number: int) -> datetime:
    return case.failed_at + timedelta(days=number)


def steps(case: RecoveryCase) -> list[tuple[str, int, str]]:
    return list(case.steps.values_list("kind", "number", "result"))


def attempts(case: RecoveryCase) -> list[tuple[int, str]]:
    return list(case.steps.filter(kind="attempt").values_list("number", "result"))


def charges(thread: Thread, case: RecoveryCase) -> list[str]:
    """The states of all charges made for the customer since the first month's."""
    made = [one for one in thread.sandbox.state()["charge"] if one["created"] >= int(SECOND_MONTH.timestamp())]
    return [one["status"] for one in made]


def texts() -> list[str]:
    return list(Message.objects.order_by("pk").values_list("text", flat=True))


def sandbox_now(thread: Thread) -> datetime:
    return datetime.fromtimestamp(thread.sandbox.now(), tz=UTC)


def invoice_path(case: RecoveryCase) -> str:
    return f"/v1/invoices/{Invoice.objects.get(pk=case.invoice_id).stripe_invoice_id}"
