"""
Slices of a run: a part of a check over one day or some customers; the place of the next one is kept beside the figures.

What a slice found is written down with the place of the one after it, in one transaction: who is killed loses one.
"""

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, time, timedelta

from billing.reconciliation import queries
from billing.reconciliation.checks import CHECKS
from billing.reconciliation.comparison import BEYOND_IDS, Part, Scope, Slicing
from billing.reconciliation.models import ReconciliationRun

CODES = tuple(CHECKS)
# A period's figures are a few kilobytes while they are compared, and take milliseconds.
CUSTOMERS_AT_ONCE = 5_000
# The key of `ReconciliationRun.checks` that is there until the run is over.
UNDER_WAY = "under_way"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is: the check, the part of it, and where its slice starts, an instant or an id; "": at its start."""

    code: str = CODES[0]
    part: int = 0
    start: str = ""
    # How often this slice was begun, and Stripe's objects that are known to be unheard of.
    tries: int = 0
    unheard: dict[str, str] = field(default_factory=dict)

    @property
    def what(self) -> Part:
        return CHECKS[self.code][self.part]

    @property
    def checks_done(self) -> int:
        return CODES.index(self.code)

    def begun(self) -> "Place":
        return replace(self, tries=self.tries + 1)

    def after(self, start: str | None, unheard: dict[str, str]) -> "Place | None":
        """The place of the next slice, which starts there in this part, or is the first of the next one; None: done."""
        if start is not None:
            return replace(self, start=start, tries=0, unheard=unheard)
        if self.part + 1 < len(CHECKS[self.code]):
            return Place(self.code, self.part + 1, unheard=unheard)
        done = self.checks_done + 1
        return Place(CODES[done], unheard=unheard) if done < len(CODES) else None


def place_of(run: ReconciliationRun) -> Place:
    return Place(**run.checks.get(UNDER_WAY, {}))


def said_of(run: ReconciliationRun) -> str:
    """How far a run is that is not finished, for a person."""
    place = place_of(run)
    return f"at check {place.checks_done + 1} of {len(CODES)}, {place.code.replace('_', ' ')}"


def kept(place: Place | None) -> dict[str, object]:
    """As `ReconciliationRun.checks` has it; nothing of a run that is over."""
    return {UNDER_WAY: asdict(place)} if place is not None else {}


def slice_at(run: ReconciliationRun, place: Place, *, by_day: bool) -> tuple[Scope, str | None]:
    """What the slice looks at, and where the next one of the same part starts; None: it is the last."""
    scope = Scope(run.range_start, run.range_end, dict(place.unheard))
    if place.what.slicing is Slicing.CUSTOMERS:
        first = int(place.start or 0)
        until = queries.next_customers_id(first, CUSTOMERS_AT_ONCE)
        scope.customers_from, scope.customers_until = first, BEYOND_IDS if until is None else until
        return scope, None if until is None else str(until)
    if place.what.slicing is Slicing.DAYS and by_day:
        start = datetime.fromisoformat(place.start) if place.start else run.range_start
        midnight = datetime.combine(start.astimezone(UTC).date() + timedelta(days=1), time(), tzinfo=UTC)
        scope.range_start, scope.range_end = start, min(midnight, run.range_end)
        return scope, None if scope.range_end == run.range_end else scope.range_end.isoformat()
    return scope, None
