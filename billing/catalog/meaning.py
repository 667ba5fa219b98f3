"""
What a catalogue means, however it is written: the form in which a document and the tables are compared. Pure.

`wanted` makes it from a document, `stored` from the tables, `export` writes it as a document again.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.catalog.document import MeterTerms

Dimensions = tuple[tuple[str, str | None], ...]
VersionKey = tuple[str, int, str]

INCLUDED = "included"
INCLUDED_NAME = "Included usage"
# How far a version has come. A document says how far at least; nothing goes back.
_NUMBER = re.compile(r"[0-9]{1,60}(\.[0-9]{1,60})?")
STATUSES = ("draft", "approved", "published", "retired")


def canonical(value: Any) -> str:
    """Return plain values as one text, the same for the same values in whatever order they were written."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def plain_terms(terms: Any) -> Any:
    """
    The terms of a price with every number written in one way: 10 and "10.00" both as "10", since they mean the same.
    The values of dimensions are words, and stay as they are.
    """
    if isinstance(terms, Mapping):
        return {name: value if name == "dimensions" else plain_terms(value) for name, value in terms.items()}
    if isinstance(terms, list):
        return [plain_terms(value) for value in terms]
    if isinstance(terms, bool) or not isinstance(terms, str | int) or not _NUMBER.fullmatch(str(terms)):
        return terms
    text = str(terms)
    whole, _, places = text.partition(".")
    places = places.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{places}" if places else "")


@dataclass(frozen=True, slots=True)
class RateKey:
    """What a rate prices, and from when on. `charge` names a charge that has no meter, else it is empty."""

    meter_code: str
    dimensions: Dimensions
    charge: str
    effective_from: datetime

    def __str__(self) -> str:
        values = " ".join(str(value) for _, value in self.dimensions)
        what = " ".join(filter(None, (values, self.meter_code, self.charge.replace("_", " "))))
        return f"{what} from {instant_text(self.effective_from)}"

    def overlaps(self, other: "RateKey") -> bool:
        """Whether there may be usage that both price: of one meter, with no dimension in which they differ."""
        if (self.meter_code, self.charge) != (other.meter_code, other.charge):
            return False
        mine, theirs = dict(self.dimensions), dict(other.dimensions)
        return all(mine[name] == theirs[name] for name in mine.keys() & theirs.keys())


@dataclass(frozen=True, slots=True)
class Price:
    """How much; `terms` is canonical JSON."""

    charge_model: str
    unit_price: Decimal | None
    unit_size: int | None
    terms: str


def names_in(key: RateKey, price: Price) -> set[str]:
    """The dimensions by which a price tells usage apart, those of its cells too."""
    cells = json.loads(price.terms).get("cells", ())
    return {name for name, _ in key.dimensions} | {name for cell in cells for name in cell.get("dimensions", {})}


@dataclass(frozen=True, slots=True)
class Card:
    """A rate card with its prices."""

    code: str
    name: str
    currency: str
    source: str
    base: str | None
    rates: Mapping[RateKey, Price]


@dataclass(frozen=True, slots=True)
class Pool:
    """An allowance; `covers` is canonical JSON."""

    code: str
    name: str
    measure: str
    amount: Decimal
    is_per_seat: bool
    each_dimension: str
    covers: str
    at_plan_change: str

    def names_for(self, meter_code: str) -> set[str]:
        """The dimensions by which it tells the meter's usage apart."""
        entries = json.loads(self.covers)
        mine = [entry for entry in entries if entry.get("meter_code", meter_code) == meter_code]
        each = {self.each_dimension} if self.each_dimension and (mine or not entries) else set()
        return each.union(*(entry.get("dimensions", {}) for entry in mine))

    @property
    def is_the_short_form(self) -> bool:
        """Whether `included_amount` says all of it; of nothing it says that there is no allowance."""
        pool = Pool(INCLUDED, INCLUDED_NAME, "money", self.amount, True, "", "[]", "prorate")
        return self.amount > 0 and self == pool


@dataclass(frozen=True, slots=True)
class PlanOffer:
    """A plan without its versions."""

    code: str
    name: str
    product: str | None
    is_add_on: bool


