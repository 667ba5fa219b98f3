"""
Giving up a debt: proposed by the policy, asked for by a person, decided by a second one above the limit.

Stripe is told (`mark_uncollectible`); the ledger follows by the projection of the invoice, as for everybody who does it
at Stripe.
"""

import logging
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from billing.customers.operations import lock_customer
from billing.invoicing.models import Invoice
from billing.payments import two_people
from billing.payments.recovery.models import RecoveryCase, RecoveryStep, WriteOffDecision, WriteOffRequest
from billing.payments.two_people import InvalidRequest, Outcome
from billing.stripe import outbox
from billing.stripe.errors import StripeRefused, StripeUnavailable

logger = logging.getLogger(__name__)
DECIDE = "billing.decide_writeoff"
_AGREED = (Outcome.WITHIN_LIMIT, Outcome.APPROVED)


def request_write_off(*, case_id: int, reason: str, idempotency_key: str, actor: str, now: datetime) -> WriteOffRequest:
    """
    Ask to give up what the invoice of a case still asks for; agreed to at once where one person may so much.

    Said twice with one key it returns the first. Raises NotPermitted, InvalidRequest, RequestConflict.
    """
    two_people.require_may(actor, DECIDE, what="ask to give up a debt")
    with transaction.atomic():
        case = _locked(case_id)
        known = WriteOffRequest.objects.filter(idempotency_key=idempotency_key).first()
        if known is not None:
            two_people.require_same(known, case_id=case_id, requested_by=actor, reason=reason.strip())
            return known
        _require_owed(case)
        if waiting_of(case) is not None:
            raise InvalidRequest("It was asked for already, and waits for a second person.")
        asked = WriteOffRequest(
            case=case,
            amount_minor=case.invoice.amount_remaining_minor,
            currency=case.currency,
            reason=two_people.require_words(reason, field="reason"),
            requested_by=actor,
            requested_at=now,
            idempotency_key=idempotency_key,
        )
        two_people.weigh(asked, customer=case.customer)
        asked.save()
        if not asked.needs_second_person:
            _decide(asked, Outcome.WITHIN_LIMIT, words="", actor=actor, now=now)
        return asked


def decide_write_off(*, request_id: int, outcome: Outcome, words: str, actor: str, now: datetime) -> WriteOffRequest:
    """Approve or reject as the second person, or withdraw one's own. Raises what two_people.decide raises."""
    with transaction.atomic():
        asked = WriteOffRequest.objects.select_related("case").get(pk=request_id)
        case = _locked(asked.case_id)
        if outcome == Outcome.APPROVED:
            _require_owed(case)
            if case.invoice.amount_remaining_minor > asked.amount_minor:
                raise InvalidRequest("More is open by now than was asked for. Reject it, and ask anew.")
        _decide(asked, outcome, words=words, actor=actor, now=now)
        return asked


def carry_out_write_offs(*, now: datetime, limit: int) -> int:
    """Tell Stripe of every debt that was agreed to be given up; return how many were done. Not inside a transaction."""
    agreed = WriteOffRequest.objects.filter(decision__outcome__in=_AGREED, done_at=None, error="")
    done = 0
    for asked in agreed.select_related("case__invoice").order_by("pk")[:limit]:
        try:
            outbox.perform(
                purpose=f"write_off:{asked.pk}",
                operation="invoices.mark_uncollectible",
                target=asked.case.invoice.stripe_invoice_id,
                params={},
                now=now,
            )
        except StripeRefused as refusal:  # paid or void meanwhile: then there is nothing to give up
            WriteOffRequest.objects.filter(pk=asked.pk).update(error=str(refusal)[:500])
            continue
        except StripeUnavailable:
            logger.warning("write-off %s waits for Stripe", asked.pk)
            continue
        done += WriteOffRequest.objects.filter(pk=asked.pk, done_at=None).update(done_at=now)
    return done


def waiting_of(case: RecoveryCase) -> WriteOffRequest | None:
    """The request about a case that waits for a second person."""
    return WriteOffRequest.objects.filter(case=case, decision=None).first()


def cases_to_decide() -> QuerySet[RecoveryCase]:
    """
    Cases whose write-off waits for a person: for a second one where somebody asked for it; or the policy proposed it.

    What was proposed waits while the case is open and nobody decided; a request that was taken back decides nothing.
    """
    asked = WriteOffRequest.objects.filter(case=OuterRef("pk"))
    answered = asked.filter(decision__isnull=False).exclude(decision__outcome=Outcome.WITHDRAWN)
    proposed = RecoveryStep.objects.filter(case=OuterRef("pk"), kind=RecoveryStep.Kind.WRITE_OFF_PROPOSED)
    is_proposed = Q(Exists(proposed), state=RecoveryCase.State.OPEN) & ~Exists(answered)
    return RecoveryCase.objects.filter(Q(Exists(asked.filter(decision=None))) | is_proposed)


def _locked(case_id: int) -> RecoveryCase:
    """The case with its invoice, held behind the customer's lock. Raises InvalidRequest for none."""
    case = RecoveryCase.objects.filter(pk=case_id).first()
    if case is None:
        raise InvalidRequest("There is no such case.", field="case")
    lock_customer(customer_id=case.customer_id)
    return RecoveryCase.objects.select_related("invoice", "customer").get(pk=case_id)


def _require_owed(case: RecoveryCase) -> None:
    if case.invoice.status != Invoice.Status.OPEN or case.invoice.amount_remaining_minor <= 0:
        raise InvalidRequest(f"The invoice is {case.invoice.get_status_display().lower()}: nothing of it is open.")


def _decide(asked: WriteOffRequest, outcome: Outcome, *, words: str, actor: str, now: datetime) -> None:
    two_people.decide(
        asked, decisions=WriteOffDecision, outcome=outcome, words=words, permission=DECIDE, actor=actor, now=now
    )
