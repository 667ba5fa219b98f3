"""
Late usage of closed periods: found, accrued, and settled as the contract says (DESIGN §9, docs/decisions/0016).

Every accrual of a closed period has a LateUsage. Here it is decided what becomes of it; the documents themselves are
carried out in `late_documents`. Nothing is passed over: what cannot be settled by rule waits for a person, visibly.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet, Sum

from billing.catalog.models import LatePolicy
from billing.customers.operations import lock_customer
from billing.invoicing import late_documents, late_intending
from billing.invoicing.absorbing import AbsorptionError, absorb_unbilled, give_up
from billing.invoicing.late_models import AbsorbedUsage
from billing.invoicing.late_states import ACTOR, NOTHING_TO_BILL, OUTCOME_CHARS_MAX, State, rows_of, settle
from billing.invoicing.metered.shortfalls import goes_onto_next_invoice
from billing.invoicing.models import Invoice, InvoiceLine
from billing.rating import queries as rating_queries
from billing.rating.models import LateProgress, LateUsage
from billing.rating.operations import accrue_period
from billing.rating.queries import Uninvoiced
from billing.rating.rating import EXACT, ZERO, RatingError, plain
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.operations import ENDED_STATUSES
from ledger.operations import LedgerError
from metering import queries as metering_queries

logger = logging.getLogger(__name__)

TOO_SMALL = "Late usage of less than the smallest amount that can be charged"
NEXT_INVOICE, DOCUMENT, ABSORB = "next_invoice", "document", "absorb"
CUSTOMERS_AT_ONCE = 1_000


class DecisionError(Exception):
    """A decision about late usage cannot be carried out; nothing was written. `field` names what to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def settle_late_usage(*, now: datetime) -> int:
    """
    Accrue closed periods that something arrived for, and settle what was found as its contract says; return how many
    were accrued. Not inside a transaction: documents are made at Stripe. Safe to repeat.

    What cannot be settled is logged and tried again next time, and holds no other up.
    """
    accrued = accrue_closed_periods(now=now)
    for period_id in _periods_with_news():
        try:
            apply_policy(period_id=period_id, now=now)
        except (DecisionError, LedgerError):
            logger.exception("late usage of period %s was not settled", period_id)
    late_documents.carry_out(now=now)
    return accrued


def accrue_closed_periods(*, now: datetime) -> int:
    """
    Accrue every closed period that an event or a correction arrived for since the last call; return how many changed.

    Also those that have ended and are open still: one of them may be closing at this moment, with windows it read
    before these arrivals were in them. Its accrual here waits for the close.

    A period that cannot be accrued is logged and tried again next time, and holds no other up.
    """
    to_xid = metering_queries.counted_before()
    progress, _ = LateProgress.objects.get_or_create(pk=1, defaults={"next_xid": 0})
    if to_xid <= progress.next_xid and not progress.retried:
        return 0
    due = set(progress.retried)
    arrived = metering_queries.arrived_between(from_xid=progress.next_xid, to_xid=to_xid)
    for start in range(0, len(arrived), CUSTOMERS_AT_ONCE):
        due.update(_touched(arrived[start : start + CUSTOMERS_AT_ONCE], now=now))
    posted, failed = 0, []
    for period_id in sorted(due):
        try:
            posted += accrue_period(period_id=period_id, now=now) is not None
        except (RatingError, LedgerError, IntegrityError):
            logger.exception("late usage of period %s was not accrued", period_id)
            failed.append(period_id)
    LateProgress.objects.filter(pk=1).update(next_xid=max(to_xid, progress.next_xid), retried=failed)
    return posted


def _touched(arrived: Sequence[metering_queries.ArrivedFor], *, now: datetime) -> set[int]:
    """Periods that have ended and hold something of what arrived. One query: most customers send all the time."""
    found = {one.customer_key: one for one in arrived}
    ended = BillingPeriod.objects.filter(
        Q(state=BillingPeriod.State.CLOSED) | Q(ends_at__lte=now),
        subscription__customer__customer_key__in=found,
        starts_at__lte=max(one.last_event_time for one in arrived),
        ends_at__gt=min(one.first_event_time for one in arrived),
    )
    rows = ended.values_list("pk", "subscription__customer__customer_key", "starts_at", "ends_at")
    return {
        period_id
        for period_id, key, starts_at, ends_at in rows
        if starts_at <= found[key].last_event_time and ends_at > found[key].first_event_time
    }


