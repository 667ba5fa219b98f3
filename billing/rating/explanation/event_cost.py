"""
What one event cost at each meter that counts it, who paid, and why it was their turn. Computed anew each time it is
asked: the same events, terms and grants always come to the same (decision 0018).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from billing.catalog.models import Rate
from billing.money_text import exact_text, quantity_text
from billing.rating import queries as rating_queries
from billing.rating.explanation import facts
from billing.rating.explanation.how import how_priced
from billing.rating.explanation.model import EventCost, PaidPart, Payer, PeriodFacts, Standing
from billing.rating.explanation.recomputed import ALLOWANCE, GRANT, UNBILLED, Recomputed, recompute
from billing.rating.explanation.shared import SharedEvent, SharedPeriod
from billing.rating.explanation.shares import Paid
from billing.rating.rating import EXACT, ZERO, RatingError
from billing.rating.target import Allocated, described
from billing.rating.terms import terms_of
from billing.subscriptions.models import BillingPeriod, PeriodAllowance
from billing.subscriptions.periods import floor_hour
from metering import queries as metering_queries
from promotions import queries as promotions_queries

_HOUR = timedelta(hours=1)
_CAP, _UNITS = PeriodAllowance.Measure.CAP, PeriodAllowance.Measure.UNITS


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedEvent:
    """An event as one meter counts it."""

    key: str
    event_time: datetime
    received_at: datetime
    customer_key: str
    meter_code: str
    meter_version: int
    dimensions: dict[str, str | None]
    is_void: bool = False
    is_waiting: bool = False


class EventCosts:
    """What events cost; a period is computed once, however many of its events are asked for."""

    def __init__(self, *, now: datetime) -> None:
        self._now = now
        self._periods: dict[int, _PeriodCosts] = {}

    def of(self, event: CountedEvent) -> EventCost:
        """Return what the event cost at its meter, or why nothing can be said."""
        period = _period_of(event)
        if period is None:
            return _nothing(
                event, "no_period", "Its instant lies in no billing period of this customer, so nobody pays for it"
            )
        if event.is_void:
            return _void(event, period)
        if event.is_waiting:
            return _nothing(event, "waiting", "It waits for aggregation and is priced with its window", period)
        try:
            if _rate_of(event, period) is None:
                text = f"No price for {event.meter_code} of {described(event.dimensions)} applies"
                return _nothing(event, "unpriced", text, period)
            return self._of(period).of(event)
        except (RatingError, metering_queries.EventsArchived) as error:
            return _nothing(event, "unknown", str(error), period)

    def of_period(self, period: BillingPeriod, rate_id: int) -> Iterator[SharedEvent]:
        """
        Yield every event that a price counted in a period, with its share. Raises RatingErrors, and EventsArchived.
        """
        yield from self._of(period).all_of(rate_id)

    def owed(self, period: BillingPeriod, rate_id: int) -> tuple[Paid, ...]:
        """What a price asks for without usage, and who paid that. Raises RatingErrors."""
        return self._of(period).owed(rate_id)

    def of_hour(self, period: BillingPeriod, rate_id: int, hour: datetime) -> Iterator[SharedEvent]:
        """As `of_period`, of the hour that begins `hour`."""
        yield from self._of(period).all_of(rate_id, hour=hour)

    def _of(self, period: BillingPeriod) -> "_PeriodCosts":
        costs = self._periods.get(period.pk)
        if costs is None:
            costs = self._periods[period.pk] = _PeriodCosts(period, recompute(period, now=self._now))
        return costs


def costs_of_event(event_key: str, *, now: datetime) -> tuple[EventCost, ...] | None:
    """Return what the event (its key: 32 hexadecimal digits) cost at each of its meters; None where it is not kept."""
    row = metering_queries.find_event(event_key)
    if row is None:
        return None
    costs = EventCosts(now=now)
    found = []
    for pair in row.pairs:
        event = CountedEvent(
            key=row.key,
            event_time=row.event_time,
            received_at=row.received_at,
            customer_key=row.customer_key,
            meter_code=pair.meter_code,
            meter_version=pair.meter_version,
            dimensions=pair.dimensions,
            is_void=row.state == "void",
            is_waiting=row.state == "waiting",
        )
        if pair.quantity is None:
            found.append(_nothing(event, "excluded", "The meter does not count it, so it costs nothing here"))
        else:
            found.append(costs.of(event))
    return tuple(found)


class _PeriodCosts:
    """One period, computed again, whose usage is shared out among its events."""

    def __init__(self, period: BillingPeriod, recomputed: Recomputed) -> None:
        self._period = facts.find_period(period.pk) or period
        self._facts = facts.period_facts(self._period)
        self._allowances = {one.pk: one for one in self._period.allowances.all()}
        caps = frozenset(one.pk for one in self._allowances.values() if one.measure == _CAP)
        self._shared = SharedPeriod(recomputed, caps=caps)
        self._grants: dict[int, promotions_queries.GrantTerms] = {}

    def owed(self, rate_id: int) -> tuple[Paid, ...]:
        return self._shared.owed(rate_id)

    def all_of(self, rate_id: int, *, hour: datetime | None = None) -> Iterator[SharedEvent]:
        """Raises EventsArchived."""
        for meter_code in self._shared.meters_of(rate_id):
            for shared in self._shared.share_out(self._weighed(meter_code, hour)):
                if shared.rate is not None and shared.rate.pk == rate_id:
                    yield shared

    def of(self, event: CountedEvent) -> EventCost:
        """Raises EventsArchived."""
        of_hour = self._weighed(event.meter_code, floor_hour(event.event_time))
        for shared in self._shared.share_out(of_hour):
            if shared.event.key == event.key and shared.event.meter_version == event.meter_version:
                return self._cost(event, shared)
        return _nothing(event, "waiting", "It is in no window yet, and is priced with it", self._period)

    def _weighed(self, meter_code: str, hour: datetime | None) -> list[metering_queries.WeighedEvent]:
        """The events of the period, or of one hour of it."""
        start, end = self._period.starts_at, self._period.ends_at
        if hour is not None:
            start, end = max(hour, start), min(hour + _HOUR, end)
        cuts = self._shared.cuts(meter_code)
        return metering_queries.weighed_events(self._facts.customer_key, start, end, meter_code=meter_code, cuts=cuts)

    def _cost(self, event: CountedEvent, shared: SharedEvent) -> EventCost:
        assert shared.rate is not None  # asked before the period was computed
        latest = rating_queries.latest_accrual(self._period.pk)
        parts = tuple(self._parts(shared))
        return EventCost(
            event_key=event.key,
            event_time=event.event_time,
            meter_code=event.meter_code,
            meter_version=event.meter_version,
            dimensions=event.dimensions,
            standing="counted",
            text=self._text(shared, parts),
            period=self._facts,
            price=facts.price_versions([shared.rate.pk])[shared.rate.pk],
            quantity=shared.share.quantity,
            amount=shared.share.amount,
            parts=parts,
            place=shared.place,
            of=shared.of,
            quantity_before=shared.quantity_before,
            how=how_priced(
                self._shared.charge_of(shared.rate, event.dimensions),
                before=shared.quantity_before,
                quantity=shared.share.quantity,
                amount=shared.share.amount,
                currency=self._facts.currency,
            ),
            is_posted=latest is not None and latest.aggregated_through >= event.received_at,
        )

    def _text(self, shared: SharedEvent, parts: tuple[PaidPart, ...]) -> str:
        currency = self._facts.currency
        units = f"{quantity_text(shared.share.quantity)} units cost {exact_text(shared.share.amount, currency)}"
        ways = {ALLOWANCE: "included", GRANT: "paid by credit", UNBILLED: "on demand, to invoice"}
        if not parts:
            return units
        if len(parts) == 1:
            return f"{units}: {ways[parts[0].payer.kind]}"
        shares = (f"{exact_text(one.payer.amount, currency)} {ways[one.payer.kind]}" for one in parts)
        return f"{units}: {', '.join(shares)}"

    def _parts(self, shared: SharedEvent) -> Iterator[PaidPart]:
        for place, paid in enumerate(shared.share.paid):
            before = self._used_before(shared, paid)
            yield PaidPart(self._payer(paid), before, self._why(paid, before, shared, is_first=not place))

    def _used_before(self, shared: SharedEvent, paid: Paid) -> Decimal:
        """What the payer had given to the period before this event, in money, or units where it counts units."""
        allowance = self._allowances.get(paid.id or 0) if paid.kind == ALLOWANCE else None
        counts_units = allowance is not None and allowance.measure == _UNITS
        assert shared.entry is not None  # somebody paid, so there is something that was paid
        total = ZERO
        for one, before in self._shared.paid_before(shared.entry):
            if (before.kind, before.id) == (paid.kind, paid.id) and _same_pool(allowance, one, shared):
                total = EXACT.add(total, before.quantity if counts_units else before.amount)
        for before in shared.before:
            if (before.kind, before.id) == (paid.kind, paid.id):
                total = EXACT.add(total, before.quantity if counts_units else before.amount)
        return total

    def _payer(self, paid: Paid) -> Payer:
        if paid.kind == ALLOWANCE and paid.id is not None:
            return facts.allowance_payer(self._allowances[paid.id], paid.amount, paid.quantity)
        if paid.kind == GRANT and paid.id is not None:
            return facts.grant_payer(self._grant(paid.id), paid.amount)
        return Payer(UNBILLED, None, facts.TO_INVOICE, paid.amount)

    def _grant(self, grant_id: int) -> promotions_queries.GrantTerms:
        if grant_id not in self._grants:
            self._grants |= promotions_queries.grants_by_id([grant_id])
        return self._grants[grant_id]

    def _why(self, paid: Paid, before: Decimal, shared: SharedEvent, *, is_first: bool) -> str:
        currency = self._facts.currency
        if paid.kind == UNBILLED:
            return "No allowance or credit that covers it has anything left, so it is to be invoiced."
        if paid.kind == GRANT and paid.id is not None:
            grant = self._grant(paid.id)
            return (
                f"Allowances do not cover it any further; of the credit “{grant.name}” {exact_text(before, currency)}"
                " had gone to this period before."
            )
        allowance = self._allowances[paid.id or 0]
        return _why_included(allowance, before, shared, "pays first" if is_first else "pays next", currency)


def _why_included(allowance: PeriodAllowance, before: Decimal, shared: SharedEvent, turn: str, currency: str) -> str:
    if allowance.measure == _CAP:
        limit = exact_text(allowance.amount or ZERO, currency)
        return f"{limit} were to be invoiced already, the most that was agreed: what is above is not charged."
    whose = ""
    if allowance.each_dimension:
        whose = f" of {allowance.each_dimension} {shared.event.dimensions.get(allowance.each_dimension)!r}"
    if allowance.amount is None:
        return f"“{allowance.name}”{whose} has no limit."
    if allowance.measure == _UNITS:
        return (
            f"“{allowance.name}”{whose} {turn}: {quantity_text(before)} of {quantity_text(allowance.amount)} units"
            " were used before."
        )
    used, limit = exact_text(before, currency), exact_text(allowance.amount, currency)
    return f"“{allowance.name}”{whose} {turn}: {used} of {limit} was used before."


def _same_pool(allowance: PeriodAllowance | None, one: Allocated, shared: SharedEvent) -> bool:
    """An allowance for each value of a dimension is a pool for each."""
    if allowance is None or not allowance.each_dimension:
        return True
    name = allowance.each_dimension
    return one.dimensions.get(name) == shared.event.dimensions.get(name)


def _period_of(event: CountedEvent) -> BillingPeriod | None:
    found = BillingPeriod.objects.filter(
        subscription__customer__customer_key=event.customer_key,
        starts_at__lte=event.event_time,
        ends_at__gt=event.event_time,
    )
    return found.select_related("plan_version__plan", "subscription__customer").first()


def _rate_of(event: CountedEvent, period: BillingPeriod) -> Rate | None:
    rates = terms_of(period).rates
    rate = rates.lookup(event.meter_code, event.dimensions, event.event_time)
    return None if rate is None or rates.charge_of(rate).cell(event.dimensions) is None else rate


def _void(event: CountedEvent, period: BillingPeriod) -> EventCost:
    cost = _nothing(event, "void", "A correction took it out, so it costs nothing", period)
    try:
        rate = _rate_of(event, period)
    except RatingError:
        rate = None
    return cost if rate is None else replace(cost, price=facts.price_versions([rate.pk])[rate.pk])


def _nothing(event: CountedEvent, standing: Standing, text: str, period: BillingPeriod | None = None) -> EventCost:
    of_period: PeriodFacts | None = None if period is None else facts.period_facts(period)
    return EventCost(
        event.key,
        event.event_time,
        event.meter_code,
        event.meter_version,
        event.dimensions,
        standing,
        text,
        period=of_period,
    )
