"""All reads of the catalogue."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from billing.catalog.models import PlanVersion, Rate, RateCard
from billing.rating.charges import Charge, charge_of_rate

_Dimensions = frozenset[tuple[str, str | None]]
# The dated rates of one subject on one card: the instants from which they apply, and they.
_Dated = tuple[list[datetime], list[Rate]]


class RateTable:
    """The rates of some cards, found by meter, dimensions and instant; looking up costs no query."""

    def __init__(self, cards: Iterable[Iterable[Rate]], add_ons: Iterable["RateTable"] = ()) -> None:
        """
        `cards` hold the rates of one card each; what an earlier card prices, no later one does. The tables of add-ons
        come after all of them; their charges without a meter are owed beside the plan's.
        """
        # Per meter: (dimensions, their dated rates), in the order in which they are tried.
        self._tried: dict[str, list[tuple[_Dimensions, _Dated]]] = {}
        # Per plan or add-on and charge model: the dated charges without a meter, card by card.
        self._charges: list[dict[str, list[_Dated]]] = [{}]
        self._read: dict[int, Charge] = {}
        for rates in cards:
            self._add_card(rates)
        for add_on in add_ons:
            self._charges += add_on._charges
            for meter_code, tried in add_on._tried.items():
                self._tried.setdefault(meter_code, []).extend(tried)

    def _add_card(self, rates: Iterable[Rate]) -> None:
        dated: dict[tuple[str, str, _Dimensions], list[Rate]] = {}
        for rate in sorted(rates, key=lambda rate: rate.effective_from):
            model = "" if rate.meter_code else rate.charge_model
            dated.setdefault((rate.meter_code, model, frozenset(rate.dimensions.items())), []).append(rate)
        # The one that names most values first; ties are broken by the names, so that the order is one and the same.
        for (meter_code, model, dimensions), found in sorted(
            dated.items(), key=lambda item: (-len(item[0][2]), sorted(item[0][2]))
        ):
            line = ([rate.effective_from for rate in found], found)
            if meter_code:
                self._tried.setdefault(meter_code, []).append((dimensions, line))
            else:
                self._charges[0].setdefault(model, []).append(line)

    def lookup(self, meter_code: str, dimensions: Mapping[str, str | None], at: datetime) -> Rate | None:
        """Return the rate that applies to usage of these dimensions at this instant, or None when there is none."""
        usage = frozenset(dimensions.items())
        for wanted, (starts, dated) in self._tried.get(meter_code, ()):
            place = bisect_right(starts, at) if wanted <= usage else 0
            if place:
                return dated[place - 1]
        return None

    def changes(self, meter_code: str, start: datetime, end: datetime) -> list[datetime]:
        """Return the instants inside (start, end) from which a price of this meter applies, each once, in order."""
        return sorted({at for _, (starts, _) in self._tried.get(meter_code, ()) for at in starts if start < at < end})

    def changes_of_any(self, start: datetime, end: datetime) -> list[datetime]:
        """As `changes`, of all meters together."""
        return sorted({at for code in self._tried for at in self.changes(code, start, end)})

    def dimension_names(self) -> list[str]:
        """Return the dimensions whose values say which rate applies to usage, in order."""
        return sorted({name for tried in self._tried.values() for wanted, _ in tried for name, _ in wanted})

    def meters_by_event(self, before: datetime) -> frozenset[str]:
        """Return the meters that a price from before this instant prices event by event. Raises InvalidTerms."""
        return frozenset(
            meter_code
            for meter_code, tried in self._tried.items()
            for _, (_, dated) in tried
            for rate in dated
            if rate.effective_from < before and self.charge_of(rate).reads_events
        )

    def in_force(self, at: datetime) -> list[Rate]:
        """Return the rates of meters that usage of this instant can have, and the charges that need no usage."""
        found: list[Rate] = []
        for tried in self._tried.values():
            before: list[_Dimensions] = []
            for wanted, dated in tried:
                rate = _at(dated, at)
                # What an earlier one takes that wants no more, a later one never meets.
                if rate is not None and not any(earlier <= wanted for earlier in before):
                    found.append(rate)
                    before.append(wanted)
        return found + self.charges(at)

    def charges(self, at: datetime) -> list[Rate]:
        """Return the charges that need no usage, such as commitments, as they are in force at this instant."""
        found = []
        for by_model in self._charges:
            for cards in by_model.values():
                found += [rate for rate in (_at(dated, at) for dated in cards) if rate is not None][:1]
        return found

    def charge_of(self, rate: Rate) -> Charge:
        """Return the rate's price with its terms read. Raises InvalidTerms."""
        charge = self._read.get(rate.pk)
        if charge is None:
            charge = self._read[rate.pk] = charge_of_rate(rate)
        return charge


def _at(dated: _Dated, at: datetime) -> Rate | None:
    place = bisect_right(dated[0], at)
    return dated[1][place - 1] if place else None


def rates_for(rate_card_id: int, *, add_ons: Sequence[int] = ()) -> RateTable:
    """Return all rates of a card and of the cards it stands on, then those of add-ons' cards; one query a card."""
    return RateTable(_cards(rate_card_id), [RateTable(_cards(add_on)) for add_on in add_ons])


def _cards(rate_card_id: int) -> list[list[Rate]]:
    cards: list[list[Rate]] = []
    seen: set[int] = set()
    next_id: int | None = rate_card_id
    while next_id is not None and next_id not in seen:
        seen.add(next_id)
        cards.append(list(Rate.objects.filter(rate_card_id=next_id)))
        next_id = RateCard.objects.values_list("base_id", flat=True).get(pk=next_id)
    return cards


def published_plan_version(plan_code: str, version: int | None = None) -> PlanVersion | None:
    """Return a published version of a plan that anybody may have, the newest unless a number is given, or None."""
    versions = PlanVersion.objects.filter(plan__code=plan_code, status=PlanVersion.Status.PUBLISHED, only_for=None)
    if version is not None:
        versions = versions.filter(version=version)
    return versions.select_related("plan", "rate_card").order_by("-version").first()
