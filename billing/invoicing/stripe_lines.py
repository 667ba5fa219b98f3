"""
What a line of Stripe's is, and what of discount and tax is in it. Pure: reads an invoice's or a credit note's lines.

A line of ours carries our line's id in its metadata. Whoever adds another line at Stripe says what it is by metadata:
`kind` = `one_off` or `prepaid` (with the terms of PrepaidTerms). A line that says nothing is of unknown kind.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from billing.invoicing.models import InvoiceLine
from promotions.operations import AMOUNT_LIMIT, DECIMAL_PLACES

Kind = InvoiceLine.Kind
StripeDict = dict[str, Any]

NAME_CHARS_MAX = 200
VALID_DAYS_MAX = 36_500
_KIND_OF_METADATA = {"one_off": Kind.ONE_OFF, "prepaid": Kind.PREPAID}


class UnreadableTerms(ValueError):
    """The metadata of a line of prepaid credit are wrong; the message names the field and what it must be."""


@dataclass(frozen=True, slots=True)
class Charges:
    """What Stripe's discounts and taxes do to a line, in minor units with the line's sign."""

    discount_minor: int
    exclusive_tax_minor: int
    inclusive_tax_minor: int


@dataclass(frozen=True, slots=True)
class PrepaidTerms:
    """
    What a line of prepaid credit buys: a grant of what it charges, and `bonus` on top in currency units.

    Both expire `valid_days` after the payment, or never.
    """

    name: str
    bonus: Decimal = Decimal(0)
    valid_days: int | None = None

    def metadata(self) -> dict[str, str]:
        """What to write onto the line at Stripe."""
        days = "" if self.valid_days is None else str(self.valid_days)
        return {
            "kind": "prepaid",
            "prepaid_name": self.name,
            "prepaid_bonus": f"{self.bonus:f}",
            "prepaid_valid_days": days,
        }


def line_key(line: StripeDict) -> str:
    """Our id of a line we pushed, or nothing for another line."""
    return str(_metadata(line).get("line") or "")


def kind_of(line: StripeDict) -> str | None:
    """
    What a line that is not ours charges for, or None where that cannot be known.

    The fee of a subscription is known by its parent, with the prorations of it, which may be below zero. A line that
    Stripe's own billing credits paid for in part is of unknown kind: we issue none.
    """
    if any(entry["type"] == "credit_balance_transaction" for entry in line.get("pretax_credit_amounts") or []):
        return None
    parent = line.get("parent") or {}
    if parent.get("type") == "subscription_item_details" or is_proration(line):
        return Kind.FEE
    return _KIND_OF_METADATA.get(str(_metadata(line).get("kind") or ""))


def is_subscription_fee(line: StripeDict) -> bool:
    """Whether a line is the plain recurring fee of a subscription: no proration, no invoice item."""
    parent = line.get("parent") or {}
    return parent.get("type") == "subscription_item_details" and not is_proration(line)


def is_proration(line: StripeDict) -> bool:
    """Whether a line credits or charges a part of a fee, because the subscription changed within a period."""
    parent = line.get("parent") or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration"))


def charges_of(line: StripeDict) -> Charges:
    """Discount and tax of a line of an invoice or of a credit note."""
    taxes = line.get("taxes") or []
    return Charges(
        discount_minor=_sum(line.get("discount_amounts") or []),
        exclusive_tax_minor=_sum(tax for tax in taxes if tax["tax_behavior"] == "exclusive"),
        inclusive_tax_minor=_sum(tax for tax in taxes if tax["tax_behavior"] == "inclusive"),
    )


def net_of(line: StripeDict) -> int:
    """What a line adds to its invoice's total, in minor units."""
    charges = charges_of(line)
    return int(line["amount"]) - charges.discount_minor + charges.exclusive_tax_minor


def prepaid_terms(line: StripeDict) -> PrepaidTerms:
    """The terms in the metadata of a line of prepaid credit. Raises UnreadableTerms."""
    metadata = _metadata(line)
    name = str(metadata.get("prepaid_name") or line.get("description") or "").strip()
    if not name or len(name) > NAME_CHARS_MAX:
        raise UnreadableTerms(f"prepaid_name must be 1 to {NAME_CHARS_MAX} characters")
    bonus = metadata.get("prepaid_bonus") or "0"
    days = metadata.get("prepaid_valid_days") or ""
    if days and not (days.isdecimal() and 0 < int(days) <= VALID_DAYS_MAX):
        raise UnreadableTerms(f"prepaid_valid_days must be a whole number from 1 to {VALID_DAYS_MAX}, not {days!r}")
    return PrepaidTerms(name=name, bonus=_bonus(bonus), valid_days=int(days) if days else None)


def _bonus(text: str) -> Decimal:
    try:
        bonus = Decimal(text)
    except InvalidOperation:
        bonus = Decimal(-1)
    exponent = bonus.as_tuple().exponent
    if not isinstance(exponent, int) or not 0 <= bonus < AMOUNT_LIMIT or exponent < -DECIMAL_PLACES:
        raise UnreadableTerms(f"prepaid_bonus must be an amount of at least zero in currency units, not {text!r}")
    return bonus


def _metadata(line: StripeDict) -> Mapping[str, str]:
    return line.get("metadata") or {}


def _sum(entries: Iterable[StripeDict]) -> int:
    return sum(int(entry["amount"]) for entry in entries)