def apply_policy(*, period_id: int, now: datetime) -> None:
    """
    Settle what was found late of one closed period as its contract says, or put it before a person.

    A subscription that has ended has no next invoice: what it is owed goes onto a credit note, and whether to ask for
    more is decided by a person.
    """
    with transaction.atomic():
        period = _held(period_id)
        rows = rows_of(period_id, State.FOUND, State.WAITING)
        is_over = period.subscription.status in ENDED_STATUSES
        if not rows.exists() or late_intending.is_under_way(period_id):
            return
        left = rating_queries.uninvoiced(period.subscription_id, period_id)
        if not any(rest.amount for rest in left):
            settle(rows, NOTHING_TO_BILL, actor=ACTOR, now=now)
        elif _is_on_a_draft(period_id):
            return  # its own invoice is not finished: the line to correct is not charged yet
        elif period.plan_version.late_policy == LatePolicy.ABSORB and goes_onto_next_invoice(period_id):
            _put_before_a_person(rows, "What Stripe left off its invoice goes onto the next one, as somebody decided")
        elif period.plan_version.late_policy == LatePolicy.ABSORB and _net(left) > 0:
            _absorb_by_contract(period, rows, _net(left), now=now)
        elif period.plan_version.late_policy == LatePolicy.CREDIT_OR_DEBIT_NOTE:
            _make_documents(period, rows, left, may_ask=True, actor=ACTOR, now=now)
        elif is_over:
            _make_documents(period, rows, left, may_ask=False, actor=ACTOR, now=now)
        else:
            rows.update(state=State.WAITING)


def decide_late_usage(*, late_usage_id: int, way: str, reason: str, actor: str, now: datetime) -> None:
    """
    Settle late usage that waits for a decision, with all that waits of its period: `next_invoice`, `document` (credit
    notes and an invoice of its own) or `absorb`. A document is carried out by the task. Raises DecisionError.
    """
    if not reason.strip():
        raise DecisionError("reason", "a decision needs a reason")
    found = LateUsage.objects.select_related("accrual").filter(pk=late_usage_id).first()
    if found is None:
        raise DecisionError("way", f"there is no late usage {late_usage_id}")
    with transaction.atomic():
        period = _held(found.accrual.period_id)
        rows = rows_of(period.pk, State.DECISION)
        if not rows.filter(pk=late_usage_id).exists():
            raise DecisionError("way", "this late usage does not wait for a decision any more")
        left = rating_queries.uninvoiced(period.subscription_id, period.pk)
        if way == NEXT_INVOICE:
            if period.subscription.status in ENDED_STATUSES:
                raise DecisionError("way", "the subscription has ended: there is no next invoice")
            rows.update(state=State.WAITING, outcome=f"Next invoice, decided by {actor}: {reason}"[:OUTCOME_CHARS_MAX])
        elif way == DOCUMENT:
            _make_documents(period, rows, left, may_ask=True, actor=actor, now=now)
            if rows.exists():
                raise DecisionError("way", rows[0].outcome)
        elif way == ABSORB:
            _absorb(period, rows, reason=reason, actor=actor, now=now)
        else:
            raise DecisionError("way", f"{way!r} is not one of {NEXT_INVOICE}, {DOCUMENT}, {ABSORB}")
    logger.info("%s decided about late usage %s: %s (%s)", actor, late_usage_id, way, reason)


def _periods_with_news() -> list[int]:
    """Periods with late usage nobody has looked at, and those that wait for an invoice that will not come."""
    over = Q(state=State.WAITING, accrual__period__subscription__status__in=ENDED_STATUSES)
    news = LateUsage.objects.filter(Q(state=State.FOUND) | over)
    return list(news.order_by("accrual__period_id").values_list("accrual__period_id", flat=True).distinct())


def _held(period_id: int) -> BillingPeriod:
    period = BillingPeriod.objects.select_related("subscription__customer", "plan_version").get(pk=period_id)
    lock_customer(customer_id=period.subscription.customer_id)
    return period


