"""
Answering a dispute: evidence drafted and sent once, or accepted (by two people above the limit). Stripe is told by the
task; the state of the dispute and the books follow by its projection.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet, Value
from django.db.models.functions import Concat

from billing.customers.operations import lock_customer
from billing.payments import two_people
from billing.payments.disputing.models import DisputeAcceptance, DisputeAcceptanceDecision, DisputeEvidence
from billing.payments.models import Dispute
from billing.payments.recovery import messages
from billing.payments.two_people import AlreadyDecided, InvalidRequest, Outcome
from billing.stripe import outbox
from billing.stripe.errors import StripeRefused, StripeUnavailable
from billing.stripe.models import OutboxIntent

logger = logging.getLogger(__name__)
ANSWER, APPROVE = "billing.answer_dispute", "billing.approve_refund"
WAITS_FOR_US = (Dispute.Status.NEEDS_RESPONSE, Dispute.Status.WARNING_NEEDS_RESPONSE)
# So long before the deadline finance is told, once for each.
TOLD_BEFORE = (timedelta(days=3), timedelta(days=1))
TEXT_CHARS_MAX = 20_000  # Stripe's own limit of a text of evidence
# What we can say of a usage product; each is a field of Stripe's evidence.
FIELDS = {
    "product_description": "What was sold",
    "access_activity_log": "How it was used (log of the customer's activity)",
    "refund_policy_disclosure": "What the customer was told about refunds",
    "uncategorized_text": "Anything else",
}


def draft_evidence(*, dispute_id: int, texts: Mapping[str, str], actor: str, now: datetime) -> DisputeEvidence:
    """Keep a draft; it replaces the one before. Raises NotPermitted, and InvalidRequest when no answer is awaited."""
    two_people.require_may(actor, ANSWER, what="answer a dispute")
    unknown = sorted(set(texts) - set(FIELDS))
    if unknown:
        raise InvalidRequest(f"There is no evidence called {', '.join(unknown)}.", field=unknown[0])
    kept = {name: text.strip() for name, text in texts.items() if text.strip()}
    if not kept:
        raise InvalidRequest("Write at least one of the texts.", field=next(iter(FIELDS)))
    for name, text in kept.items():
        if len(text) > TEXT_CHARS_MAX:
            raise InvalidRequest(f"At most {TEXT_CHARS_MAX} characters.", field=name)
    with transaction.atomic():
        dispute = _awaiting(dispute_id, now=now)
        latest = DisputeEvidence.objects.filter(dispute=dispute).order_by("-pk").first()
        if latest is not None and latest.texts == kept:
            return latest
        return DisputeEvidence.objects.create(dispute=dispute, texts=kept, written_by=actor, written_at=now)


def send_evidence(*, evidence_id: int, actor: str, now: datetime) -> DisputeEvidence:
    """
    Have the latest draft sent to the bank, which takes evidence once. Said twice it changes nothing.

    Raises NotPermitted; InvalidRequest past the deadline, or where a newer draft exists; AlreadyDecided.
    """
    two_people.require_may(actor, ANSWER, what="answer a dispute")
    with transaction.atomic():
        evidence = DisputeEvidence.objects.filter(pk=evidence_id).first()
        if evidence is None:
            raise InvalidRequest("There is no such draft.")
        if evidence.sent_by:
            return evidence
        dispute = _awaiting(evidence.dispute_id, now=now)
        if (
            DisputeEvidence.objects.filter(dispute=dispute).order_by("-pk").values_list("pk", flat=True).first()
            != evidence.pk
        ):
            raise InvalidRequest("There is a newer draft. Look at that one.")
        evidence.sent_by = actor
        evidence.save(update_fields=["sent_by"])
        return evidence


def request_acceptance(
    *, dispute_id: int, reason: str, idempotency_key: str, actor: str, now: datetime
) -> DisputeAcceptance:
    """Ask to accept a dispute; agreed to at once within the limit. Raises as draft_evidence, and RequestConflict."""
    two_people.require_may(actor, ANSWER, what="accept a dispute")
    with transaction.atomic():
        known = DisputeAcceptance.objects.filter(idempotency_key=idempotency_key).first()
        if known is not None:
            two_people.require_same(known, dispute_id=dispute_id, requested_by=actor, reason=reason.strip())
            return known
        dispute = _awaiting(dispute_id, now=now)
        if DisputeAcceptance.objects.filter(dispute=dispute).filter(decision=None).exists():
            raise InvalidRequest("It was asked for already, and waits for a second person.")
        asked = DisputeAcceptance(
            dispute=dispute,
            amount_minor=dispute.amount_minor,
            currency=dispute.currency,
            reason=two_people.require_words(reason, field="reason"),
            requested_by=actor,
            requested_at=now,
            idempotency_key=idempotency_key,
        )
        two_people.weigh(asked, customer=dispute.payment.customer)
        asked.save()
        if not asked.needs_second_person:
            _decide(asked, Outcome.WITHIN_LIMIT, words="", actor=actor, now=now)
        return asked


def decide_acceptance(*, request_id: int, outcome: Outcome, words: str, actor: str, now: datetime) -> DisputeAcceptance:
    """Approve or reject as the second person, or withdraw one's own. Raises what two_people.decide raises."""
    with transaction.atomic():
        asked = DisputeAcceptance.objects.select_related("dispute__payment").get(pk=request_id)
        if outcome == Outcome.APPROVED:
            _awaiting(asked.dispute_id, now=now)
        else:
            lock_customer(customer_id=asked.dispute.payment.customer_id)
        _decide(asked, outcome, words=words, actor=actor, now=now)
        return asked


