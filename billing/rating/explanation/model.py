"""
What an explanation says, as data. JSON, page and text are made of it and of nothing else.

Quantities are in the meter's unit, amounts in the currency's major unit, both exact; instants are UTC.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from billing.rating.charges.charge import Step
from billing.rating.rating import ZERO
from billing.rating.totals import NOTHING, Amounts

SubjectKind = Literal["invoice_line", "accrual", "accrual_line", "period"]
Verdict = Literal["agrees", "differs", "unknown"]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is explained: its kind, its number, and its name in words."""

    kind: SubjectKind
    id: int
    title: str


@dataclass(frozen=True, slots=True)
class PeriodFacts:
    """The period, its customer and the terms it was opened with."""

    id: int
    customer_id: int
    customer_key: str
    customer_name: str
    starts_at: datetime
    ends_at: datetime
    kind: str
    state: str
    plan_version_id: int
    terms: str
    seats: int
    add_ons: tuple[str, ...]
    currency: str


@dataclass(frozen=True, slots=True)
class Payer:
    """
    An allowance, a credit, or the invoice, and what it paid.

    `kind` is allowance, grant or unbilled. `measure` is an allowance's: money, units or cap; `limit` what it or the
    credit may give in all, None for no limit; `id` None for what is left to invoice.
    """

    kind: str
    id: int | None
    name: str
    amount: Decimal
    quantity: Decimal = ZERO
    measure: str = ""
    limit: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """A price as it was agreed: of what, how it is charged, since when, until when (None: until now), on which card."""

    rate_id: int
    title: str
    meter_code: str
    dimensions: dict[str, str]
    charge_model: str
    charge_label: str
    card: str
    effective_from: datetime
    effective_until: datetime | None


@dataclass(frozen=True, slots=True)
class UsageFound:
    """The windows behind a quantity as they are now. `fingerprint` is that of their events, whatever their order."""

    quantity: Decimal
    windows: int
    events: int
    fingerprint: str
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, slots=True)
class Slice:
    """The windows of one day, or one window (`at` is its hour): what was used, what it came to and who paid."""

    at: datetime
    dimensions: dict[str, str | None]
    usage: UsageFound
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class PriceExplained:
    """
    The usage of one price: what it had come to before, what it comes to with this, and how that is computed.

    `steps` add up to `after.rated` where `is_followed`; where they do not, the rate's usage of that time cannot be
    parted any more as the price asks for.
    """

    price: PriceVersion
    before: Amounts
    after: Amounts
    steps: tuple[Step, ...]
    is_followed: bool
    payers: tuple[Payer, ...]
    usage: UsageFound | None
    days: tuple[Slice, ...]

    @property
    def change(self) -> Amounts:
        return self.after.minus(self.before)


@dataclass(frozen=True, slots=True)
class Posting:
    """One run of rating: what it changed, its journal entry, and what made it necessary after a close."""

    accrual_id: int
    revision: int
    recorded_at: datetime
    change: Amounts
    entry_id: int | None
    because: str


@dataclass(frozen=True, slots=True)
class Charged:
    """A line of an invoice: its exact amount, what is charged in minor units, and what rounding added, once."""

    line_id: int
    invoice_id: int
    invoice: str
    invoice_status: str
    kind: str
    description: str
    created_at: datetime
    finalized_at: datetime | None
    exact: Decimal
    rounding: Decimal
    minor: int
    increment_minor: int


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a period's unbilled usage: billed, given back, absorbed, and left for a document to come."""

    billed: Decimal
    given_back: Decimal
    absorbed: Decimal
    left: Decimal


@dataclass(frozen=True, slots=True)
class Check:
    """Whether the period, computed again from its windows as they are now, comes to what was posted."""

    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a line, an accrual or a period comes to what it does."""

    subject: Subject
    period: PeriodFacts
    prices: tuple[PriceExplained, ...]
    postings: tuple[Posting, ...]
    check: Check
    charged: Charged | None = None
    settled: Settled | None = None
    total: Amounts = field(default=NOTHING)

    @property
    def payers(self) -> tuple[Payer, ...]:
        """Who paid for all of it, each once, in the order in which they pay."""
        found: dict[tuple[str, int | None], Payer] = {}
        for price in self.prices:
            for one in price.payers:
                key = (one.kind, one.id)
                had = found.get(key)
                found[key] = one if had is None else _together(had, one)
        return tuple(sorted(found.values(), key=lambda one: _PAYING_ORDER.index(one.kind)))


_PAYING_ORDER = ("allowance", "grant", "unbilled")


def _together(one: Payer, other: Payer) -> Payer:
    paid = Amounts(quantity=one.quantity, rated=one.amount).plus(Amounts(quantity=other.quantity, rated=other.amount))
    return Payer(one.kind, one.id, one.name, paid.rated, paid.quantity, one.measure, one.limit)


Standing = Literal["counted", "waiting", "void", "unpriced", "no_period", "excluded", "unknown"]


@dataclass(frozen=True, slots=True)
class PaidPart:
    """
    What one payer paid of an event, and why it was its turn.

    `used_before` is what the payer had paid of the period before this event, in what it counts: money, or units.
    """

    payer: Payer
    used_before: Decimal
    why: str


@dataclass(frozen=True, slots=True)
class EventCost:
    """
    What one event cost at one meter.

    `place` is its place among the `of` events of its hour that the same price counts, 1 first; `quantity_before` the
    units of the price in the period before it. `text` says in a sentence what it comes to, or why to nothing; `how`
    says how the price comes about.
    """

    event_key: str
    event_time: datetime
    meter_code: str
    meter_version: int
    dimensions: dict[str, str | None]
    standing: Standing
    text: str
    period: PeriodFacts | None = None
    price: PriceVersion | None = None
    quantity: Decimal = ZERO
    amount: Decimal = ZERO
    parts: tuple[PaidPart, ...] = ()
    place: int = 0
    of: int = 0
    quantity_before: Decimal = ZERO
    how: str = ""
    is_posted: bool = False
