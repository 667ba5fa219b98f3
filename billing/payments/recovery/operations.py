"""
Policies, and the life of a case: opened once for each invoice, closed when the invoice is settled in whatever way.

Nothing here calls Stripe. What is due of a case is carried out in `carrying_out`.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from billing.catalog.models import Plan
from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.invoicing.models import Invoice
from billing.payments.models import Payment
from billing.payments.recovery.models import RecoveryCase, RecoveryPolicy, RecoveryPolicyChoice, RecoveryStep
from billing.payments.recovery.policy import DAY, STANDARD, STANDARD_CODE, STANDARD_NAME, Terms, terms_of
from billing.subscriptions.models import Subscription

logger = logging.getLogger(__name__)

Kind, State, Outcome = RecoveryStep.Kind, RecoveryCase.State, RecoveryCase.Outcome
TASK = "task:recovery"
# The event of the payment itself opens the case with its exact instant; the sweep is for what has no payment.
SWEPT_AFTER = timedelta(minutes=15)
_FAILED = (Payment.Status.FAILED, Payment.Status.REQUIRES_ACTION)
_OWED = (Invoice.Status.DRAFT, Invoice.Status.OPEN)


class PolicyConflict(Exception):
    """What was asked for about policies cannot be. `field` names what to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def declare_policy(*, code: str, name: str, terms: Terms, actor: str, now: datetime) -> RecoveryPolicy:
    """The policy's latest version if it says just this, else the next one. Cases keep the version they began with."""
    with transaction.atomic():
        latest = RecoveryPolicy.objects.filter(code=code).order_by("-version").first()
        data = terms_of(terms.as_data()).as_data()  # as strict as what people write
        if latest is not None and (latest.name, latest.terms) == (name, data):
            return latest
        version = 1 if latest is None else latest.version + 1
        made, _ = RecoveryPolicy.objects.get_or_create(
            code=code, version=version, defaults={"name": name, "terms": data, "declared_at": now, "declared_by": actor}
        )
        return made


def choose_policy(
    *,
    policy: RecoveryPolicy,
    customer: Customer | None = None,
    plan: Plan | None = None,
    reason: str,
    actor: str,
    now: datetime,
) -> RecoveryPolicyChoice:
    """
    From now on this policy holds for a customer, for a plan, or without either for everybody. Open cases keep theirs.

    Said twice it changes nothing. Raises PolicyConflict without a reason, and for a customer and a plan at once.
    """
    if customer is not None and plan is not None:
        raise PolicyConflict("plan", "name a customer or a plan, not both")
    if not reason.strip():
        raise PolicyConflict("reason", "say why")
    latest = RecoveryPolicyChoice.objects.filter(customer=customer, plan=plan).order_by("-id").first()
    if latest is not None and latest.policy_id == policy.pk:
        return latest
    return RecoveryPolicyChoice.objects.create(
        policy=policy, customer=customer, plan=plan, reason=reason.strip(), chosen_by=actor, chosen_at=now
    )


def policy_for(invoice: Invoice, *, now: datetime) -> RecoveryPolicy:
    """The customer's own, else its plan's, else everybody's, else the standard one, declared when first used."""
    subscription = invoice.subscription
    if subscription is None:
        live = Subscription.objects.filter(customer_id=invoice.customer_id).select_related("plan_version")
        subscription = live.order_by("-started_at", "-id").first()
    plan_id = None if subscription is None else subscription.plan_version.plan_id
    scopes = Q(customer_id=invoice.customer_id) | Q(customer=None, plan=None)
    scopes |= Q(customer=None, plan_id=plan_id, plan__isnull=False)
    found: dict[int, RecoveryPolicy] = {}
    for choice in RecoveryPolicyChoice.objects.filter(scopes).select_related("policy").order_by("id"):
        found[0 if choice.customer_id else 1 if choice.plan_id else 2] = choice.policy
    if found:
        return found[min(found)]
    return declare_policy(code=STANDARD_CODE, name=STANDARD_NAME, terms=STANDARD, actor=TASK, now=now)


def follow_payment(payment: Payment, *, now: datetime) -> None:
    """
    Open the case of an invoice whose payment failed, or waits for the customer. Needs a transaction.

    Said again it changes nothing. The projection of a payment calls it with what Stripe says now, so an old event of
    a failure opens nothing once the payment succeeded. An invoice that was sent is not owed before its due date, which
    opens its case (`open_overdue_cases`): until then the customer may have tried a card on the hosted page, or a bank
    transfer is awaited, which Stripe calls `requires_action`
    (https://docs.stripe.com/payments/bank-transfers/accept-a-payment).
    """
    invoice = payment.invoice
    if invoice is None or payment.status not in _FAILED:
        return
    lock_customer(customer_id=invoice.customer_id)
    # It was read before the lock: another worker may have settled it, and nobody would close a case opened after that.
    status, due_at = Invoice.objects.values_list("status", "due_at").get(pk=invoice.pk)
    if status not in _OWED or (due_at is not None and due_at > payment.occurred_at):
        return
    why = payment.failure_message or payment.get_status_display()
    is_new = _open(invoice, failed_at=payment.occurred_at, amount_minor=payment.amount_minor, why=why, now=now)
    if not is_new and payment.status == Payment.Status.REQUIRES_ACTION:
        # The customer is told at once, once, and not when the next step is due.
        untold = RecoveryCase.objects.filter(invoice=invoice, state=State.OPEN).exclude(
            steps__kind=Kind.ACTION_REQUIRED
        )
        untold.update(next_step_at=payment.occurred_at)