def _put_before_a_person(rows: QuerySet[LateUsage], why: str) -> None:
    logger.warning("late usage waits for a decision: %s", why)
    rows.update(state=State.DECISION, outcome=why[:OUTCOME_CHARS_MAX])


def _net(left: Sequence[Uninvoiced]) -> Decimal:
    net = ZERO
    for rest in left:
        net = EXACT.add(net, rest.amount)
    return net


def _absorb_by_contract(period: BillingPeriod, rows: QuerySet[LateUsage], net: Decimal, *, now: datetime) -> None:
    """Give the increase up where all that was so given up of the period stays within what the contract says."""
    limit, currency = period.plan_version.late_absorb_up_to, period.plan_version.currency
    given_up = AbsorbedUsage.objects.filter(period=period, absorbed_by=ACTOR).aggregate(total=Sum("amount"))["total"]
    total = EXACT.add(given_up or ZERO, net)
    if total > limit:
        why = f"{plain(total)} {currency} of late usage is more than the {plain(limit)} {currency} the contract absorbs"
        _put_before_a_person(rows, why)
        return
    reason = f"Late usage, absorbed by contract up to {plain(limit)} {currency} a period"
    _absorb(period, rows, reason=reason, actor=ACTOR, now=now)


def _absorb(period: BillingPeriod, rows: QuerySet[LateUsage], *, reason: str, actor: str, now: datetime) -> None:
    latest = rows.latest("pk")
    try:
        given_up = absorb_unbilled(
            period_id=period.pk, reason=reason, actor=actor, idempotency_key=f"late_usage:{latest.pk}", now=now
        )
    except AbsorptionError as error:
        raise DecisionError("way", str(error)) from error
    amount = sum((row.amount for row in given_up), ZERO)
    outcome = f"Absorbed {plain(amount)} {period.plan_version.currency}: {reason}"
    settle(rows, outcome, actor=actor, now=now)


def _make_documents(
    period: BillingPeriod,
    rows: QuerySet[LateUsage],
    left: Sequence[Uninvoiced],
    *,
    may_ask: bool,
    actor: str,
    now: datetime,
) -> None:
    """
    Intend credit notes for what became less and an invoice of its own for what became more, or put it before a person.

    `may_ask` says whether an increase may be asked for without one. What is too small for a document is given up.
    """
    wanted = late_intending.plan_for(period, left)
    currency = period.plan_version.currency
    if wanted.not_creditable:
        amount = plain(sum((-change.amount for change in wanted.not_creditable), ZERO))
        _put_before_a_person(rows, f"{amount} {currency} is owed back, and no invoice line is left to credit it on")
    elif wanted.increases and not may_ask:
        amount = plain(sum((change.amount for change in wanted.increases), ZERO))
        _put_before_a_person(rows, f"The subscription has ended: nothing will ask for {amount} {currency} by itself")
    elif wanted.increases and actor == ACTOR and _had_a_void_invoice(period.pk):
        _put_before_a_person(rows, "An invoice of this period is void: whether to ask for it again is for a person")
    else:
        small = {change.rate_id for change in wanted.too_small}
        if small:
            rest = [one for one in left if one.rate.pk in small]
            give_up(period, rest, reason=TOO_SMALL, actor=actor, idempotency_key=f"late_small:{rows[0].pk}", now=now)
        if not wanted.credits and not wanted.increases:
            settle(rows, TOO_SMALL, actor=actor, now=now)
            return
        late_intending.intend(period, wanted, actor=actor, now=now)
        rows.update(state=State.CORRECTING, outcome="", settled_by=actor)


def _is_on_a_draft(period_id: int) -> bool:
    return InvoiceLine.objects.filter(
        period_id=period_id, kind=InvoiceLine.Kind.USAGE, invoice__status=Invoice.Status.DRAFT
    ).exists()


def _had_a_void_invoice(period_id: int) -> bool:
    lines = InvoiceLine.objects.filter(period_id=period_id, kind=InvoiceLine.Kind.USAGE)
    return lines.filter(invoice__status=Invoice.Status.VOID).exists()
