"""The periods of a range with the prices that apply to them, read from the catalogue's tables and from nothing else."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from billing.reconciliation.comparison import Scope
from billing.reconciliation.prices import Price, Used, cell_of, price_of_cell
from billing.reconciliation.queries import rows

_PERIODS = """
SELECT p.id, c.customer_key, p.starts_at, p.ends_at, p.state = 'closed', v.rate_card_id,
       coalesce((SELECT array_agg(av.rate_card_id ORDER BY a.id) FROM billing_periodaddon a
                   JOIN billing_planversion av ON av.id = a.plan_version_id WHERE a.period_id = p.id), '{}'),
       (SELECT max(recorded_at) FROM billing_usageaccrual WHERE period_id = p.id)
  FROM billing_billingperiod p
  JOIN billing_planversion v ON v.id = p.plan_version_id
  JOIN billing_subscription s ON s.id = p.subscription_id
  JOIN billing_customer c ON c.id = s.customer_id
 WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
   AND s.customer_id >= %(customers_from)s AND s.customer_id < %(customers_until)s
 ORDER BY p.id
"""
_RATES = """
SELECT k.id, k.base_id, r.id, r.meter_code, r.dimensions::text, r.charge_model, r.terms::text, r.unit_price::text,
       r.unit_size, r.effective_from
  FROM billing_ratecard k LEFT JOIN billing_rate r ON r.rate_card_id = k.id ORDER BY k.id, r.id
