"""All reads of the catalogue."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime

from billing.catalog.models import PlanVersion, Rate, RateCard


class RateTable:
    """The rates of some cards, found by meter, dimensions and instant; looking up costs no query."""

    def __init__(self, cards: Iterable[Iterable[Rate]]) -> None:
        """`cards` hold the rates of one card each; what an earlier card prices, no later one does."""
        # Per meter: (dimensions, their dated rates), in the order in which they are tried.
        self._tried: dict[str, list[tuple[frozenset[tuple[str, str | None]], list[datetime], list[Rate]]]] = {}
        for rates in cards:
            self._add_card(rates)

    def _add_card(self, rates: Iterable[Rate]) -> None:
        dated: dict[tuple[str, frozenset[tuple[str, str | None]]], list[Rate]] = {}
        for rate in sorted(rates, key=lambda rate: rate.effective_from):
            dated.setdefault((rate.meter_code, frozenset(rate.dimensions.items())), []).append(rate)
        # The one that names most values first; ties are broken by the names, so that the order is one and the same.
        for (meter_code, dimensions), found in sorted(
            dated.items(), key=lambda item: (-len(item[0][1]), sorted(item[0][1]))
        ):
            tried = self._tried.setdefault(meter_code, [])
            tried.append((dimensions, [rate.effective_from for rate in found], found))

    def lookup(self, meter_code: str, dimensions: Mapping[str, str | None], at: datetime) -> Rate | None:
        """Return the rate that applies to usage of these dimensions at this instant, or None when there is none."""
        usage = frozenset(dimensions.items())
        for wanted, starts, dated in self._tried.get(meter_code, ()):
            place = bisect_right(starts, at) if wanted <= usage else 0
            if place:
                return dated[place - 1]
        return None


def rates_for(rate_card_id: int) -> RateTable:
    """Return all rates of a card and of the cards it stands on; one query a card."""
    cards: list[list[Rate]] = []
    seen: set[int] = set()
    next_id: int | None = rate_card_id
    while next_id is not None and next_id not in seen:
        seen.add(next_id)
        cards.append(list(Rate.objects.filter(rate_card_id=next_id)))
        next_id = RateCard.objects.values_list("base_id", flat=True).get(pk=next_id)
    return RateTable(cards)


def published_plan_version(plan_code: str, version: int | None = None) -> PlanVersion | None:
    """Return a published version of a plan, the newest unless a number is given, or None."""
    versions = PlanVersion.objects.filter(plan__code=plan_code, status=PlanVersion.Status.PUBLISHED)
    if version is not None:
        versions = versions.filter(version=version)
    return versions.select_related("plan", "rate_card").order_by("-version").first()
