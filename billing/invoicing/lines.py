"""What our lines on an invoice say and charge. Pure: from totals of a period to lines, each rounded once."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.invoicing.rounding import from_minor, to_minor
from billing.rating.rating import EXACT, explain

DESCRIPTION_CHARS_MAX = 500
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class RateUsage:
    """
    What of one rate is to be invoiced: `quantity` units and `unbilled` currency units, of either sign, both exact.

    `covered` is what allowance and grants paid of the same usage; None where that is not known apart (late usage).
    """

    rate_id: int
    subject: str
    meter_code: str
    unit_price: Decimal
    unit_size: int
    quantity: Decimal
    unbilled: Decimal
    covered: Decimal | None


@dataclass(frozen=True, slots=True)
class LineDraft:
    """A line to be: exact_amount + rounding is amount_minor, in currency units. A coverage line has no rate."""

    rate_id: int | None
    description: str
    quantity: Decimal
    exact_amount: Decimal
    amount_minor: int
    rounding: Decimal


def usage_line(usage: RateUsage, *, currency: str) -> LineDraft:
    """The line of one rate for the period that ends: the net amount, rounded once."""
    how = explain(usage.quantity, usage.unit_price, usage.unit_size, currency)
    covered = f", of which {plain(usage.covered)} {currency} covered" if usage.covered else ""
    return _rounded(usage, f"{_subject(usage)}: {how}{covered}", currency)


def late_line(usage: RateUsage, *, starts_at: datetime, ends_at: datetime, currency: str) -> LineDraft:
    """The line of one rate for usage that became known after its period was invoiced; may be below zero."""
    when = f"{starts_at:%d %b %Y} – {ends_at:%d %b %Y}"
    text = f"{plain(usage.quantity)} units, {plain(usage.unbilled)} {currency}"
    return _rounded(usage, f"Late usage of {when}: {_subject(usage)}: {text}", currency)


def coverage_lines(
    *, included: Decimal, allowance: Decimal, grants: Iterable[tuple[str, Decimal]], currency: str
) -> list[LineDraft]:
    """Lines that charge nothing and say what paid for usage: the allowance, and each grant by its name."""
    lines: list[LineDraft] = []
    if included:
        lines.append(_free(f"Included usage: {plain(included)} of {plain(allowance)} {currency} used"))
    lines.extend(_free(f"Credit “{name}”: {plain(amount)} {currency} used") for name, amount in grants if amount)
    return lines


def plain(number: Decimal) -> str:
    """The number with thousands separators, without trailing zeros or exponent."""
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _rounded(usage: RateUsage, description: str, currency: str) -> LineDraft:
    amount_minor = to_minor(usage.unbilled, currency)
    return LineDraft(
        rate_id=usage.rate_id,
        description=description[:DESCRIPTION_CHARS_MAX],
        quantity=usage.quantity,
        exact_amount=usage.unbilled,
        amount_minor=amount_minor,
        rounding=EXACT.subtract(from_minor(amount_minor, currency), usage.unbilled),
    )


def _free(description: str) -> LineDraft:
    return LineDraft(
        rate_id=None,
        description=description[:DESCRIPTION_CHARS_MAX],
        quantity=ZERO,
        exact_amount=ZERO,
        amount_minor=0,
        rounding=ZERO,
    )


def _subject(usage: RateUsage) -> str:
    return f"{usage.subject} {usage.meter_code.replace('_', ' ')}"
