"""
Usage and what it cost by group and by member, at the instant of each event: of a period, of any span, of an invoice.

Nothing is stored: the figures of a period are what its accruals posted, shared out by its usage as it is now
(`attribution`). Every answer adds up to the customer's own figures, with a line for who is in no group, for usage of
nobody known, and for usage of which no member can be told.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings

from billing.catalog.models import Rate
from billing.customers.models import Customer
from billing.invoicing.models import Invoice, InvoiceLine
from billing.rating import queries as rating_queries
from billing.rating.explanation.recomputed import recompute
from billing.rating.pricing import PeriodTerms
from billing.rating.rating import EXACT, ZERO
from billing.rating.terms import terms_of
from billing.rating.totals import NOTHING, Amounts
from billing.subscriptions.models import BillingPeriod, PeriodAllowance
from billing.subscriptions.periods import floor_hour
from billing.teams.attribution import (
    Question,
    Weights,
    add_cut_hours,
    added_up,
    attributed,
    weights_as_allocated,
    weights_by_quantity,
)
from billing.teams.models import BillingGroup, Member, MemberDimension
from billing.teams.sharing import Cell, share_out
from billing.teams.timelines import (
    NOT_TOLD,
    UNASSIGNED,
    UNKNOWN,
    Timeline,
    group_holdings,
    member_holdings,
)
from metering import queries as metering_queries
from metering.queries import Holding

_HOUR = timedelta(hours=1)
_NAMES = {UNASSIGNED: "Unassigned", UNKNOWN: "Unknown member", NOT_TOLD: "Not told apart"}
Holdings = Callable[[Customer, datetime, datetime], list[Holding]]


@dataclass(frozen=True, slots=True)
class Holder:
    """A group or a member; `kind` is group, member, unassigned, unknown or not_told, and the last three have no id."""

    kind: str
    id: int | None
    code: str
    name: str
    budget_code: str = ""


@dataclass(slots=True)
class HolderUsage:
    """What one holder used and what it cost: currency units, exact. `quantities` in units, by meter."""

    holder: Holder
    amounts: Amounts = NOTHING
    quantities: dict[str, Decimal] = field(default_factory=dict)
    by_rate: dict[int, Amounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UsageByHolder:
    """All lines of a span, those of holders by code and then the three others; they add up to `total` exactly."""

    lines: tuple[HolderUsage, ...]
    total: Amounts
    rates: Mapping[int, Rate]

    def line(self, code: str) -> HolderUsage | None:
        """The line of a group's or member's code."""
        return next((one for one in self.lines if one.holder.code == code and one.holder.id is not None), None)


@dataclass(frozen=True, slots=True)
class InvoicedByHolder:
    """An invoice's usage lines by holder, before rounding, discount and tax; and what is no usage, as it is charged."""

    lines: tuple[tuple[Holder, Decimal], ...]
    usage: Decimal
    rounding: Decimal
    other: tuple[InvoiceLine, ...]


def member_dimension(customer: Customer, *, at: datetime) -> str:
    """
    Return the dimension that names members at the instant. Before the first that was kept it is that one; and the
    setting's for who never had a team, and so no member.
    """
    kept = MemberDimension.objects.filter(customer=customer).values_list("dimension", flat=True)
    own = kept.filter(starts_at__lte=at).order_by("-starts_at", "-id").first()
    own = own or kept.order_by("starts_at", "id").first()
    return own or str(settings.BILLING_MEMBER_DIMENSION)


def usage_by_group(
    period: BillingPeriod, *, now: datetime, start: datetime | None = None, end: datetime | None = None
) -> UsageByHolder:
    """
    Return a period's usage by group, or that of the part of it in [start, end); a number of queries that depends on
    neither members nor usage. Raises RatingErrors, and EventsArchived where an hour that is cut lies in an archive.
    """
    return _lines(_of_span([period], group_holdings, start, end, now), _groups(_customer(period)))


def usage_by_member(
    period: BillingPeriod, *, now: datetime, start: datetime | None = None, end: datetime | None = None
) -> UsageByHolder:
    """As `usage_by_group`, by member, whatever group they were in."""
    return _lines(_of_span([period], member_holdings, start, end, now), _members(_customer(period)))


def usage_by_group_between(customer: Customer, start: datetime, end: datetime, *, now: datetime) -> UsageByHolder:
    """Return the usage of any span by group: the parts of all periods that it touches. Raises as `usage_by_group`."""
    return _lines(_of_span(_periods(customer, start, end), group_holdings, start, end, now), _groups(customer))


