"""Opening a period: its terms are frozen here, and nowhere else. Inside the caller's transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db.models import Q

from billing.catalog.models import PlanVersion
from billing.catalog.queries import rates_for
from billing.rating.charges import MaximumCommitment
from billing.rating.terms import seated
from billing.subscriptions import periods
from billing.subscriptions.models import BillingPeriod, PeriodAddOn, PeriodAllowance, Subscription
from billing.subscriptions.proration import MONEY_PLACES, part_of_amount

Kind, Measure = BillingPeriod.Kind, PeriodAllowance.Measure
CAP_CODE = "maximum_commitment"
WHOLE = Fraction(1)
CODE_CHARS_MAX, NAME_CHARS_MAX = 64, 200
# What a period without charges includes, by its kind.
_FREE = {Kind.TRIAL: ("trial", "Trial: all usage"), Kind.PAUSED: ("paused", "Paused: all usage")}


@dataclass(frozen=True, slots=True)
class Item:
    """A plan or add-on of a period. One that is bundled costs nothing of its own."""

    version: PlanVersion
    seats: int
    is_bundled: bool = False

    def code_of(self, code: str, *, is_plan: bool) -> str:
        """What an allowance of the item is called in a period: an add-on's has its add-on's code before it."""
        return code if is_plan else f"{self.version.plan.code}:{code}"[-CODE_CHARS_MAX:]


def cadence_of(subscription: Subscription, version: PlanVersion | None = None) -> periods.Cadence:
    """Return the cadence of the subscription under its version's terms. Raises ValueError for an unknown zone."""
    terms = version or subscription.plan_version
    return periods.cadence_of(
        interval=terms.interval,
        interval_count=terms.interval_count,
        alignment=terms.alignment,
        time_zone=terms.time_zone,
        anchor_at=subscription.anchor_at,
    )


def add_ons_at(subscription: Subscription, at: datetime) -> list[Item]:
    """Return the add-ons that the subscription has at an instant: those its plan bundles first, then its own."""
    bundled = list(subscription.plan_version.bundled.select_related("plan").order_by("plan__code", "version"))
    taken = {version.plan_id for version in bundled}
    own = subscription.add_ons.filter(Q(removed_at=None) | Q(removed_at__gt=at), added_at__lte=at)
    return [Item(version, subscription.seats, is_bundled=True) for version in bundled] + [
        Item(row.plan_version, row.seats)
        for row in own.select_related("plan_version__plan").order_by("id")
        if row.plan_version.plan_id not in taken
    ]


def open_period(
    subscription: Subscription,
    *,
    starts_at: datetime,
    ends_at: datetime,
    kind: str = Kind.REGULAR,
    allowances: Sequence[PeriodAllowance] | None = None,
    counted_from: datetime | None = None,
) -> BillingPeriod:
    """
    Insert a period; its terms are those of the subscription at its start.

    A period that is shorter than its cadence's (the first one of a calendar) includes that part of each allowance.
    `allowances`, not yet of a period, are what it includes instead: the rest of one whose terms changed within it.
    `counted_from`: what it includes is that of a period that began then, of which other books had the beginning.
    """
    version = subscription.plan_version
    add_ons = add_ons_at(subscription, starts_at)
    period = BillingPeriod.objects.create(
        subscription=subscription,
        starts_at=starts_at,
        ends_at=ends_at,
        plan_version=version,
        seats=subscription.seats,
        kind=kind,
    )
    PeriodAddOn.objects.bulk_create(
        PeriodAddOn(period=period, plan_version=item.version, seats=item.seats, is_bundled=item.is_bundled)
        for item in add_ons
    )
    if kind in _FREE:
        code, name = _FREE[Kind(kind)]
        PeriodAllowance.objects.create(period=period, position=1, code=code, name=name, amount=None)
        return period
    rows = (
        allowances
        if allowances is not None
        else allowances_of([Item(version, subscription.seats), *add_ons], at=starts_at)
    )
    part = part_of_cadence(subscription, counted_from or starts_at, ends_at) if allowances is None else WHOLE
    for position, row in enumerate(rows, start=1):
        row.period, row.position = period, position
        if row.amount is not None and part < WHOLE:
            row.amount = part_of_amount(row.amount, part, places=places_of(row))
    PeriodAllowance.objects.bulk_create(rows)
    return period


def part_of_cadence(subscription: Subscription, starts_at: datetime, ends_at: datetime) -> Fraction:
    """
    Return which part of a whole period of the calendar the interval is, at most 1.

    Periods of an anchor are whole whatever Stripe's drift makes of their first instant.
    """
    cadence = cadence_of(subscription)
    if cadence.zone is None:
        return WHOLE
    whole_from, whole_to = cadence.containing(starts_at)
    microsecond = periods.MICROSECOND
    return min(WHOLE, Fraction((ends_at - starts_at) // microsecond, (whole_to - whole_from) // microsecond))


def places_of(row: PeriodAllowance) -> int:
    """How many decimal places a part of the allowance has at least: money has cents, usage is counted whole."""
    return 0 if row.measure == Measure.UNITS else MONEY_PLACES


def allowances_of(items: Iterable[Item], *, at: datetime) -> list[PeriodAllowance]:
    """
    Return what a whole period under these terms includes, not yet of a period: the plan's allowances, then its
    add-ons', then the cap of a maximum commitment, which pays for what nothing else does.
    """
    rows: list[PeriodAllowance] = []
    limit: Decimal | None = None
    for place, item in enumerate(items):
        rows += [
            PeriodAllowance(
                code=item.code_of(one.code, is_plan=place == 0),
                name=one.name if place == 0 else f"{item.version.plan.name}: {one.name}"[:NAME_CHARS_MAX],
                measure=one.measure,
                amount=seated(one, item.seats),
                each_dimension=one.each_dimension,
                covers=one.covers,
            )
            for one in item.version.allowances.order_by("position")
        ]
        if place == 0:
            limit = maximum_commitment(item.version, at=at)
    if limit is not None:
        rows.append(
            PeriodAllowance(code=CAP_CODE, name="Above the maximum commitment", measure=Measure.CAP, amount=limit)
        )
    return rows


def maximum_commitment(version: PlanVersion, *, at: datetime) -> Decimal | None:
    """Return what a period of the version is billed at most, in currency units; None without such a commitment."""
    rates = rates_for(version.rate_card_id)
    limits = [rates.charge_of(rate) for rate in rates.charges(at)]
    return next((charge.limit for charge in limits if isinstance(charge, MaximumCommitment)), None)


def first_span(subscription: Subscription) -> dict[str, Any]:
    """Return start, end and kind of a subscription's first period."""
    cadence = cadence_of(subscription)
    trial_ends_at = subscription.trial_ends_at
    span = next(
        periods.timeline(
            cadence, starts_at=subscription.started_at, until=subscription.started_at, trial_ends_at=trial_ends_at
        )
    )
    return {"starts_at": span.starts_at, "ends_at": span.ends_at, "kind": span.kind}
