"""What a proof says, derived anew and compared, from windows to the total. Each difference is a sentence."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from typing import Any

from billing.invoicing.proofs.verifier.charges import ZERO
from billing.invoicing.proofs.verifier.paying import Amounts, Paid, Payer
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
    windows_of,
)

FORMAT = 1
TOLD_MAX = 100
"""So many differences of one kind are told; the first is the one to look at."""
_NAMES = ("quantity", "rated", "included", "credited", "unbilled")
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


def verify(document: Document, events_of: EventsOf, accruals_of: AccrualsOf) -> list[str]:
    """Every way in which the proof differs from what its raw events, its terms and its entries come to."""
    proof = Proof(document)
    found: list[str] = []
    for period in document["periods"]:
        found += _grants(period)
        try:
            windows, counted, wrong = windows_of(
                events_of(period),
                proof.meters,
                instant(period["starts_at"]),
                instant(period["ends_at"]),
                position=period["position"],
                cuts=proof.rates_of(period).cuts,
            )
            found += wrong[:TOLD_MAX]
            found += compare_windows(proof, proof.windows(period), windows)[:TOLD_MAX]
            found += compare_outcome(period, proof.outcome(period, windows, counted))[:TOLD_MAX]
        except Unreadable as error:
            found.append(f"{name_of(period)}: {error}")
        found += _accruals(proof, period, accruals_of(period))[:TOLD_MAX]
    return found + compare_lines(proof)


def compare_windows(proof: Proof, said: Windows, derived: Windows) -> list[str]:
    found = []
    for place in sorted(said.keys() | derived.keys()):
        held, made = said.get(place), derived.get(place)
        if held == made:
            continue
        name = proof.window_name(place)
        if held is None or made is None:
            one = held or made
            assert one is not None
            what = (
                "is in the proof, and no event makes it" if made is None else "is made by events, and not in the proof"
            )
            found.append(f"{name}: {plain(one.quantity)} from {one.events} events {what}")
        elif (held.quantity, held.events) != (made.quantity, made.events):
            found.append(
                f"{name}: its events come to {plain(made.quantity)} ({made.events} events), the proof says"
                f" {plain(held.quantity)} ({held.events} events)"
            )
        else:
            found.append(
                f"{name}: fingerprint {made.fingerprint} of its events is not {held.fingerprint}: one was changed"
            )
    return found


def compare_outcome(period: Document, paid: Paid) -> list[str]:
    """Compare what each rate came to, and what each allowance and grant paid of it."""
    name, found = name_of(period), []
    said = {row[0]: Amounts(*map(Fraction, row[1:])) for row in period["rates"]}
    for rate_id in sorted(said.keys() | paid.by_rate.keys()):
        held, made = said.get(rate_id, Amounts()), paid.by_rate.get(rate_id, Amounts())
        found += [
            f"{name}, rate {rate_id}: {what} is {plain(getattr(made, what))} by its windows, the proof says"
            f" {plain(getattr(held, what))} ({_signed(getattr(held, what) - getattr(made, what))})"
            for what in _NAMES
            if getattr(held, what) != getattr(made, what)
        ]
    sources = {(row[0], row[1], row[2]): (Fraction(row[3]), Fraction(row[4])) for row in period["paid"]}
    derived = {key: use for key, use in paid.by_source.items() if any(use)}
    for key in sorted(sources.keys() | derived.keys()):
        pair = sources.get(key, (ZERO, ZERO)), derived.get(key, (ZERO, ZERO))
        if pair[0] != pair[1]:
            rate_id, kind, source_id = key
            found.append(
                f"{name}, rate {rate_id}: {kind} {source_id} pays {plain(pair[1][0])} ({plain(pair[1][1])} units), the"
                f" proof says {plain(pair[0][0])} ({plain(pair[0][1])} units)"
            )
    return found


def _signed(amount: Fraction) -> str:
    return f"{'+' if amount > 0 else ''}{plain(amount)}"


def _grants(period: Document) -> list[str]:
    """What a grant may give to a period is its amount less what was withdrawn and what other periods took."""
    found = []
    for grant in period["grants"]:
        taken = sum((Fraction(one["amount"]) for one in grant["others"]), ZERO)
        left = Fraction(grant["amount"]) - Fraction(grant["withdrawn"]) - taken
        if left != Fraction(grant["available"]):
            found.append(
                f"{name_of(period)}: grant {grant['id']} has {plain(left)} for it, the proof says {grant['available']}"
            )
    return found


def _accruals(proof: Proof, period: Document, rows: Iterable[Document]) -> list[str]:
    """The runs of rating add up to what the period came to, and each one's entry says what it changed."""
    name, found = name_of(period), []
    said, digest, sums = period["accruals"], sha256(), dict.fromkeys(_NAMES[1:], ZERO)
    count = last = 0
    accounts: dict[str, Fraction] = {}
    for row in rows:
        count, last = count + 1, row["revision"]
        digest.update(canonical(row) + b"\n")
        change = {what: Fraction(row[what]) for what in _NAMES[1:]}
        for what, amount in change.items():
            sums[what] += amount
        entry = row["entry"]
        if entry is not None:
            for account, amount in entry["postings"]:
                accounts[account] = accounts.get(account, ZERO) + Fraction(amount)
        found += [
            f"{name}, accrual {row['revision']}: {text}" for text in _entry_of_accrual(proof, period, row, change)
        ]
    if (count, digest.hexdigest()) != (said["count"], said["sha256"]):
        found.append(f"{name}: its {count} accruals and entries are not the {said['count']} that the proof names")
    if last != period["revision"]:
        found.append(f"{name}: its last accrual is {last}, the proof is of accrual {period['revision']}")
    told = {account: amount for account, amount in accounts.items() if amount}
    if told != {account: Fraction(amount) for account, amount in said["sums"].items()}:
        found.append(f"{name}: its entries add up to other sums by account than the proof says")
    of_rates = {what: sum((Fraction(row[place]) for row in period["rates"]), ZERO) for place, what in _COLUMNS}
    found += [
        f"{name}: its accruals come to {what} {plain(sums[what])}, its rates to {plain(of_rates[what])}"
        for what in sums
        if sums[what] != of_rates[what]
    ]
    return found