def usage_by_member_between(customer: Customer, start: datetime, end: datetime, *, now: datetime) -> UsageByHolder:
    """As `usage_by_group_between`, by member."""
    return _lines(_of_span(_periods(customer, start, end), member_holdings, start, end, now), _members(customer))


def usage_of_pieces(
    period: BillingPeriod, instants: Sequence[datetime], *, by_member: bool, now: datetime
) -> dict[Cell, dict[int, Amounts]]:
    """Return by (piece, holder's id) and rate what a period came to between neighbouring instants inside of it."""
    holdings = member_holdings if by_member else group_holdings
    inner = [at for at in instants if period.starts_at < at < period.ends_at]
    return _of_period(period, [period.starts_at, *inner, period.ends_at], holdings, now=now)


def invoiced_by_group(invoice: Invoice, *, now: datetime) -> InvoicedByHolder:
    """
    Return an invoice's usage lines by group, each line shared as what is unbilled of its period and price. Lines of
    late usage are shared as their own period's. Raises as `usage_by_group`.
    """
    lines = list(invoice.lines.select_related("period__subscription__customer").order_by("position"))
    usage = [line for line in lines if line.kind == InvoiceLine.Kind.USAGE and line.period_id and line.rate_id]
    found: dict[int, Decimal] = {}
    cells: dict[int, dict[int, dict[int, Amounts]]] = {}
    total = rounding = ZERO
    for line in usage:
        period, exact = line.period, line.exact_amount or ZERO
        assert period is not None  # a usage line has one
        if period.pk not in cells:
            cells[period.pk] = _by_rate(_of_span([period], group_holdings, None, None, now))
        for holder, part in _line_shares(exact, cells[period.pk].get(line.rate_id or 0, {})).items():
            found[holder] = EXACT.add(found.get(holder, ZERO), part)
        total, rounding = EXACT.add(total, exact), EXACT.add(rounding, line.rounding or ZERO)
    groups = _groups(invoice.customer)
    rows = tuple((_holder(pk, groups), found[pk]) for pk in _in_order(found, groups))
    other = tuple(line for line in lines if line not in usage and line.amount_minor)
    return InvoicedByHolder(rows, total, rounding, other)


def _line_shares(exact: Decimal, by_holder: Mapping[int, Amounts]) -> dict[int, Decimal]:
    for column in ("unbilled", "quantity"):
        weights = {pk: getattr(amounts, column) for pk, amounts in sorted(by_holder.items())}
        if getattr(added_up(by_holder.values()), column):
            return share_out(exact, weights)
    return {NOT_TOLD: exact} if exact else {}


def _of_span(
    periods: Iterable[BillingPeriod],
    holdings: Holdings,
    start: datetime | None,
    end: datetime | None,
    now: datetime,
) -> dict[int, dict[int, Amounts]]:
    """By holder and rate what the span came to."""
    found: dict[int, dict[int, Amounts]] = {}
    for period in periods:
        first, last = max(start or period.starts_at, period.starts_at), min(end or period.ends_at, period.ends_at)
        if first >= last:
            continue
        instants = sorted({period.starts_at, first, last, period.ends_at})
        wanted = instants.index(first)
        for (piece, holder), of_cell in _of_period(period, instants, holdings, now=now).items():
            if piece == wanted:
                of_holder = found.setdefault(holder, {})
                for rate_id, amounts in of_cell.items():
                    before = of_holder.get(rate_id)
                    of_holder[rate_id] = amounts if before is None else before.plus(amounts)
    return found


def _of_period(
    period: BillingPeriod, instants: Sequence[datetime], holdings: Holdings, *, now: datetime
) -> dict[Cell, dict[int, Amounts]]:
    customer = _customer(period)
    found = holdings(customer, period.starts_at, period.ends_at)
    question = Question(tuple(instants), member_dimension(customer, at=period.starts_at), Timeline(found))
    posted = rating_queries.posted_state(period.pk).by_rate
    allowances = list(PeriodAllowance.objects.filter(period=period))
    if any(one.each_dimension == question.dimension for one in allowances):
        weights = _as_allocated(period, question, allowances, now=now)
    else:
        weights = _by_quantity(period, question, found)
    return attributed(question, weights, posted)


def _as_allocated(
    period: BillingPeriod, question: Question, allowances: Iterable[PeriodAllowance], *, now: datetime
) -> Weights:
    key = _customer(period).customer_key
    caps = frozenset(one.pk for one in allowances if one.measure == PeriodAllowance.Measure.CAP)

    def events_of(hours: Sequence[datetime], cuts: Sequence[datetime]) -> Sequence[metering_queries.WeighedEvent]:
        start, end = period.starts_at, period.ends_at
        return metering_queries.weighed_events_of_hours(key, hours, start, end, cuts=cuts)

    return weights_as_allocated(question, recompute(period, now=now), caps, events_of)


