"""
Many refunds at once: charges chosen by a rule and a window, seen before they are asked for, approved by a second
person, and sent line by line, each once. What was seen is what is asked for, and what was asked for is what is sent.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, QuerySet, Sum

from billing.customers.models import Customer
from billing.invoicing.models import InvoiceLine
from billing.invoicing.rounding import chargeable_increment_minor
from billing.payments import two_people
from billing.payments.models import BalanceTransaction, Dispute, Payment
from billing.payments.refunding.left import left_of_each
from billing.payments.refunding.models import RefundBatch, RefundDecision, RefundReason, RefundRequest
from billing.payments.refunding.operations import APPROVE, State, Way
from billing.payments.two_people import InvalidRequest, Outcome

REQUEST = "billing.request_refundbatch"
LINES_MAX = 20_000
_HELD_BY_BANK = (Dispute.Status.NEEDS_RESPONSE, Dispute.Status.UNDER_REVIEW, Dispute.Status.LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    Which charges: those paid in [`paid_from`, `paid_until`), of these customers (none named: of all), of this currency
    and of amounts within the bounds (minor units, both included).

    How much of each: `percent` of what was paid, rounded down to what can be charged, and never more than is left.
    """

    paid_from: datetime
    paid_until: datetime
    currency: str
    customer_keys: tuple[str, ...] = ()
    least_minor: int | None = None
    most_minor: int | None = None
    percent: int = 100

    def as_data(self) -> dict[str, Any]:
        data = asdict(self)
        return data | {
            "paid_from": self.paid_from.isoformat(),
            "paid_until": self.paid_until.isoformat(),
            "customer_keys": list(self.customer_keys),
        }


@dataclass(frozen=True, slots=True)
class Line:
    payment: Payment
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Selection:
    """What a rule chooses now. `passed_over` are charges it names of which nothing can be refunded, and why."""

    lines: tuple[Line, ...]
    passed_over: tuple[tuple[Payment, str], ...]

    @property
    def total_minor(self) -> int:
        return sum(line.amount_minor for line in self.lines)


def rule_of(data: Mapping[str, Any]) -> Rule:
    """A stored rule."""
    return Rule(
        **{
            **data,
            "paid_from": datetime.fromisoformat(data["paid_from"]),
            "paid_until": datetime.fromisoformat(data["paid_until"]),
            "customer_keys": tuple(data["customer_keys"]),
        }
    )


def require_rule(rule: Rule) -> None:
    """Raises InvalidRequest naming the field."""
    if rule.paid_from.tzinfo is None or rule.paid_until.tzinfo is None or rule.paid_from >= rule.paid_until:
        raise InvalidRequest("The window ends after it begins.", field="paid_until")
    if not 1 <= rule.percent <= 100:
        raise InvalidRequest("From 1 to 100 percent.", field="percent")
    known = set(Customer.objects.filter(customer_key__in=rule.customer_keys).values_list("customer_key", flat=True))
    unknown = sorted(set(rule.customer_keys) - known)
    if unknown:
        raise InvalidRequest(f"There is no customer {', '.join(unknown[:5])}.", field="customer_keys")


def select(rule: Rule) -> Selection:
    """The charges a rule chooses, oldest first; ten queries. Raises InvalidRequest for a rule that is none."""
    require_rule(rule)
    payments = list(_payments(rule)[: LINES_MAX + 1])
    if len(payments) > LINES_MAX:
        raise InvalidRequest(f"More than {LINES_MAX} charges: choose a smaller window.", field="paid_until")
    left = left_of_each(payments)
    disputed = set(
        Dispute.objects.filter(payment__in=payments, status__in=_HELD_BY_BANK).values_list("payment_id", flat=True)
    )
    prepaid = set(
        InvoiceLine.objects.filter(
            invoice__in={payment.invoice_id for payment in payments}, kind=InvoiceLine.Kind.PREPAID
        ).values_list("invoice_id", flat=True)
    )
    increment = chargeable_increment_minor(rule.currency)
    lines, passed_over = [], []
    for payment in payments:
        wished = payment.amount_minor * rule.percent // 100 // increment * increment
        amount = min(wished, left.of(payment))
        if payment.pk in disputed:
            passed_over.append((payment, "the bank holds it in a dispute"))
        elif payment.invoice_id in prepaid:
            passed_over.append((payment, "it paid for prepaid credit: make a credit note on that line of its invoice"))
        elif amount <= 0:
            passed_over.append((payment, "nothing is left to be refunded"))
        else:
            left.take(payment, amount)
            lines.append(Line(payment, amount))
    return Selection(tuple(lines), tuple(passed_over))


