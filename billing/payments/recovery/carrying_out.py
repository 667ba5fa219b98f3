"""
What is due of a case, carried out: payments tried again, reminders, grace, restriction, the proposal to give up.

Before anything is done, the invoice is fetched with its payments: what is paid, void, being paid, or waits for the
customer is never charged by us, nor is an invoice that was sent to be paid by bank transfer. A try is an intent of the
outbox with a purpose of its own (case and number), so a repeat of it is the same request, and Stripe holds one payment
intent for an invoice: at most one charge succeeds.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from billing.customers.operations import lock_customer
from billing.payments.models import Payment
from billing.payments.recovery import messages
from billing.payments.recovery.models import RecoveryCase, RecoveryStep
from billing.payments.recovery.operations import follow_invoice, record
from billing.payments.recovery.policy import OURS, Due, Terms, agenda, steps_of, terms_of
from billing.stripe import gateway, outbox, readers
from billing.stripe.errors import OutboxNeedsPerson, StripeRefused, StripeUnavailable
from billing.stripe.readers import id_of

logger = logging.getLogger(__name__)

Kind, State = RecoveryStep.Kind, RecoveryCase.State
StripeDict = dict[str, Any]
LEASE = timedelta(minutes=10)
# A payment is under way, or its news is: look again then. No step is lost meanwhile.
WAITS = timedelta(hours=1)
UNAVAILABLE_WAITS = timedelta(minutes=5)
_SETTLED = ("paid", "void", "uncollectible")
_UNDER_WAY = frozenset({"processing", "requires_capture", "succeeded"})
# After these Stripe does not try the same card again, and neither do we
# (docs.stripe.com/billing/revenue-recovery, hard declines; expired cards are an assumption).
HARD_DECLINES = frozenset(
    {"expired_card", "highest_risk_level", "incorrect_number", "lost_card", "pickup_card", "stolen_card"}
    | {"revocation_of_all_authorizations", "revocation_of_authorization", "transaction_not_allowed"}
)


@dataclass(frozen=True, slots=True)
class Situation:
    """An open invoice as Stripe has it now. `waits_for`: settled or under way, so nothing is to be done yet."""

    invoice: StripeDict
    waits_for: str
    needs_action: bool
    why_not_charge: str

    @property
    def link(self) -> str:
        return str(self.invoice.get("hosted_invoice_url") or "")


def advance_case(*, case_id: int, now: datetime) -> bool:
    """
    Do what is due of a case; whether it was this call's turn. Not inside a transaction.

    Late, doubled and interrupted calls come to the same: each step is recorded once, and what was sent before is sent
    under the same key. Raises StripeUnavailable after the case is put back for later.
    """
    until = now + LEASE
    ours = RecoveryCase.objects.filter(pk=case_id, state=State.OPEN, next_step_at__lte=now)
    if not ours.update(next_step_at=until):
        return False
    case = RecoveryCase.objects.select_related("invoice", "customer", "policy").get(pk=case_id)
    try:
        next_at = _advance(case, now=now)
    except StripeUnavailable as failure:
        waits = getattr(failure, "retry_after", None) or UNAVAILABLE_WAITS
        _give_back(case, until=until, next_at=now + max(waits, UNAVAILABLE_WAITS))
        raise
    _give_back(case, until=until, next_at=next_at)
    return True


def _give_back(case: RecoveryCase, *, until: datetime, next_at: datetime | None) -> None:
    """Unless somebody else took it over, or it was settled meanwhile."""
    RecoveryCase.objects.filter(pk=case.pk, state=State.OPEN, next_step_at=until).update(next_step_at=next_at)


def _advance(case: RecoveryCase, *, now: datetime) -> datetime | None:
    """The instant of the next look."""
    terms = terms_of(case.policy.terms)
    steps = steps_of(terms, failed_at=case.failed_at)
    done = set(case.steps.values_list("kind", "number"))
    todo = agenda(steps, done=done, now=now)
    found = situation_of(case)
    if case.invoice.status in _SETTLED:
        with transaction.atomic():
            lock_customer(customer_id=case.customer_id)
            follow_invoice(case.invoice, now=now)
    if found.waits_for:
        _note_settled_attempts(case, todo.due, found.waits_for, now=now)
        return now + WAITS
    # Stripe tries no card for an invoice that was sent either: there is nothing to take over.
    if terms.retries == OURS and found.invoice.get("auto_advance") and not is_sent(found.invoice):
        _take_over(case, now=now)
    if found.needs_action and (Kind.ACTION_REQUIRED, 0) not in done:
        _ask_for_action(case, found, now=now)
    for missed in todo.missed:
        _record_if_open(case, missed, result="missed", detail="The task came later than the next of its kind", now=now)
    for due in todo.due:
        if due.kind == Kind.ATTEMPT:
            if _attempt(case, due, found, now=now) in ("paid", "under_way"):
                return now + WAITS
        elif due.kind == Kind.REMINDER:
            _remind(case, due, found, terms=terms, now=now)
        elif due.kind == Kind.RESTRICTED:
            _restrict(case, due, found, now=now)
        else:
            _record_if_open(case, due, result="done", now=now)
    return todo.next_at


def situation_of(case: RecoveryCase) -> Situation:
    """Fetch the invoice with its payments, and see what may be done about it."""
    stripe_id = case.invoice.stripe_invoice_id
    invoice = gateway.retrieve(f"/v1/invoices/{stripe_id}", expand=("payments.data.payment.payment_intent", "customer"))
    if invoice["status"] != "open":
        return Situation(invoice, f"Stripe says {invoice['status']}", needs_action=False, why_not_charge="")
    held = (invoice.get("payments") or {}).get("data") or []
    # What paid a part is done; what counts is the payment that is to collect the rest.
    intents = [one["payment"].get("payment_intent") for one in held if one["status"] == "open"]
    open_ones = [intent for intent in intents if isinstance(intent, dict)]
    under_way = next((one["id"] for one in open_ones if one["status"] in _UNDER_WAY), "")
    if under_way:
        return Situation(invoice, f"{under_way} is under way", needs_action=False, why_not_charge="")
    # Of what was sent it says that a bank transfer is awaited, too: nothing that the customer could confirm.
    needs_action = not is_sent(invoice) and any(intent["status"] == "requires_action" for intent in open_ones)
    if is_sent(invoice):
        why_not = "The customer pays this invoice by bank transfer: no card is charged for it"
    else:
        why_not = "The customer has to confirm the payment" if needs_action else _hard_decline(invoice, open_ones)
    return Situation(invoice, "", needs_action=needs_action, why_not_charge=why_not)


def is_sent(invoice: StripeDict) -> bool:
    """Whether the customer was promised to be asked, and not charged, for it: a card they have pays for others."""
    return bool(invoice["collection_method"] == "send_invoice")


def _hard_decline(invoice: StripeDict, intents: list[StripeDict]) -> str:
    """Why the card that would pay now cannot: the same one was declined for good."""
    customer = invoice["customer"]
    settings = customer.get("invoice_settings") or {}
    card = id_of(invoice.get("default_payment_method")) or id_of(settings.get("default_payment_method"))
    for intent in intents:
        error = intent.get("last_payment_error") or {}
        is_hard = error.get("code") in HARD_DECLINES or error.get("decline_code") in HARD_DECLINES
        if is_hard and id_of(error.get("payment_method")) in ("", card):
            return f"{error.get('decline_code') or error['code']}: this card is not tried again"
    return ""


def _paid_beside(case: RecoveryCase, invoice: StripeDict) -> str:
    """
    A payment by which the customer paid as much without naming an invoice, through a checkout or a payment link.

    Charging beside it would collect twice. It waits for a person to attach or refund it.
    """
    created = {"gte": invoice["created"]}
    attached = {
        id_of(one["payment"].get("payment_intent")) for one in (invoice.get("payments") or {}).get("data") or []
    }
    made = gateway.listed(
        "/v1/payment_intents", customer=id_of(invoice["customer"]), created=created, expand=["data.latest_charge"]
    )
    for intent in made:
        charge = intent.get("latest_charge") or {}
        left = (intent.get("amount_received") or intent["amount"]) - (charge.get("amount_refunded") or 0)
        is_money = intent["status"] in ("processing", "succeeded") and left >= invoice["amount_remaining"]
        if not is_money or intent["id"] in attached or intent["currency"] != invoice["currency"]:
            continue
        known = Payment.objects.filter(stripe_payment_intent_id=intent["id"], invoice__isnull=False).exists()
        if not known and not readers.invoice_of_payment_intent(intent["id"]):
            return f"{intent['id']} paid as much and names no invoice: attach or refund it"
    return ""


def _attempt(case: RecoveryCase, due: Due, found: Situation, *, now: datetime) -> str:
    """Try the payment once. The result, as it is recorded."""
    why_not = found.why_not_charge or _paid_beside(case, found.invoice)
    if why_not:
        _record_if_open(case, due, result="skipped", detail=why_not, now=now)
        return "skipped"
    try:
        answer = outbox.perform(
            purpose=attempt_purpose(case, due.number),
            operation="invoices.pay",
            target=case.invoice.stripe_invoice_id,
            params={"off_session": True},
            now=now,
        )
    except OutboxNeedsPerson as unknown:  # sent more than a day ago, and Stripe does not show what became of it
        _record_if_open(case, due, result="not_known", detail=str(unknown), now=now)
        return "not_known"
    except StripeRefused as refusal:
        _record_if_open(case, due, result="declined", detail=f"{refusal.code}: {refusal.message}", now=now)
        return "declined"
    result = "paid" if answer["status"] == "paid" else "under_way"
    record(case, due.kind, number=due.number, due_at=due.at, result=result, now=now)
    return result


def attempt_purpose(case: RecoveryCase, number: int) -> str:
    return f"recovery:{case.pk}:pay:{number}"


def _note_settled_attempts(case: RecoveryCase, due: tuple[Due, ...], why: str, *, now: datetime) -> None:
    """An attempt that was due needs no charge any more. What an earlier try of it did is known from Stripe's state."""
    for step in due:
        if step.kind == Kind.ATTEMPT:
            record(case, step.kind, number=step.number, due_at=step.at, result="not_needed", detail=why, now=now)