def _by_quantity(period: BillingPeriod, question: Question, holdings: Sequence[Holding]) -> Weights:
    key, terms = _customer(period).customer_key, terms_of(period)
    changes = terms.rates.changes_of_any(period.starts_at, period.ends_at)
    parts = sorted({*question.instants, *changes})
    held = metering_queries.usage_by_holder(
        key, parts, dimension=question.dimension, holdings=holdings, names=terms.rates.dimension_names()
    )
    weights = weights_by_quantity(question, terms.rates, held, parts)
    hours = metering_queries.hours_to_tell_apart(parts, holdings)
    if hours:
        _add_hours(weights, period, question, terms, hours, changes)
    return weights


def _add_hours(
    weights: Weights,
    period: BillingPeriod,
    question: Question,
    terms: PeriodTerms,
    hours: Sequence[datetime],
    changes: Sequence[datetime],
) -> None:
    """The hours that a boundary or a change cuts: those at the period's ends hold what is inside of it."""
    key, start, end = _customer(period).customer_key, period.starts_at, period.ends_at
    edges = {at for at in (floor_hour(start), floor_hour(end)) if at in hours}
    windows = metering_queries.windows_of_hours(key, [hour for hour in hours if hour not in edges])
    if floor_hour(start) in edges:
        windows += metering_queries.windows_between(key, start, min(floor_hour(start) + _HOUR, end))
    if floor_hour(end) in edges and floor_hour(end) > start:
        windows += metering_queries.windows_between(key, floor_hour(end), end)
    to_read = sorted(
        {one.window_start for one in windows if question.is_cut(one.dimensions, one.window_start, changes)}
    )
    events = metering_queries.weighed_events_of_hours(key, to_read, start, end)
    add_cut_hours(weights, question, terms.rates, windows, events, changes)


def _lines(found: Mapping[int, Mapping[int, Amounts]], holders: Mapping[int, Holder]) -> UsageByHolder:
    rates = {one.pk: one for one in Rate.objects.filter(pk__in={pk for of in found.values() for pk in of})}
    lines = []
    for pk in _in_order(found, holders):
        line = HolderUsage(_holder(pk, holders), added_up(found[pk].values()), {}, dict(found[pk]))
        for rate_id, amounts in found[pk].items():
            code = rates[rate_id].meter_code
            line.quantities[code] = EXACT.add(line.quantities.get(code, ZERO), amounts.quantity)
        lines.append(line)
    return UsageByHolder(tuple(lines), added_up(line.amounts for line in lines), rates)


def _by_rate(found: Mapping[int, Mapping[int, Amounts]]) -> dict[int, dict[int, Amounts]]:
    turned: dict[int, dict[int, Amounts]] = {}
    for holder, of_holder in found.items():
        for rate_id, amounts in of_holder.items():
            turned.setdefault(rate_id, {})[holder] = amounts
    return turned


def _in_order(found: Iterable[int], holders: Mapping[int, Holder]) -> list[int]:
    return sorted(found, key=lambda pk: (pk <= 0, holders[pk].code if pk > 0 else "", -pk))


def _holder(pk: int, holders: Mapping[int, Holder]) -> Holder:
    if pk > 0:
        return holders[pk]
    kinds = {UNASSIGNED: "unassigned", UNKNOWN: "unknown", NOT_TOLD: "not_told"}
    return Holder(kinds[pk], None, "", _NAMES[pk])


def _groups(customer: Customer) -> dict[int, Holder]:
    found = BillingGroup.objects.filter(customer=customer)
    return {one.pk: Holder("group", one.pk, one.code, one.name, one.budget_code) for one in found}


def _members(customer: Customer) -> dict[int, Holder]:
    found = Member.objects.filter(customer=customer).values_list("pk", "key", "name")
    return {pk: Holder("member", pk, key, name or key) for pk, key, name in found}


def _customer(period: BillingPeriod) -> Customer:
    return period.subscription.customer


def _periods(customer: Customer, start: datetime, end: datetime) -> list[BillingPeriod]:
    found = BillingPeriod.objects.filter(subscription__customer=customer, starts_at__lt=end, ends_at__gt=start)
    return list(found.select_related("subscription__customer", "plan_version").order_by("starts_at"))