def follow_invoice(invoice: Invoice, *, now: datetime) -> None:
    """
    End the case of an invoice that is settled, however that came: at once, in the transaction of its projection.

    Written off is no end: the debt still stands between us and the customer, until it is paid, credited or void.
    """
    case = RecoveryCase.objects.select_for_update(of=("self",)).filter(invoice=invoice).first()
    if case is None or case.state == State.CLOSED:
        return
    if invoice.status in (Invoice.Status.PAID, Invoice.Status.VOID):
        _close(case, _outcome_of(invoice), now=now)
    elif invoice.status == Invoice.Status.UNCOLLECTIBLE and case.state == State.OPEN:
        RecoveryCase.objects.filter(pk=case.pk).update(state=State.WRITTEN_OFF, next_step_at=None)
        record(case, Kind.WRITTEN_OFF, due_at=now, result="done", now=now)


def open_overdue_cases(*, now: datetime, limit: int) -> int:
    """
    Open cases that no payment's event opens: an invoice that was sent is past its due date, or Stripe had nothing to
    charge. Return how many.
    """
    # One that was sent is not late before its due date, whoever tried to pay it: it would stand before those that are.
    is_tried = Q(due_at=None, attempt_count__gt=0, projected_at__lte=now - SWEPT_AFTER)
    late = Q(due_at__lte=now) | is_tried
    waiting = Invoice.objects.filter(late, status=Invoice.Status.OPEN, amount_remaining_minor__gt=0, recovery_case=None)
    opened = 0
    for invoice_id in list(waiting.order_by("pk").values_list("pk", flat=True)[:limit]):
        with transaction.atomic():
            customer_id = Invoice.objects.values_list("customer_id", flat=True).get(pk=invoice_id)
            lock_customer(customer_id=customer_id)
            invoice = Invoice.objects.select_for_update(of=("self",)).get(pk=invoice_id)
            if invoice.status != Invoice.Status.OPEN:
                continue
            opened += _open_overdue(invoice, now=now)
    return opened


def _open_overdue(invoice: Invoice, *, now: datetime) -> bool:
    if invoice.due_at is not None and invoice.due_at <= now:
        failed_at, why = invoice.due_at, "Not paid by its due date"
    elif invoice.due_at is not None:
        return False
    else:
        failed = invoice.payments.filter(status__in=_FAILED).order_by("occurred_at").first()
        failed_at, why = (failed.occurred_at if failed else invoice.projected_at), "No payment could be made"
    return _open(invoice, failed_at=failed_at, amount_minor=invoice.amount_remaining_minor, why=why, now=now)


def _open(invoice: Invoice, *, failed_at: datetime, amount_minor: int, why: str, now: datetime) -> bool:
    if RecoveryCase.objects.filter(invoice=invoice).exists():
        return False
    policy = policy_for(invoice, now=now)
    terms = terms_of(policy.terms)
    restricts = terms.restrict_after_days
    case, is_new = RecoveryCase.objects.get_or_create(
        invoice=invoice,
        defaults={
            "customer_id": invoice.customer_id,
            "policy": policy,
            "currency": invoice.currency,
            "amount_minor": amount_minor,
            "failed_at": failed_at,
            "opened_at": now,
            "grace_ends_at": failed_at + terms.grace_days * DAY,
            "restricts_at": None if restricts is None else failed_at + restricts * DAY,
            "next_step_at": failed_at,
        },
    )
    if is_new:
        record(case, Kind.OPENED, due_at=failed_at, result="done", detail=why, now=now)
    return is_new


def record(
    case: RecoveryCase,
    kind: str,
    *,
    number: int = 0,
    due_at: datetime,
    result: str,
    detail: str = "",
    now: datetime,
) -> bool:
    """Add a step, once; whether this call did. Another worker's word about the same step counts."""
    _, is_new = RecoveryStep.objects.get_or_create(
        case=case,
        kind=kind,
        number=number,
        defaults={"due_at": due_at, "recorded_at": now, "result": result, "detail": detail[:500]},
    )
    return is_new


def _close(case: RecoveryCase, outcome: str, *, now: datetime) -> None:
    case.state, case.outcome, case.closed_at, case.next_step_at = State.CLOSED, outcome, now, None
    case.save(update_fields=["state", "outcome", "closed_at", "next_step_at"])
    record(case, Kind.CLOSED, due_at=now, result=outcome, now=now)


def _outcome_of(invoice: Invoice) -> str:
    if invoice.status == Invoice.Status.VOID:
        return Outcome.VOID
    if invoice.paid_off_stripe_minor:
        return Outcome.PAID_ELSEWHERE
    is_credited = invoice.credited_before_payment_minor > 0 and invoice.amount_paid_minor == 0
    return Outcome.CREDITED if is_credited else Outcome.PAID
