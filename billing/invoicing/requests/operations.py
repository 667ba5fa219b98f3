"""
Asking for something to be done about invoices, and deciding about it: one-offs, voids, credit notes.

Within the limit of one person a request is carried out by the task at once; above it, it waits for somebody else. As
manual entries do, these take turns (`billing_lock_manual_entries`). Then the customer is held, so that two halves of a
sum see each other, whichever way each is moved.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from django.db import connection, transaction

from billing.accounting.limits import limit_of, moved_alone
from billing.accounting.people import may
from billing.customers.operations import lock_customer
from billing.invoicing.orders.operations import order_one_off
from billing.invoicing.requests.models import InvoiceRequest, InvoiceRequestDecision
from billing.invoicing.requests.terms import InvalidRequest, InvoiceRequestError, Wanted, ordered_lines, void
from billing.invoicing.rounding import exact_minor, from_minor
from billing.money_text import exact_text

Kind, State = InvoiceRequest.Kind, InvoiceRequest.State
Outcome = InvoiceRequestDecision.Outcome
APPROVE = "billing.approve_invoicerequest"
PERMISSIONS: Mapping[str, str] = {
    Kind.ONE_OFF: "billing.order_one_off_invoice",
    Kind.CREDIT_NOTE: "billing.credit_invoice",
    Kind.VOID: "billing.void_invoice",
}
SERVICE = "service:"


class NotPermitted(InvoiceRequestError):
    """The actor may not do this."""


class RequestConflict(InvoiceRequestError):
    """The idempotency key asked for something else before, or another request about the invoice is under way."""


class AlreadyDecided(InvoiceRequestError):
    """Somebody decided about it before."""


class RequestNotFound(InvoiceRequestError):
    """There is no such request."""


def ask(wanted: Wanted, *, reason: str, actor: str, idempotency_key: str, now: datetime) -> InvoiceRequest:
    """
    Ask for something about an invoice; above the limit of one person it waits for a second.

    A service may ask for one-offs within the limit (its key's scope was checked before), and nothing waits for it. Said
    twice with one key it returns the first. Raises NotPermitted, InvalidRequest and RequestConflict.
    """
    _require_may_ask(wanted, actor)
    if not reason.strip():
        raise InvalidRequest("Say why, for whoever asks later.", field="reason")
    with transaction.atomic():
        _take_turn()
        lock_customer(customer_id=wanted.customer.pk)
        known = InvoiceRequest.objects.filter(idempotency_key=idempotency_key).first()
        if known is not None:
            return _require_same(known, wanted, reason=reason.strip(), actor=actor)
        _require_no_other(wanted)
        asked = weigh(wanted, actor=actor, now=now)
        asked.reason, asked.idempotency_key = reason.strip(), idempotency_key
        if asked.needs_second_person and actor.startswith(SERVICE):
            raise NotPermitted(f"{why_waiting(asked)} A person has to ask for it, in the admin.", field="lines")
        asked.save(force_insert=True)
        if not asked.needs_second_person:
            _decide(asked, Outcome.WITHIN_LIMIT, actor=actor, words="", now=now)
        return asked


def weigh(wanted: Wanted, *, actor: str, now: datetime) -> InvoiceRequest:
    """The request, not saved: whether one person may have it done alone. What was moved alone before counts."""
    asked = InvoiceRequest(
        kind=wanted.kind,
        customer=wanted.customer,
        invoice=wanted.invoice,
        currency=wanted.customer.currency,
        amount_minor=wanted.amount_minor,
        terms=dict(wanted.terms),
        requested_by=actor,
        requested_at=now,
        next_attempt_at=now,
    )
    asked.limit_amount = limit_of(asked.currency)
    asked.alone_total = from_minor(wanted.amount_minor, asked.currency) + moved_alone(
        actor=actor, customer=asked.customer, currency=asked.currency, day=now.astimezone(UTC).date()
    )
    asked.needs_second_person = asked.limit_amount is None or asked.alone_total > asked.limit_amount
    asked.state = State.WAITING if asked.needs_second_person else State.INTENDED
    return asked


def approve(*, request_id: int, words: str, actor: str, now: datetime) -> InvoiceRequest:
    """
    Agree as the second person; the task then carries it out. Said twice by the same person it changes nothing.

    Raises NotPermitted if the actor asked for it, may not approve, or if who asked may not any more; AlreadyDecided,
    InvalidRequest without words, RequestNotFound.
    """
    with transaction.atomic():
        asked, is_done = _waiting(request_id, Outcome.APPROVED, actor=actor)
        if is_done:
            return asked
        _require_second_person(asked, actor=actor, words=words)
        if not may(asked.requested_by, PERMISSIONS[asked.kind]):
            who = asked.requested_by.removeprefix("user:")
            raise NotPermitted(f"{who}, who asked for this, may not ask for it any more. Reject it.")
        if asked.kind == Kind.VOID:
            _require_possible(asked)
        return _decide(asked, Outcome.APPROVED, actor=actor, words=words, now=now)


def reject(*, request_id: int, words: str, actor: str, now: datetime) -> InvoiceRequest:
    """Refuse as the second person: nothing is done. Raises NotPermitted, AlreadyDecided, InvalidRequest."""
    with transaction.atomic():
        asked, is_done = _waiting(request_id, Outcome.REJECTED, actor=actor)
        if is_done:
            return asked
        _require_second_person(asked, actor=actor, words=words)
        return _decide(asked, Outcome.REJECTED, actor=actor, words=words, now=now)


def withdraw(*, request_id: int, words: str, actor: str, now: datetime) -> InvoiceRequest:
    """Take one's own request back while it waits. Raises NotPermitted to everybody else, AlreadyDecided."""
    with transaction.atomic():
        asked, is_done = _waiting(request_id, Outcome.WITHDRAWN, actor=actor)
        if is_done:
            return asked
        if actor != asked.requested_by:
            raise NotPermitted("Only who asked can withdraw. Reject it instead, if you may.")
        _require_words(words)
        return _decide(asked, Outcome.WITHDRAWN, actor=actor, words=words, now=now)


def why_waiting(asked: InvoiceRequest) -> str:
    """Why a second person is needed, with the figures."""
    if asked.limit_amount is None:
        return f"In {asked.currency} this always takes a second person: there is no limit for one alone."
    limit, total = (exact_text(amount, asked.currency) for amount in (asked.limit_amount, asked.alone_total))
    return f"With what was moved alone for this customer today (UTC) it comes to {total}; one may move {limit} alone."


def _take_turn() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_lock_manual_entries()")


def _require_may_ask(wanted: Wanted, actor: str) -> None:
    if actor.startswith(SERVICE) and wanted.kind == Kind.ONE_OFF:
        return
    if not may(actor, PERMISSIONS[wanted.kind]):
        raise NotPermitted(f"This takes the permission {PERMISSIONS[wanted.kind]}.")


def _require_same(known: InvoiceRequest, wanted: Wanted, *, reason: str, actor: str) -> InvoiceRequest:
    of_known = (known.kind, known.customer_id, known.invoice_id, known.terms, known.reason, known.requested_by)
    invoice_id = None if wanted.invoice is None else wanted.invoice.pk
    if of_known != (wanted.kind, wanted.customer.pk, invoice_id, dict(wanted.terms), reason, actor):
        raise RequestConflict("This was sent before with other content. Open the form anew if it is another wish.")
    return known


def _require_no_other(wanted: Wanted) -> None:
    """While an invoice is about to become void nothing else is asked about it, and the other way round."""
    if wanted.invoice is None:
        return
    under_way = InvoiceRequest.objects.filter(invoice=wanted.invoice, state__in=(State.WAITING, State.INTENDED))
    other = under_way.first()
    if other is not None and Kind.VOID in (wanted.kind, other.kind):
        raise RequestConflict(
            f"{other.get_kind_display()} {other.pk} about this invoice is not finished: "
            f"{other.get_state_display().lower()}. Wait for it, or have it called off."
        )


def _waiting(request_id: int, outcome: Outcome, *, actor: str) -> tuple[InvoiceRequest, bool]:
    """The request, in this operation's turn, and whether the actor decided just so before."""
    _take_turn()
    found = InvoiceRequest.objects.select_related("customer", "invoice", "decision").filter(pk=request_id).first()
    if found is None:
        raise RequestNotFound(f"There is no request {request_id}.")
    lock_customer(customer_id=found.customer_id)
    decision = getattr(found, "decision", None)
    if decision is None:
        return found, False
    if (decision.outcome, decision.decided_by) != (outcome, actor):
        raise AlreadyDecided(
            f"Nothing was done: {decision.get_outcome_display().lower()} by "
            f"{decision.decided_by.removeprefix('user:')} on {decision.decided_at:%d %b %Y %H:%M} UTC."
        )
    return found, True


def _require_second_person(asked: InvoiceRequest, *, actor: str, words: str) -> None:
    if not may(actor, APPROVE):
        raise NotPermitted(f"Deciding about this takes the permission {APPROVE}.")
    if actor == asked.requested_by:
        raise NotPermitted("You asked for this: a second person has to decide. You can withdraw it.")
    _require_words(words)


def _require_possible(asked: InvoiceRequest) -> None:
    """What was possible when it was asked for may not be any more. Raises InvalidRequest."""
    assert asked.invoice is not None  # a CHECK of the table
    try:
        void(invoice=asked.invoice, usage=asked.terms["usage"])
    except InvalidRequest as impossible:
        raise InvalidRequest(f"{impossible} Reject it, and ask for what is possible.", field="words") from impossible


def _require_words(words: str) -> None:
    if not words.strip():
        raise InvalidRequest("Say why, for whoever asks later.", field="words")


def _decide(asked: InvoiceRequest, outcome: Outcome, *, actor: str, words: str, now: datetime) -> InvoiceRequest:
    """Write the decision down. A one-off that may be made is ordered here; the rest is carried out by the task."""
    asked.decision = InvoiceRequestDecision.objects.create(
        invoice_request=asked,
        outcome=outcome,
        requested_by=asked.requested_by,
        needs_second_person=asked.needs_second_person,
        decided_by=actor,
        decided_at=now,
        words=words.strip(),
    )
    if outcome in (Outcome.REJECTED, Outcome.WITHDRAWN):
        asked.state, asked.finished_at = State.CALLED_OFF, now
    elif asked.kind == Kind.ONE_OFF:
        asked.order = order_one_off(
            customer=asked.customer,
            lines=ordered_lines(asked.terms),
            reason=asked.reason,
            actor=asked.requested_by,
            idempotency_key=f"invoice_request:{asked.pk}",
            now=now,
        )
        asked.state, asked.finished_at, asked.outcome = State.DONE, now, f"Order {asked.order.pk}"
    else:
        asked.state, asked.next_attempt_at = State.INTENDED, now
    asked.save(update_fields=["state", "finished_at", "order", "outcome", "next_attempt_at"])
    return asked


def amount_in_minor(amount: Decimal, currency: str) -> int:
    """What a person typed, in minor units. Raises InvalidRequest for parts of one."""
    try:
        return exact_minor(amount, currency)
    except ValueError as error:
        raise InvalidRequest(str(error), field="lines") from error