def _payments(rule: Rule) -> QuerySet[Payment]:
    found = Payment.objects.filter(
        status=Payment.Status.SUCCEEDED,
        currency=rule.currency,
        occurred_at__gte=rule.paid_from,
        occurred_at__lt=rule.paid_until,
    )
    if rule.customer_keys:
        found = found.filter(customer__customer_key__in=rule.customer_keys)
    if rule.least_minor is not None:
        found = found.filter(amount_minor__gte=rule.least_minor)
    if rule.most_minor is not None:
        found = found.filter(amount_minor__lte=rule.most_minor)
    return found.select_related("customer", "invoice").order_by("occurred_at", "pk")


def request_batch(
    rule: Rule,
    *,
    name: str,
    reason_code: str,
    reason: str,
    seen_count: int,
    seen_total_minor: int,
    idempotency_key: str,
    actor: str,
    now: datetime,
) -> RefundBatch:
    """
    Ask for the refunds that a rule chooses, as they were seen: `seen_count` of them, `seen_total_minor` together.

    Said twice with one key it returns the first. A batch always takes two people. Raises NotPermitted, RequestConflict,
    and InvalidRequest where the rule chooses something else by now.
    """
    two_people.require_may(actor, REQUEST, what="ask for many refunds at once")
    known = RefundBatch.objects.filter(idempotency_key=idempotency_key).first()
    if known is not None:
        if (known.rule, known.requested_by, known.name) != (rule.as_data(), actor, name.strip()):
            raise two_people.RequestConflict("The key was used before, for another batch.", field="idempotency_key")
        return known
    if reason_code not in RefundReason.values:
        raise InvalidRequest(f"Give one of {', '.join(RefundReason.values)}.", field="reason_code")
    if not name.strip() or len(name.strip()) > 200:
        raise InvalidRequest("Give it a name of at most 200 characters.", field="name")
    words = two_people.require_words(reason, field="reason")
    with transaction.atomic():
        found = select(rule)
        _hold_customers(found)
        found = select(rule)  # what was asked for by somebody else until the customers were held counts
        if (len(found.lines), found.total_minor) != (seen_count, seen_total_minor):
            raise InvalidRequest("The rule chooses other charges by now than you have seen. Look again.")
        if not found.lines:
            raise InvalidRequest("The rule chooses nothing.")
        batch = RefundBatch.objects.create(
            name=name.strip(),
            rule=rule.as_data(),
            reason_code=reason_code,
            reason=words,
            currency=rule.currency,
            line_count=len(found.lines),
            total_minor=found.total_minor,
            requested_by=actor,
            requested_at=now,
            idempotency_key=idempotency_key,
        )
        _add_lines(batch, found)
        return batch


