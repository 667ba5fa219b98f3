"""
Which requests for money to move have ended, so that nobody redrives their writes to Stripe past that (redriving.py).

A refund that Stripe refused is refused for good here: its amount may be asked for anew, and sending the old one as well
would give it back twice.
"""

from billing.invoicing.requests.models import InvoiceRequest
from billing.payments.disputing.models import DisputeAcceptance
from billing.payments.recovery.models import RecoveryCase, RecoveryStep, WriteOffRequest
from billing.payments.refunding.models import RefundRequest
from billing.stripe import redriving
from billing.stripe.models import OutboxIntent

_ASK_ANEW = "Ask for it anew."


def install() -> None:
    redriving.guard_by("refund:", _refund)
    redriving.guard_by("invoice_request:", _invoice_request)
    redriving.guard_by("recovery:", _attempt)
    redriving.guard_by("write_off:", _write_off)
    redriving.guard_by("dispute:", _acceptance)


def _refund(intent: OutboxIntent) -> str:
    asked = RefundRequest.objects.filter(pk=_number(intent, 1)).first()
    if asked is None or asked.state in (RefundRequest.State.WAITING, RefundRequest.State.AGREED):
        return ""
    return f"the refund request behind it has ended: {asked.get_state_display().lower()}. {_ASK_ANEW}"


def _invoice_request(intent: OutboxIntent) -> str:
    asked = InvoiceRequest.objects.filter(pk=_number(intent, 1)).first()
    if asked is None or asked.state in (InvoiceRequest.State.WAITING, InvoiceRequest.State.INTENDED):
        return ""
    return f"the request behind it has ended: {asked.get_state_display().lower()}. {_ASK_ANEW}"


def _attempt(intent: OutboxIntent) -> str:
    """A try to collect, `recovery:<case>:pay:<number>`. Its result is recorded, and later tries have followed."""
    if intent.operation != "invoices.pay":
        return ""
    case_id, number = _number(intent, 1), _number(intent, 3)
    steps = RecoveryStep.objects.filter(case=case_id, kind=RecoveryStep.Kind.ATTEMPT, number=number)
    is_closed = RecoveryCase.objects.filter(pk=case_id).exclude(state=RecoveryCase.State.OPEN).exists()
    if not is_closed and not steps.exists():
        return ""
    return "this try has ended. The next one of the case comes by itself; or let the customer pay the invoice."


def _write_off(intent: OutboxIntent) -> str:
    asked = WriteOffRequest.objects.filter(pk=_number(intent, 1)).first()
    if asked is None or not (asked.error or asked.done_at):
        return ""
    return f"the request to give up the debt has ended. {_ASK_ANEW}"


def _acceptance(intent: OutboxIntent) -> str:
    if intent.operation != "disputes.close":
        return ""
    asked = DisputeAcceptance.objects.filter(pk=_number(intent, 3)).first()
    if asked is None or not (asked.error or asked.done_at):
        return ""
    return "the request to accept the dispute has ended. Answer the dispute, or accept it at Stripe."


def _number(intent: OutboxIntent, position: int) -> int:
    """A part of the purpose, such as the 7 of refund:7. One that is no number names nothing."""
    parts = intent.purpose.split(":")
    return int(parts[position]) if len(parts) > position and parts[position].isdecimal() else 0