"""


@dataclass(frozen=True, slots=True)
class RateRow:
    """A row of billing_rate."""

    rate_id: int
    meter_code: str
    dimensions: Mapping[str, Any]
    price: Price
    effective_from: datetime

    @property
    def what(self) -> str:
        """Its meter and the values of its dimensions, as findings name it."""
        if not self.meter_code:
            return self.price.model.replace("_", " ")
        return named(self.meter_code, self.dimensions)

    @property
    def prices(self) -> list[Price]:
        if self.price.model != "matrix":
            return [self.price]
        return [price_of_cell(self.price.terms, place) for place in range(len(self.price.terms["cells"]))]


@dataclass(slots=True)
class PricedPeriod:
    period_id: int
    customer_key: str
    starts_at: datetime
    ends_at: datetime
    is_closed: bool
    # The rates of its cards in the order in which they are asked; those of the plan and of each add-on.
    chains: list[list[list[RateRow]]]
    accrued_at: datetime | None
    # Of each price, by the place of its cell: what was used.
    used: dict[int, dict[int, Used]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Used)))
    unpriced: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    # Of which meters and dimensions there was usage.
    met: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)

    def rate_at(self, meter_code: str, dimensions: Mapping[str, Any], at: datetime) -> RateRow | None:
        for card in (card for chain in self.chains for card in chain):
            fitting = [
                rate
                for rate in card
                if rate.meter_code == meter_code
                and rate.effective_from <= at
                and all(dimensions.get(name) == value for name, value in rate.dimensions.items())
                and rate.dimensions.keys() <= dimensions.keys()
            ]
            if fitting:
                return min(
                    fitting,
                    key=lambda rate: (-len(rate.dimensions), sorted(rate.dimensions.items()), _latest_first(rate)),
                )
        return None

    def changes(self) -> Iterator[RateRow]:
        """The rates of meters that begin within the period."""
        for rate in self.rates():
            if rate.meter_code and self.starts_at < rate.effective_from < self.ends_at:
                yield rate

    def rates(self) -> Iterator[RateRow]:
        return (rate for chain in self.chains for card in chain for rate in card)

    def add(self, meter_code: str, dimensions: Mapping[str, Any], at: datetime, used: Used) -> None:
        self.met[meter_code, json.dumps(dimensions, sort_keys=True)] = dimensions
        found = self._price_at(meter_code, dimensions, at)
        if found is None:
            self.unpriced[named(meter_code, dimensions)] += used.quantity
        else:
            self.used[found[0]][found[1]].add(used.quantity, used.windows)

    def _price_at(self, meter_code: str, dimensions: Mapping[str, Any], at: datetime) -> tuple[int, int] | None:
        """The rate and the place of its cell."""
        rate = self.rate_at(meter_code, dimensions, at)
        place = None
        if rate is not None:
            place = cell_of(rate.price.terms, dimensions) if rate.price.model == "matrix" else 0
        return None if rate is None or place is None else (rate.rate_id, place)

    def in_turn(self) -> Iterator[list[tuple[int, int]]]:
        """For usage that was met and whose price changes within the period: its prices, one after another."""
        changes = list(self.changes())
        for (meter_code, _), dimensions in self.met.items() if changes else ():
            instants = sorted({rate.effective_from for rate in changes if rate.meter_code == meter_code})
            prices = [self._price_at(meter_code, dimensions, at) for at in (self.starts_at, *instants)]
            yield list(dict.fromkeys(price for price in prices if price is not None))

    def from_start(self) -> list[RateRow]:
        """What is owed for the period itself: the charges without a meter, and prices with an amount of their own."""
        found = []
        for chain in self.chains:
            known: set[str] = set()
            for card in chain:
                by_model: dict[str, RateRow] = {}
                for rate in card:
                    if not rate.meter_code and rate.effective_from <= self.starts_at:
                        by_model[rate.price.model] = max(
                            rate, by_model.get(rate.price.model, rate), key=lambda one: one.effective_from
                        )
                found += [rate for model, rate in by_model.items() if model not in known]
                known |= by_model.keys()
        metered = {(rate.meter_code, json.dumps(rate.dimensions, sort_keys=True)) for rate in self.rates()}
        for meter_code, dimensions in metered:
            in_force = self.rate_at(meter_code, json.loads(dimensions), self.starts_at) if meter_code else None
            if in_force is not None and in_force not in found:
                found.append(in_force)
        return found


def named(meter_code: str, dimensions: Mapping[str, Any]) -> str:
    """Such as input_tokens claude-opus-4.5."""
    return " ".join((meter_code, *(str(value or "-") for _, value in sorted(dimensions.items()))))


def _latest_first(rate: RateRow) -> timedelta:
    return datetime.max.replace(tzinfo=rate.effective_from.tzinfo) - rate.effective_from


def priced_periods(scope: Scope) -> dict[int, PricedPeriod]:
    cards: dict[int, tuple[int | None, list[RateRow]]] = {}
    for card_id, base_id, *columns in rows(_RATES):
        rates = cards.setdefault(card_id, (base_id, []))[1]
        if columns[0] is not None:
            rates.append(_rate(*columns))
    found = {}
    for period_id, key, starts_at, ends_at, is_closed, card_id, add_ons, accrued_at in rows(_PERIODS, scope.bounds):
        chains = [_chain(cards, root) for root in (card_id, *add_ons)]
        found[period_id] = PricedPeriod(period_id, key, starts_at, ends_at, is_closed, chains, accrued_at)
    return found


def _rate(
    rate_id: int,
    meter_code: str,
    dimensions: str,
    model: str,
    terms: str,
    unit_price: str | None,
    unit_size: int | None,
    effective_from: datetime,
) -> RateRow:
    columns = {"unit_price": unit_price, "unit_size": unit_size} if model == "per_unit" else {}
    # Amounts in terms are text, and stay so: no number of the JSON is money.
    price = Price(model, {**json.loads(terms, parse_float=str), **columns})
    return RateRow(rate_id, meter_code, json.loads(dimensions), price, effective_from)


def _chain(cards: Mapping[int, tuple[int | None, list[RateRow]]], card_id: int | None) -> list[list[RateRow]]:
    chain: list[list[RateRow]] = []
    while card_id is not None and len(chain) <= len(cards):
        base_id, rates = cards[card_id]
        chain.append(rates)
        card_id = base_id
    return chain
