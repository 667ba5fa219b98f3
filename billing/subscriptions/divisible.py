"""Which prices let a period be divided: those of which both parts together ask for what the whole would."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from billing.catalog.models import PlanVersion, Rate
from billing.catalog.queries import rates_for
from billing.rating.charges import Charge, Matrix, MaximumCommitment
from billing.rating.charges.bounds import Bounded
from billing.rating.operations import accrue_period
from billing.rating.rating import ZERO, RatingError
from billing.subscriptions.errors import ChangeRefused
from billing.subscriptions.models import BillingPeriod

REMEDY = "change from the next period on"


def require_divisible(period: BillingPeriod, wanted: Iterable[PlanVersion], *, now: datetime) -> None:
    """
    Raise ChangeRefused where a price of the period, or of the plan and add-ons that are wanted from now on, asks for
    something of a whole period, which two parts would owe twice, and where the usage until now cannot be rated: how
    much of what is included it has used would not be known.

    What either plan bundles counts as well. Not inside a transaction.
    """
    held = [period.plan_version, *(row.plan_version for row in period.add_ons.select_related("plan_version__plan"))]
    rest = [*wanted]
    bundled = (bundled for one in rest for bundled in one.bundled.select_related("plan"))
    for version, rate in of_the_whole((*held, *rest, *bundled), at=now):
        raise ChangeRefused(f"{version} charges {rate} for a whole period, which cannot be divided; {REMEDY}")
    try:
        accrue_period(period_id=period.pk, now=now)
    except RatingError as error:
        raise ChangeRefused(f"usage of {period} cannot be rated: {error}; mend that first, or {REMEDY}") from error


def of_the_whole(versions: Iterable[PlanVersion], *, at: datetime) -> Iterator[tuple[PlanVersion, Rate]]:
    """Yield the prices in force that ask for something of a whole period, each with its version."""
    for version in versions:
        rates = rates_for(version.rate_card_id)
        for rate in rates.in_force(at):
            if any(_is_of_the_whole(charge) for charge in _charges_of(rates.charge_of(rate))):
                yield version, rate


def _charges_of(charge: Charge) -> Iterator[Charge]:
    """Yield the price itself, or those of a matrix's cells: it has none of its own."""
    if isinstance(charge, Matrix):
        yield from (cell.charge for cell in charge.cells)
    else:
        yield charge


def _is_of_the_whole(charge: Charge) -> bool:
    """Whether the price owes something without usage, lacks a minimum, or ends at a maximum that counts a period."""
    is_limited = isinstance(charge, Bounded) and charge.maximum is not None and not charge.is_by_window
    return bool(isinstance(charge, MaximumCommitment) or is_limited or charge.amount(ZERO) or charge.shortfall(ZERO))