_COLUMNS = tuple((place, what) for place, what in enumerate(_NAMES, start=1) if what != "quantity")


def _entry_of_accrual(proof: Proof, period: Document, row: Document, change: Mapping[str, Fraction]) -> list[str]:
    key, currency = proof.document["invoice"]["customer_key"], proof.currency
    found = []
    if change["rated"] != change["included"] + change["credited"] + change["unbilled"]:
        found.append("its rated amount is not what is included, credited and unbilled")
    entry = row["entry"]
    if entry is None:
        return [*found, "it changed amounts and has no entry"] if any(change.values()) else found
    if entry["key"] != f"accrual:{period['id']}:{row['revision']}":
        found.append(f"entry {entry['id']} has the key {entry['key']}")
    moved: dict[str, Fraction] = {}
    for account, amount in entry["postings"]:
        moved[account] = moved.get(account, ZERO) + Fraction(amount)
    if sum(moved.values(), ZERO):
        found.append(f"entry {entry['id']} is out of balance by {plain(sum(moved.values(), ZERO))}")
    expected = {
        f"revenue:usage:{currency}": -change["rated"],
        f"contra:included:{currency}": change["included"],
        f"unbilled:{key}:{currency}": change["unbilled"],
    }
    found += [
        f"entry {entry['id']} moves {account} by {plain(moved.get(account, ZERO))} instead of {plain(amount)}"
        for account, amount in expected.items()
        if moved.get(account, ZERO) != amount
    ]
    return found


def compare_lines(proof: Proof) -> list[str]:
    """Each line is what is left of its rate, rounded once; nothing that is left is missing."""
    document, found = proof.document, []
    left: dict[tuple[int, int], tuple[Fraction, Fraction]] = {}
    for period in document["periods"]:
        for row in period["rates"]:
            left[period["id"], row[0]] = Fraction(row[1]), Fraction(row[5])
        for one in period["settled"]:
            before = left.get((period["id"], one["rate"]), (ZERO, ZERO))
            left[period["id"], one["rate"]] = (
                before[0] - Fraction(one["quantity"]),
                before[1] - Fraction(one["amount"]),
            )
    left = {key: rest for key, rest in left.items() if any(rest)}
    for line in document["lines"]:
        found += _line(proof, line, left)
    not_billed = {(period["id"], row[0]): row for period in document["periods"] for row in period["not_billed"]}
    for key, (quantity, amount) in left.items():
        row = not_billed.pop(key, None)
        # A document of increases leaves decreases to another one; what is owed to us is never left away.
        if row is None or amount > 0 or (Fraction(row[1]), Fraction(row[2])) != (quantity, amount):
            found.append(f"period {key[0]}, rate {key[1]}: {plain(amount)} {proof.currency} are left and on no line")
    found += [f"period {key[0]}, rate {key[1]}: nothing is left that was not billed" for key in not_billed]
    charged = sum(line["amount_minor"] for line in document["lines"])
    if charged != document["charged_minor"]:
        found.append(f"the lines charge {charged} minor units in all, the proof says {document['charged_minor']}")
    expected = charged + sum(fee["amount_minor"] for fee in document["fees"])
    if expected != document["expected_minor"]:
        found.append(f"lines and fees come to {expected} minor units, the proof says {document['expected_minor']}")
    return found