@dataclass(frozen=True, slots=True)
class Version:
    """A plan version. `terms` are its columns by name, for a period; `pools` in the order in which they are used."""

    plan: str
    version: int
    currency: str
    status: str
    terms: Mapping[str, Any]
    rate_card: str
    only_for: str | None
    pools: tuple[Pool, ...]
    bundled: frozenset[tuple[str, int]]

    @property
    def key(self) -> VersionKey:
        return (self.plan, self.version, self.currency)

    def __str__(self) -> str:
        return f"plan {self.plan} v{self.version} {self.currency}"


# The columns in `Version.terms`, by the words of the document.
TERMS = (
    "interval",
    "interval_count",
    "alignment",
    "time_zone",
    "trial_days",
    "min_seats",
    "max_seats",
    "fee_minor",
    "fee_tiers",
    "late_policy",
    "late_absorb_up_to",
    "usage_delivery",
)

# What a version has unless its document says otherwise; written only where it is otherwise.
DEFAULTS: Mapping[str, Any] = {
    "interval": "month",
    "interval_count": 1,
    "alignment": "anchor",
    "time_zone": "UTC",
    "trial_days": 0,
    "min_seats": 1,
    "max_seats": None,
    "late_policy": "next_invoice",
    "usage_delivery": "invoice_lines",
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """A catalogue, or the part of one that a document speaks of."""

    products: Mapping[str, str] = field(default_factory=dict)
    meters: Mapping[str, MeterTerms] = field(default_factory=dict)
    cards: Mapping[str, Card] = field(default_factory=dict)
    plans: Mapping[str, PlanOffer] = field(default_factory=dict)
    versions: Mapping[VersionKey, Version] = field(default_factory=dict)

    def over(self, below: "Meaning") -> "Meaning":
        """What there is once this part has taken the place of the same things in `below`."""
        return Meaning(
            products={**below.products, **self.products},
            meters={**below.meters, **self.meters},
            cards={**below.cards, **self.cards},
            plans={**below.plans, **self.plans},
            versions={**below.versions, **self.versions},
        )

    def same_in(self, other: "Meaning") -> "Meaning":
        """The things of `other` that are also named here."""
        return Meaning(
            products={code: one for code, one in other.products.items() if code in self.products},
            meters={code: one for code, one in other.meters.items() if code in self.meters},
            cards={code: one for code, one in other.cards.items() if code in self.cards},
            plans={code: one for code, one in other.plans.items() if code in self.plans},
            versions={key: one for key, one in other.versions.items() if key in self.versions},
        )

    def chain(self, card_code: str) -> list[Card]:
        """The card and those it stands on, in the order in which they are asked for a price; a circle ends."""
        chain: list[Card] = []
        next_code: str | None = card_code
        while next_code is not None and next_code in self.cards and self.cards[next_code] not in chain:
            chain.append(self.cards[next_code])
            next_code = chain[-1].base
        return chain

    def versions_priced_by(self, card_code: str) -> list[Version]:
        """The versions whose chain of cards holds this one."""
        return [
            version
            for version in self.versions.values()
            if card_code in (card.code for card in self.chain(version.rate_card))
        ]

    def meters_priced_for(self, version: Version) -> set[str]:
        """
        The meters of the usage that the version's allowances can pay for: those it prices itself, and since plans and
        add-ons are had together, those of add-ons, or for an add-on those of all.
        """
        is_add_on = self.plans[version.plan].is_add_on
        besides = {
            other.rate_card
            for other in self.versions.values()
            if other.currency == version.currency and (is_add_on or self.plans[other.plan].is_add_on)
        }
        cards = [card for code in {version.rate_card, *besides} for card in self.chain(code)]
        return {key.meter_code for card in cards for key in card.rates if key.meter_code}


def instant_text(at: datetime) -> str:
    """An instant in UTC, the time of day only where there is one."""
    text = at.astimezone(UTC).isoformat(sep=" ").removesuffix("+00:00")
    return text.removesuffix(" 00:00:00")


def dimensions_of(values: Mapping[str, str | None]) -> Dimensions:
    return tuple(sorted(values.items(), key=lambda item: item[0]))


def keyed(rates: Iterable[tuple[RateKey, Price]]) -> dict[RateKey, Price]:
    """The rates by their keys, in order."""
    return dict(sorted(rates, key=lambda item: (item[0].meter_code, repr(item[0].dimensions), item[0].effective_from)))
