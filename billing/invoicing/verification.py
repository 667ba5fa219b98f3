"""Is the draft at Stripe what we meant it to be? Pure: compares and names every difference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from billing.invoicing.models import InvoiceLine
from billing.invoicing.stripe_lines import (
    UnreadableTerms,
    is_subscription_fee,
    kind_of,
    line_key,
    net_of,
    prepaid_terms,
)
from billing.stripe.readers import price_of_line

StripeDict = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExpectedFee:
    """A recurring fee the draft must carry: lines of this price, one for each tier, that come to these minor units."""

    price_id: str
    amount_minor: int


def differences(
    *,
    invoice: StripeDict,
    stripe_lines: Iterable[StripeDict],
    ours: Mapping[str, int],
    fees: Sequence[ExpectedFee],
    currency: str,
    metered: Mapping[str, int] | None = None,
) -> list[str]:
    """
    Say how the draft differs from what it must be; nothing means it may be finalised.

    `ours` maps the id of each line we pushed to its amount in minor units; `fees` are the plan's and its add-ons'.
    `metered` maps Stripe's id of each of our metered prices to what it must charge; the amount on a draft may be an
    older one, and Stripe's summaries say what it will be, so each that charges something has a line there, once.
    Discount, tax, prorations of the fee and lines whose metadata say what they are may be there; the total must be what
    all these come to.
    """
    found: list[str] = []
    seen: list[str] = []
    found_fees: list[StripeDict] = []
    found_metered: list[StripeDict] = []
    # What may be on the invoice besides our amounts and the fee's, in minor units.
    added = 0
    for line in stripe_lines:
        key = line_key(line)
        if key:
            seen.append(key)
            found += _of_ours(line, ours.get(key))
            added += net_of(line) - line["amount"]
        elif price_of_line(line) in (metered or {}):
            found_metered.append(line)
            added += net_of(line)
        elif is_subscription_fee(line):
            found_fees.append(line)
            added += net_of(line) - line["amount"]
        elif kind_of(line) is None:
            found.append(f"line {line['id']} ({line['description']}, {line['amount']}) is of a kind not known here")
        else:
            found += _of_terms(line)
            added += net_of(line)
    found += [f"our line {key} is not on the invoice" for key in ours if key not in seen]
    found += [f"our line {key} is on the invoice {seen.count(key)} times" for key in ours if seen.count(key) > 1]
    found += _of_fees(found_fees, fees)
    found += _of_meters(found_metered, metered or {})
    expected_total = sum(ours.values()) + sum(fee.amount_minor for fee in fees) + added
    if invoice["total"] != expected_total:
        found.append(f"the total is {invoice['total']} instead of {expected_total}")
    if invoice["currency"].upper() != currency:
        found.append(f"the currency is {invoice['currency']} instead of {currency}")
    if invoice["status"] != "draft":
        found.append(f"the invoice is {invoice['status']}, no draft any more")
    return found


def _of_terms(line: StripeDict) -> list[str]:
    if kind_of(line) != InvoiceLine.Kind.PREPAID:
        return []
    try:
        prepaid_terms(line)
    except UnreadableTerms as unreadable:
        return [f"line {line['id']} of prepaid credit: {unreadable}"]
    return []


def _of_ours(line: StripeDict, expected: int | None) -> list[str]:
    if expected is None:
        return [f"line {line['id']} claims to be our line {line_key(line)}, which is not of this invoice"]
    if line["amount"] != expected:
        return [f"our line {line_key(line)} charges {line['amount']} instead of {expected}"]
    return []


def _of_meters(lines: list[StripeDict], expected: Mapping[str, int]) -> list[str]:
    """Each metered price that charges something has its line, once; one of a removed item charges nothing any more."""
    plain = [price_of_line(line) for line in lines if is_subscription_fee(line)]
    found = [
        f"usage of price {price_of_line(line)} is billed apart ({line['description']}, {line['amount']}): its item was"
        " removed from the subscription at Stripe while its meter still counted usage"
        for line in lines
        if not is_subscription_fee(line) and line["amount"]
    ]
    return found + [
        f"there are {plain.count(price_id)} lines of the metered price {price_id}, which is to charge {amount}"
        for price_id, amount in expected.items()
        if plain.count(price_id) > 1 or (amount and not plain.count(price_id))
    ]


def _of_fees(fees: list[StripeDict], expected: Sequence[ExpectedFee]) -> list[str]:
    """Each expected fee is there by its price, in as many lines as it has tiers, and no other."""
    charged: dict[str, int] = {}
    for fee in fees:
        price_id = price_of_line(fee)
        charged[price_id] = charged.get(price_id, 0) + int(fee["amount"])
    wanted: dict[str, int] = {}
    for one in expected:
        wanted[one.price_id] = wanted.get(one.price_id, 0) + one.amount_minor
    found = [
        f"the subscription fee is {charged[price_id]} instead of {amount} (price {price_id})"
        if price_id in charged
        else f"there is no subscription fee of price {price_id}; {amount} is expected"
        for price_id, amount in wanted.items()
        if charged.get(price_id) != amount
    ]
    return found + [
        f"there is a subscription fee of {amount} of price {price_id}, and none of that price is expected here"
        for price_id, amount in charged.items()
        if price_id not in wanted
    ]