def _hold_customers(found: Selection) -> None:
    ids = sorted({line.payment.customer_id for line in found.lines})
    list(Customer.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk").values_list("pk"))


def _add_lines(batch: RefundBatch, found: Selection) -> None:
    requests = [
        RefundRequest(
            payment=line.payment,
            customer_id=line.payment.customer_id,
            batch=batch,
            way=Way.REFUND,
            reason_code=batch.reason_code,
            state=State.WAITING,
            amount_minor=line.amount_minor,
            currency=batch.currency,
            reason=batch.reason,
            limit_minor=None,
            alone_minor=line.amount_minor,
            needs_second_person=True,
            requested_by=batch.requested_by,
            requested_at=batch.requested_at,
            idempotency_key=f"batch:{batch.pk}:{line.payment.pk}",
        )
        for line in sorted(found.lines, key=lambda line: line.payment.pk)
    ]
    try:
        with transaction.atomic():
            RefundRequest.objects.bulk_create(requests, batch_size=1000)
    except IntegrityError as error:
        raise InvalidRequest("A charge was refunded meanwhile. Look again.") from error


def decide_batch(*, batch_id: int, outcome: Outcome, words: str, actor: str, now: datetime) -> RefundBatch:
    """
    Approve or reject a batch as the second person, or withdraw one's own; every line shares the decision.

    Said twice by the same person it changes nothing. Raises what two_people.decide raises.
    """
    with transaction.atomic():
        batch = RefundBatch.objects.filter(pk=batch_id).first()
        if batch is None:
            raise InvalidRequest("There is no such batch.")
        lines = list(batch.lines.select_for_update(of=("self",)).order_by("pk"))
        first, *others = lines
        is_new = two_people.decide(
            first, decisions=RefundDecision, outcome=outcome, words=words, permission=APPROVE, actor=actor, now=now
        )
        if not is_new:
            return batch
        shared = {
            "outcome": outcome,
            "requested_by": batch.requested_by,
            "needs_second_person": True,
            "decided_by": actor,
            "decided_at": now,
            "words": words.strip(),
        }
        RefundDecision.objects.bulk_create([RefundDecision(request=one, **shared) for one in others], batch_size=1000)
        if outcome == Outcome.APPROVED:
            batch.lines.update(state=State.AGREED, next_attempt_at=now)
        else:
            batch.lines.update(state=State.DROPPED, ended_at=now)
        return batch


# --- what became of it ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """By state, how many lines and how much in minor units."""

    counts: Mapping[str, int]
    amounts: Mapping[str, int]

    @property
    def done(self) -> int:
        return sum(self.counts.get(state, 0) for state in (State.SENT, State.REFUSED, State.DROPPED))


def progress_of(batch: RefundBatch) -> Progress:
    rows = batch.lines.order_by().values_list("state")
    found = list(rows.annotate(number=Count("pk"), total=Sum("amount_minor")))
    return Progress({state: number for state, number, _ in found}, {state: total for state, _, total in found})


def progress_of_all(batch_ids: Collection[int]) -> dict[int, Progress]:
    """The same of many by id, such as a page of a list; one query."""
    rows = RefundRequest.objects.filter(batch__in=batch_ids).order_by().values_list("batch_id", "state")
    found = {pk: Progress({}, {}) for pk in batch_ids}
    for pk, state, number, total in rows.annotate(number=Count("pk"), total=Sum("amount_minor")):
        counts, amounts = dict(found[pk].counts), dict(found[pk].amounts)
        found[pk] = Progress({**counts, state: number}, {**amounts, state: total})
    return found


def decision_of(batch: RefundBatch) -> RefundDecision | None:
    return RefundDecision.objects.filter(request__batch=batch).order_by("request_id").first()


@dataclass(frozen=True, slots=True)
class ReportLine:
    """A line, and the journal entry by which its refund left our balance; None while it has not."""

    request: RefundRequest
    entry_id: int | None


def report(batch: RefundBatch, *, first: int = 0, limit: int = LINES_MAX) -> Iterator[ReportLine]:
    """The lines in the order of their payments; two queries."""
    lines = list(batch.lines.select_related("payment__customer").order_by("pk")[first : first + limit])
    ids = [line.stripe_refund_id for line in lines if line.stripe_refund_id]
    movements = BalanceTransaction.objects.filter(stripe_source_id__in=ids).order_by("-pk")
    entries = dict(movements.values_list("stripe_source_id", "journal_entry_id"))
    for line in lines:
        yield ReportLine(line, entries.get(line.stripe_refund_id))