def _take_over(case: RecoveryCase, *, now: datetime) -> None:
    """Stripe stops its own retries of this invoice: two who try are one too many."""
    outbox.perform(
        purpose=f"recovery:{case.pk}:take_over",
        operation="invoices.update",
        target=case.invoice.stripe_invoice_id,
        params={"auto_advance": False},
        now=now,
    )
    record(case, Kind.TAKEN_OVER, due_at=now, result="done", now=now)


def _ask_for_action(case: RecoveryCase, found: Situation, *, now: datetime) -> None:
    with transaction.atomic():
        if _is_open(case) and record(case, Kind.ACTION_REQUIRED, due_at=now, result="done", now=now):
            _tell(case, "action_required", "action_required", found, now=now)


def _remind(case: RecoveryCase, due: Due, found: Situation, *, terms: Terms, now: datetime) -> None:
    with transaction.atomic():
        if not _is_open(case):
            return
        if found.needs_action and due.number == 1:
            detail = "Told to confirm the payment instead"
            record(case, due.kind, number=due.number, due_at=due.at, result="skipped", detail=detail, now=now)
        elif record(case, due.kind, number=due.number, due_at=due.at, result="done", detail=due.text, now=now):
            _tell(case, f"reminder:{due.number}", due.text, found, now=now)


