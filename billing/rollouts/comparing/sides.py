"""
The two sides of a comparison: the terms a period had, and those it would have had under another version.

The other side is made by the functions that open a period, so that it is what would have been frozen. What many periods
share, such as prices, is read once (`Sides`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from billing.catalog.fees import fee_minor_of
from billing.catalog.models import Interval, PlanVersion
from billing.catalog.queries import RateTable, rates_for
from billing.customers.models import Customer
from billing.invoicing.rounding import from_minor
from billing.rating.allocation import AllowanceTerms
from billing.rating.target import PeriodTerms
from billing.rollouts.comparing.failures import CannotCompare, Failure
from billing.subscriptions.models import BillingPeriod, PeriodAllowance
from billing.subscriptions.opening import WHOLE, Item, allowances_of, cadence_of
from billing.subscriptions.operations import START_DRIFT_MAX
from billing.subscriptions.periods import MICROSECOND
from billing.subscriptions.proration import Rounding, line_minor, part_of_amount

# From the first of any month it leads into the next one.
_LONGER_THAN_MONTH = timedelta(days=32)
_Key = tuple[tuple[int, int, bool], ...]


@dataclass(frozen=True, slots=True)
class Side:
    """The terms of one side: what usage is rated by, and the recurring fees of the period, in currency units."""

    terms: PeriodTerms
    fee: Decimal
    # Of its allowances, in their order, as people read them.
    names: tuple[str, ...] = ()


class Sides:
    """Makes sides. Prices and allowances are kept as long as this object: terms that change meanwhile are not seen."""

    def __init__(self) -> None:
        self._rates: dict[tuple[int, ...], RateTable] = {}
        self._bundled: dict[int, list[PlanVersion]] = {}
        self._allowances: dict[tuple[_Key, tuple[int, ...]], list[PeriodAllowance]] = {}

    def of(self, period: BillingPeriod) -> Side:
        """
        The period's own terms, as they were frozen when it opened; of a span that is no stored period, what they would
        have been. Asks for nothing that was read with the period.
        """
        items = items_of(period)
        if not is_stored(period):
            require_sellable(period.plan_version, period.subscription.customer, period)
            return self._opened(period, items)
        rows = list(period.allowances.all())
        return self._side(period, items, allowance_terms(rows), names=tuple(row.name for row in rows))

    def under(self, version: PlanVersion, period: BillingPeriod) -> Side:
        """
        What the period would have been under another version. Raises CannotCompare.

        Fewer seats than are sold are paid as the fewest that are. Add-ons stay, but those that the version bundles are
        in its fee. A trial and a pause stay what they are: all usage of them is included. A part of a period is the
        same part of the other terms.
        """
        require_sellable(version, period.subscription.customer, period)
        seats = max(period.seats, version.min_seats)
        bundled = self._bundled_of(version)
        taken = {add_on.plan_id for add_on in bundled}
        items = [
            Item(version, seats),
            *(Item(add_on, seats, is_bundled=True) for add_on in bundled),
            *(item for item in items_of(period)[1:] if not item.is_bundled and item.version.plan_id not in taken),
        ]
        return self._opened(period, items)

    def _opened(self, period: BillingPeriod, items: Sequence[Item]) -> Side:
        """What would have been frozen, had the period opened with these."""
        if period.kind != BillingPeriod.Kind.REGULAR:
            return self._side(period, items, _unlimited(), names=(period.get_kind_display(),))
        rows = self._rows(items, at=period.starts_at)
        names = tuple(row.name for row in rows)
        return self._side(period, items, allowance_terms(rows, part=part_of(period)), names=names)

    def _side(
        self,
        period: BillingPeriod,
        items: Sequence[Item],
        allowances: tuple[AllowanceTerms, ...],
        *,
        names: tuple[str, ...],
    ) -> Side:
        terms = PeriodTerms(period.starts_at, period.ends_at, self._rates_of(items), allowances)
        return Side(terms, fee_of(period, items), names)

    def _rates_of(self, items: Sequence[Item]) -> RateTable:
        cards = tuple(item.version.rate_card_id for item in items)
        if cards not in self._rates:
            self._rates[cards] = rates_for(cards[0], add_ons=cards[1:])
        return self._rates[cards]

    def _bundled_of(self, version: PlanVersion) -> list[PlanVersion]:
        if version.pk not in self._bundled:
            found = version.bundled.select_related("plan").order_by("plan__code", "version")
            self._bundled[version.pk] = list(found)
        return self._bundled[version.pk]

    def _rows(self, items: Sequence[Item], *, at: datetime) -> list[PeriodAllowance]:
        """What a whole period includes; a cap follows the commitment in force at its start."""
        in_force = tuple(rate.pk for rate in self._rates_of(items).charges(at))
        key = (tuple((item.version.pk, item.seats, item.is_bundled) for item in items), in_force)
        if key not in self._allowances:
            self._allowances[key] = allowances_of(items, at=at)
        return self._allowances[key]


def side_of(period: BillingPeriod) -> Side:
    """`Sides.of` of one period."""
    return Sides().of(period)


def side_under(version: PlanVersion, period: BillingPeriod) -> Side:
    """`Sides.under` of one period. Raises CannotCompare."""
    return Sides().under(version, period)


def items_of(period: BillingPeriod) -> list[Item]:
    """The plan and the add-ons of a period. A span that is no stored period has no add-ons."""
    add_ons = period.add_ons.all() if is_stored(period) else []
    return [
        Item(period.plan_version, period.seats),
        *(Item(one.plan_version, one.seats, is_bundled=one.is_bundled) for one in add_ons),
    ]


def is_stored(period: BillingPeriod) -> bool:
    """Whether it is a billing period, or a span that was made up to be compared."""
    return not period._state.adding


def allowance_terms(rows: Sequence[PeriodAllowance], *, part: Fraction = WHOLE) -> tuple[AllowanceTerms, ...]:
    """The rows as rating takes them, in their order; those not stored are told apart by numbers below zero."""
    return tuple(
        AllowanceTerms(
            allowance_id=row.pk if row.pk is not None else -number,
            measure=row.measure,
            amount=row.amount if row.amount is None or part == WHOLE else part_of_amount(row.amount, part),
            each_dimension=row.each_dimension,
            covers=tuple(row.covers),
        )
        for number, row in enumerate(rows, start=1)
    )


def fee_of(period: BillingPeriod, items: Sequence[Item]) -> Decimal:
    """The recurring fees of the period, in currency units; of a part each line is floored, as Stripe does."""
    if period.kind != BillingPeriod.Kind.REGULAR:
        return Decimal(0)
    part = part_of(period)
    minor = sum(
        line_minor(fee_minor_of(item.version, item.seats), part, rounding=Rounding.STRIPE)
        for item in items
        if not item.is_bundled
    )
    return from_minor(minor, items[0].version.currency)


def part_of(period: BillingPeriod) -> Fraction:
    """
    Which part of a whole period it is, at most 1: the first one of a calendar, or the rest after a change of terms.

    What Stripe's instants differ by from ours is no part.
    """
    if is_made_up_month(period):
        return WHOLE
    start, end = cadence_of(period.subscription, period.plan_version).containing(period.starts_at)
    length, whole = period.ends_at - period.starts_at, end - start
    if whole - length <= START_DRIFT_MAX:
        return WHOLE
    return Fraction(length // MICROSECOND, whole // MICROSECOND)


def is_made_up_month(period: BillingPeriod) -> bool:
    """Whether it is a calendar month (UTC) that no billing period stands for."""
    start, end = (at.astimezone(UTC) for at in (period.starts_at, period.ends_at))
    return not is_stored(period) and floor_month(start) == start and floor_month(start + _LONGER_THAN_MONTH) == end


def floor_month(at: datetime) -> datetime:
    """The first instant of the month, in the zone of the instant."""
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def require_sellable(version: PlanVersion, customer: Customer, period: BillingPeriod) -> None:
    """Raises CannotCompare for a version that this customer could not have had for such a period."""
    own = period.plan_version
    if version.currency != customer.currency:
        raise CannotCompare(
            Failure.CURRENCY, f"{version} is in {version.currency}, {customer.customer_key} pays in {customer.currency}"
        )
    if version.only_for_id is not None and version.only_for_id != customer.pk:
        raise CannotCompare(Failure.NOT_OFFERED, f"{version} is a contract of another customer")
    if version.max_seats is not None and period.seats > version.max_seats:
        raise CannotCompare(
            Failure.SEATS, f"{version} is sold for at most {version.max_seats} seats, the period has {period.seats}"
        )
    whole = (Interval.MONTH, 1) if is_made_up_month(period) else (own.interval, own.interval_count)
    if (version.interval, version.interval_count) != whole:
        raise CannotCompare(
            Failure.INTERVAL,
            f"{version} is billed every {_every(version.interval, version.interval_count)}, the period is one of every"
            f" {_every(*whole)}:"
            " fees and allowances of the one say nothing about the other",
        )


def _every(interval: str, count: int) -> str:
    return str(interval) if count == 1 else f"{count} {interval}s"


def _unlimited() -> tuple[AllowanceTerms, ...]:
    return (AllowanceTerms(allowance_id=-1, measure=PeriodAllowance.Measure.MONEY, amount=None),)