def _awaiting(dispute_id: int, *, now: datetime) -> Dispute:
    """The dispute behind the customer's lock, if the bank still waits for us and nothing was sent."""
    dispute = Dispute.objects.select_related("payment__customer").filter(pk=dispute_id).first()
    if dispute is None:
        raise InvalidRequest("There is no such dispute.")
    lock_customer(customer_id=dispute.payment.customer_id)
    dispute.refresh_from_db(fields=["status", "respond_by"])
    if dispute.status not in WAITS_FOR_US:
        raise InvalidRequest(f"No answer is awaited: {dispute.get_status_display().lower()}.")
    if dispute.respond_by is not None and dispute.respond_by <= now:
        raise InvalidRequest(f"The time to answer ended {dispute.respond_by:%d %b %Y %H:%M} UTC.")
    if DisputeEvidence.objects.filter(dispute=dispute).exclude(sent_by="").exists():
        raise AlreadyDecided("Its evidence was sent, and the bank takes it once.")
    if (
        DisputeAcceptance.objects.filter(dispute=dispute)
        .filter(decision__outcome__in=("within_limit", "approved"))
        .exists()
    ):
        raise AlreadyDecided("It was accepted.")
    return dispute


def _decide(asked: DisputeAcceptance, outcome: Outcome, *, words: str, actor: str, now: datetime) -> None:
    two_people.decide(
        asked,
        decisions=DisputeAcceptanceDecision,
        outcome=outcome,
        words=words,
        permission=APPROVE,
        actor=actor,
        now=now,
    )


# --- what the task does -----------------------------------------------------------------------------------------------


def carry_out_answers(*, now: datetime, limit: int) -> int:
    """
    Tell Stripe of evidence and acceptances; return how many were told. Not inside a transaction.

    What Stripe refused stands among the refused writes, and holds no other up; driven again from there it is noted.
    """
    told = 0
    purpose = Concat(Value("dispute:"), OuterRef("dispute__stripe_dispute_id"), Value(":evidence"))
    refused = OutboxIntent.objects.filter(purpose=purpose, state=OutboxIntent.State.REFUSED)
    waiting = DisputeEvidence.objects.filter(sent_at=None).exclude(sent_by="").exclude(Exists(refused))
    for evidence in waiting.select_related("dispute").order_by("dispute__respond_by", "pk")[:limit]:
        stripe_id = evidence.dispute.stripe_dispute_id
        params = {"evidence": evidence.texts, "submit": True}
        if _tell(f"dispute:{stripe_id}:evidence", "disputes.submit", stripe_id, params, now=now) == "":
            told += DisputeEvidence.objects.filter(pk=evidence.pk, sent_at=None).update(sent_at=now)
    agreed = DisputeAcceptance.objects.filter(
        decision__outcome__in=("within_limit", "approved"), done_at=None, error=""
    )
    for asked in agreed.select_related("dispute")[:limit]:
        stripe_id = asked.dispute.stripe_dispute_id
        error = _tell(f"dispute:{stripe_id}:accept:{asked.pk}", "disputes.close", stripe_id, {}, now=now)
        rows = DisputeAcceptance.objects.filter(pk=asked.pk, done_at=None)
        if error == "":
            told += rows.update(done_at=now)
        elif error is not None:
            rows.update(error=error[:500])
    return told


def _tell(purpose: str, operation: str, target: str, params: dict[str, object], *, now: datetime) -> str | None:
    """ "" when it was carried out, why Stripe refused, or None when it is to be tried again."""
    try:
        outbox.perform(purpose=purpose, operation=operation, target=target, params=params, now=now)
    except StripeRefused as refusal:
        logger.warning("%s was refused: %s", purpose, refusal)
        return str(refusal)
    except StripeUnavailable:
        return None
    return ""


def awaiting_answer(*, now: datetime) -> QuerySet[Dispute]:
    """Disputes the bank waits for us in, the nearest deadline first."""
    found = Dispute.objects.filter(status__in=WAITS_FOR_US, respond_by__gt=now)
    return found.exclude(evidence__sent_by__gt="").select_related("payment__customer").order_by("respond_by", "pk")


def remind_of_deadlines(*, now: datetime) -> int:
    """Tell finance by e-mail of each deadline three days and one day before; each once. Return how many were due."""
    reminded = 0
    for dispute in awaiting_answer(now=now).filter(respond_by__lte=now + TOLD_BEFORE[0]):
        assert dispute.respond_by is not None
        left = dispute.respond_by - now
        stage = next(index for index, before in reversed(list(enumerate(TOLD_BEFORE))) if left <= before)
        with transaction.atomic():
            told = messages.tell(
                purpose=f"dispute:{dispute.stripe_dispute_id}:deadline:{stage}",
                text="dispute_deadline",
                customer=None,
                to=settings.BILLING_FINANCE_EMAIL,
                context={
                    "dispute": dispute.stripe_dispute_id,
                    "amount": messages.plain_amount(dispute.amount_minor, dispute.currency),
                    "reason": dispute.reason.replace("_", " "),
                    "respond_by": f"{dispute.respond_by:%Y-%m-%d %H:%M} UTC",
                },
                now=now,
            )
        reminded += told is not None
    return reminded
