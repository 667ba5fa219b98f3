"""A proof with what its periods share, its canonical bytes and its rounding: what every check builds on."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing.invoicing.proofs.verifier.paying import Paid, Payer
from billing.invoicing.proofs.verifier.prices import Pricing, Rate, Rates
from billing.invoicing.proofs.verifier.usage import (
    HOUR,
    Counted,
    Event,
    Meter,
    Place,
    Unreadable,
    Window,
    hour_of,
    instant,
    plain,
    shown,
)

FORMAT = 1
# What reading a document of another shape raises: each place takes what it needs, and nobody checks it all before.
NOT_IN_FORMAT = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RecursionError,
    StopIteration,
)
AMOUNT_NAMES = ("quantity", "rated", "included", "credited", "unbilled")
_NO_DECIMALS = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
)
_THREE_DECIMALS = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))
_WHOLE_HUNDREDS = frozenset(("ISK", "UGX"))
Document = Mapping[str, Any]
Windows = dict[Place, Window]
EventsOf = Callable[[Document], Iterable[Event]]
AccrualsOf = Callable[[Document], Iterable[Document]]


def canonical(document: Any) -> bytes:
    """The bytes that are hashed: JSON with sorted names, without blanks, UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_json(text: str | bytes) -> Any:
    """JSON with exact numbers. Raises Unreadable."""
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}") from error


def rounded_minor(exact: Fraction, currency: str) -> int:
    """Minor units, rounded once, half away from zero, to what Stripe can charge in the currency."""
    step = 10 if currency in _THREE_DECIMALS else 100 if currency in _WHOLE_HUNDREDS else 1
    steps = int(abs(exact) * 10 ** _digits(currency) / step + Fraction(1, 2))
    return (-steps if exact < 0 else steps) * step


def _digits(currency: str) -> int:
    return 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2


def in_units(minor: int, currency: str) -> Fraction:
    return Fraction(minor, 10 ** _digits(currency))


class Proof:
    """A proof with what its periods share read once."""

    def __init__(self, document: Document) -> None:
        if document.get("format") != FORMAT:
            raise Unreadable(f"this is format {document.get('format')!r}; this verifier reads {FORMAT}")
        self.document = document
        self.currency = str(document["invoice"]["currency"])
        self.meters = [Meter.of(row) for row in document["meters"]]
        self.rates = {row["id"]: Rate.of(row) for row in document["rates"]}
        self._rates_of: dict[int, Rates] = {}

    def rates_of(self, period: Document) -> Rates:
        if period["id"] in self._rates_of:
            return self._rates_of[period["id"]]
        try:
            chains = [[[self.rates[one] for one in card] for card in chain] for chain in period["chains"]]
        except KeyError as error:
            raise Unreadable(
                f"{name_of(period)}: its cards name rate {error}, which the proof does not hold"
            ) from error
        found = Rates(chains, instant(period["starts_at"]), instant(period["ends_at"]))
        self._rates_of[period["id"]] = found
        return found

    def windows(self, period: Document) -> Windows:
        """The windows as the proof holds them."""
        first = hour_of(instant(period["starts_at"]))
        named = [tuple((name, value) for name, value in one) for one in period["dimensions"]]
        return {
            Place.of(first + hour * HOUR, part, meter, named[of]): Window(Fraction(quantity), events, fingerprint)
            for hour, part, meter, of, quantity, events, fingerprint in period["windows"]
        }

    def window_name(self, place: Place) -> str:
        meter = self.meters[place.meter] if place.meter < len(self.meters) else None
        values = ", ".join(f"{name} {value}" for name, value in place.dimensions)
        of = f"{meter.code} v{meter.version}" if meter else f"meter {place.meter}"
        return f"window {shown(place.hour + place.part)} of {of}{f' ({values})' if values else ''}"

    def outcome(self, period: Document, windows: Windows, counted: Mapping[str, Sequence[Counted]]) -> Paid:
        """What the windows come to and who pays; `counted` are the events of meters that are priced by the event."""
        used = sorted(windows.items())
        for place in windows:
            if place.meter >= len(self.meters):
                raise Unreadable(f"{self.window_name(place)}: the proof does not hold that meter")
        rows = [
            (place.hour + place.part, self.meters[place.meter].code, place.dimensions, window.quantity)
            for place, window in used
        ]
        priced = Pricing(self.rates_of(period)).run(rows, counted, is_over=period["is_over"])
        return Payer(period["allowances"], period["grants"]).pay(priced)

    def is_by_event(self, period: Document) -> set[str]:
        """The meters that a price of the period prices by the event."""
        chains = self.rates_of(period).chains
        rates = [rate for chain in chains for card in chain for rate in card]
        return {rate.meter_code for rate in rates if any(cell.charge.is_by_event for cell in rate.cells)}


def name_of(period: Document) -> str:
    return f"period {period['id']} ({period['starts_at'][:10]} to {period['ends_at'][:10]})"


def signed(amount: Fraction) -> str:
    return f"{'+' if amount > 0 else ''}{plain(amount)}"
