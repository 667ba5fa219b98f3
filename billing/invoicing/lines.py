"""What our lines on an invoice say and charge. Pure: from totals of a period to lines, each rounded once."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.invoicing.rounding import from_minor, to_minor
from billing.rating.rating import EXACT

DESCRIPTION_CHARS_MAX = 500
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class RateUsage:
    """
    What of one rate is to be invoiced: `quantity` units and `unbilled` currency units, of either sign, both exact.

    `how` tells the steps from the usage to its price. `covered` is what allowances and grants paid of the same usage;
    None where that is not known apart (late usage). `billed` is what earlier invoices of the same period asked for.
    """

    rate_id: int
    subject: str
    meter_code: str
    how: str
    quantity: Decimal
    unbilled: Decimal
    covered: Decimal | None
    billed: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class LineDraft:
    """A line to be: exact_amount + rounding is amount_minor, in currency units. A coverage line has no rate."""

    rate_id: int | None
    description: str
    quantity: Decimal
    exact_amount: Decimal
    amount_minor: int
    rounding: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Included:
    """What an allowance paid of a period: currency units, and units where it counts them; no `amount`: no limit."""

    name: str
    measure: str
    amount: Decimal | None
    paid: Decimal
    units: Decimal
    each_dimension: str = ""


def usage_line(usage: RateUsage, *, currency: str) -> LineDraft:
    """The line of one rate for the period that ends: the net amount, rounded once; it says what was priced, and how."""
    covered = f", of which {plain(usage.covered)} {currency} covered" if usage.covered else ""
    if usage.billed:
        covered += f", less {plain(usage.billed)} {currency} on earlier invoices"
    # A charge without a meter is named by what it is, and its steps may begin with that.
    what = "" if usage.how.startswith(f"{_subject(usage)}: ") else f"{_subject(usage)}: "
    how = _shortened(usage.how, DESCRIPTION_CHARS_MAX - len(what) - len(covered))
    return _rounded(usage, f"{what}{how}{covered}", currency)


def late_line(usage: RateUsage, *, starts_at: datetime, ends_at: datetime, currency: str) -> LineDraft:
    """The line of one rate for usage that became known after its period was invoiced; may be below zero."""
    when = f"{starts_at:%d %b %Y} – {ends_at:%d %b %Y}"
    text = f"{plain(usage.quantity)} units, {plain(usage.unbilled)} {currency}"
    return _rounded(usage, f"Late usage of {when}: {_subject(usage)}: {text}", currency)


def coverage_lines(
    *, allowances: Iterable[Included], grants: Iterable[tuple[str, Decimal]], currency: str
) -> list[LineDraft]:
    """Lines that charge nothing and say what paid for usage: each allowance and each grant by its name."""
    lines = [_free(_included(one, currency)) for one in allowances if one.paid or one.units]
    lines.extend(_free(f"Credit “{name}”: {plain(amount)} {currency} used") for name, amount in grants if amount)
    return lines


def _included(one: Included, currency: str) -> str:
    each = f" for each {one.each_dimension}" if one.each_dimension else ""
    paid = f"{plain(one.paid)} {currency}"
    if one.measure == "cap" and one.amount is not None:
        return f"{one.name}: {paid} above {plain(one.amount)} {currency} are not charged"
    if one.measure == "units":
        of = "" if one.amount is None else f" of {plain(one.amount)}{each}"
        return f"{one.name}: {plain(one.units)}{of} units used, worth {paid}"
    if one.amount is None:
        return f"{one.name}: {paid} used, without limit"
    return f"{one.name}: {plain(one.paid)} of {plain(one.amount)} {currency}{each} used"


def plain(number: Decimal) -> str:
    """The number with thousands separators, without trailing zeros or exponent."""
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _rounded(usage: RateUsage, description: str, currency: str) -> LineDraft:
    amount_minor = to_minor(usage.unbilled, currency)
    return LineDraft(
        rate_id=usage.rate_id,
        description=_shortened(description, DESCRIPTION_CHARS_MAX),
        quantity=usage.quantity,
        exact_amount=usage.unbilled,
        amount_minor=amount_minor,
        rounding=EXACT.subtract(from_minor(amount_minor, currency), usage.unbilled),
    )


def _free(description: str) -> LineDraft:
    return LineDraft(
        rate_id=None,
        description=_shortened(description, DESCRIPTION_CHARS_MAX),
        quantity=ZERO,
        exact_amount=ZERO,
        amount_minor=0,
        rounding=ZERO,
    )


def _subject(usage: RateUsage) -> str:
    return f"{usage.subject} {usage.meter_code.replace('_', ' ')}".strip()


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