def _line(proof: Proof, line: Document, left: dict[tuple[int, int], tuple[Fraction, Fraction]]) -> list[str]:
    name = f"line {line['id']} (rate {line['rate']})" if line["kind"] == "usage" else f"line {line['id']}"
    exact, rounding, charged = Fraction(line["exact"]), Fraction(line["rounding"]), line["amount_minor"]
    if line["kind"] == "coverage":
        is_free = not (exact or rounding or charged or Fraction(line["quantity"]))
        return [] if is_free else [f"{name} tells what was covered and charges {charged} minor units"]
    if line["kind"] != "usage":
        return [f"{name} is of kind {line['kind']!r}, which is none of ours"]
    found = []
    quantity, due = left.pop((line["period"], line["rate"]), (ZERO, ZERO))
    if exact != due:
        found.append(f"{name}: {plain(due)} is left to invoice, it says {line['exact']} ({_signed(exact - due)})")
    if Fraction(line["quantity"]) != quantity:
        found.append(f"{name}: {plain(quantity)} units are left to invoice, it says {line['quantity']}")
    rounded = rounded_minor(exact, proof.currency)
    if charged != rounded:
        found.append(f"{name}: {line['exact']} is rounded to {rounded} minor units, it charges {charged}")
    if exact + rounding != in_units(charged, proof.currency):
        found.append(f"{name}: its rounding of {line['rounding']} is not what was charged less what is exact")
    return found


def compare_finalised(proof: Proof, finalised: Document) -> list[str]:
    """Compare the finalised invoice and its entry with the proof."""
    document, currency, found = proof.document, proof.currency, []
    ours = {line["id"]: line for line in document["lines"]}
    total = 0
    for line in finalised["lines"]:
        total += line["amount_minor"] - line["discount_minor"] + line["exclusive_tax_minor"]
        if line["kind"] not in ("usage", "coverage"):
            continue
        proved = ours.pop(line["id"], None)
        if proved is None:
            found.append(
                f"line {line['id']} of {line['amount_minor']} minor units is on the invoice and not in the proof"
            )
            continue
        found += [
            f"line {line['id']}: {what} is {line[what]} on the invoice, {proved[what]} in the proof"
            for what in ("kind", "period", "rate", "quantity", "exact", "rounding", "amount_minor")
            if line[what] != proved[what]
        ]
    found += [f"line {line_id} of the proof is not on the invoice" for line_id in ours]
    if total != finalised["total_minor"]:
        found.append(f"its lines come to {total} minor units, its total is {finalised['total_minor']}")
    entry = finalised["entry"]
    if entry is None:
        return found if not total else [*found, "it has a total and no entry in the ledger"]
    if entry["key"] != f"invoice_finalized:{document['invoice']['stripe_id']}":
        found.append(f"entry {entry['id']} of the invoice has the key {entry['key']}")
    moved: dict[str, Fraction] = {}
    for account, amount in entry["postings"]:
        moved[account] = moved.get(account, ZERO) + Fraction(amount)
    if sum(moved.values(), ZERO):
        found.append(f"entry {entry['id']} of the invoice is out of balance by {plain(sum(moved.values(), ZERO))}")
    usage = [line for line in document["lines"] if line["kind"] == "usage"]
    key = document["invoice"]["customer_key"]
    expected = {
        f"receivable:{key}:{currency}": in_units(total, currency),
        f"unbilled:{key}:{currency}": -sum((Fraction(line["exact"]) for line in usage), ZERO),
        f"rounding:{currency}": -sum((Fraction(line["rounding"]) for line in usage), ZERO),
    }
    return found + [
        f"entry {entry['id']} of the invoice moves {account} by {plain(moved.get(account, ZERO))}, not {plain(amount)}"
        for account, amount in expected.items()
        if moved.get(account, ZERO) != amount
    ]
