"""What waits for a person in payments: figures of the overview, each with the list it leads to."""

from collections.abc import Callable, Iterator
from datetime import datetime

from billing.admin_links import list_url
from billing.money_text import counted
from billing.payments.disputing.operations import ANSWER, awaiting_answer
from billing.payments.recovery.models import WriteOffRequest
from billing.payments.recovery.write_offs import DECIDE, cases_to_decide
from billing.payments.refunding.models import RefundBatch, RefundRequest
from billing.payments.refunding.operations import APPROVE

Row = tuple[str, str, str, str, str]


def payments_waiting(may: Callable[[str], bool], *, now: datetime) -> Iterator[Row]:
    """Name, value, note, address and tone of each figure the reader may act on; at most one query each, or two."""
    if may(ANSWER):
        found = list(awaiting_answer(now=now)[:100])
        note = "no bank waits for evidence"
        if found and found[0].respond_by is not None:
            note = f"the first answer is due {found[0].respond_by:%d %b %H:%M} UTC"
        yield "Disputes to answer", str(len(found)), note, list_url("billing.dispute"), "bad" if found else "good"
    if may(APPROVE):
        state = RefundRequest.State.WAITING
        singles = RefundRequest.objects.filter(state=state, batch=None).count()
        batches = RefundBatch.objects.filter(lines__state=state).distinct().count()
        url = list_url("billing.refundrequest", state__exact=state)
        tone = "waiting" if singles + batches else "good"
        note = f"{counted(singles, 'request')}, {batches:,} {'batch' if batches == 1 else 'batches'}"
        yield "Refunds to decide", str(singles + batches), note, url, tone
    if may(DECIDE):
        number, asked_for = cases_to_decide().count(), WriteOffRequest.objects.filter(decision=None).count()
        note = f"{asked_for} asked for, {number - asked_for} proposed by the policy"
        url = list_url("billing.recoverycase", write_off="waiting")
        yield "Write-offs to decide", str(number), note, url, "waiting" if number else "good"