def _restrict(case: RecoveryCase, due: Due, found: Situation, *, now: datetime) -> None:
    with transaction.atomic():
        if _is_open(case) and record(case, due.kind, due_at=due.at, result="done", now=now):
            _tell(case, "restricted", "restricted", found, now=now)


def _tell(case: RecoveryCase, what: str, text: str, found: Situation, *, now: datetime) -> None:
    """A text that comes late names no day that is over as one from which service will be restricted."""
    is_to_come = case.restricts_at is not None and case.restricts_at > now
    messages.tell(
        purpose=f"recovery:{case.pk}:{what}",
        text=text,
        customer=case.customer,
        case=case,
        context=messages.invoice_context(
            name=case.customer.name,
            number=str(case.invoice),
            amount_minor=found.invoice["amount_remaining"],
            currency=case.currency,
            link=found.link,
            restricts_at=case.restricts_at if is_to_come else None,
        ),
        now=now,
    )


def _record_if_open(case: RecoveryCase, due: Due, *, result: str, detail: str = "", now: datetime) -> None:
    with transaction.atomic():
        if _is_open(case):
            record(case, due.kind, number=due.number, due_at=due.at, result=result, detail=detail, now=now)


def _is_open(case: RecoveryCase) -> bool:
    """Whether it still is, held until the transaction ends: nobody is reminded of what was just paid."""
    found = RecoveryCase.objects.select_for_update(of=("self",)).values_list("state", flat=True)
    return found.get(pk=case.pk) == State.OPEN
