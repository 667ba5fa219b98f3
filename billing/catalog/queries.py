"""All reads of the catalogue."""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime

from billing.catalog.models import PlanVersion, Rate


class RateTable:
    """The rates of one card, found by meter, model and instant; looking up costs no query."""

    def __init__(self, rates: Iterable[Rate]) -> None:
        self._dated: dict[tuple[str, str], tuple[list[datetime], list[Rate]]] = {}
        for rate in sorted(rates, key=lambda rate: rate.effective_from):
            starts, dated = self._dated.setdefault((rate.meter_code, rate.model), ([], []))
            starts.append(rate.effective_from)
            dated.append(rate)

    def lookup(self, meter_code: str, model: str, at: datetime) -> Rate | None:
        """Return the rate with the latest effective_from at or before `at`, or None when there is none."""
        starts, dated = self._dated.get((meter_code, model), ([], []))
        place = bisect_right(starts, at)
        return dated[place - 1] if place else None


def rates_for(rate_card_id: int) -> RateTable:
    """Return all rates of a card; one query."""
    return RateTable(Rate.objects.filter(rate_card_id=rate_card_id))


def published_plan_version(plan_code: str, version: int | None = None) -> PlanVersion | None:
    """Return a published version of a plan, the newest unless a number is given, or None."""
    versions = PlanVersion.objects.filter(plan__code=plan_code, status=PlanVersion.Status.PUBLISHED)
    if version is not None:
        versions = versions.filter(version=version)
    return versions.select_related("plan", "rate_card").order_by("-version").first()
