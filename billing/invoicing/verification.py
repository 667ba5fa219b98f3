"""Is the draft at Stripe what we meant it to be? Pure: compares and names every difference."""

from collections.abc import Iterable, Mapping
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
from billing.stripe.gateway import price_of_line

StripeDict = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExpectedFee:
    """The recurring fee the draft must carry: one line of this price, amount in minor units."""

    price_id: str
    amount_minor: int


def differences(
    *,
    invoice: StripeDict,
    stripe_lines: Iterable[StripeDict],
    ours: Mapping[str, int],
    fee: ExpectedFee | None,
    currency: str,
) -> list[str]:
    """
    Say how the draft differs from what it must be; nothing means it may be finalised.

    `ours` maps the id of each line we pushed to its amount in minor units; `fee` is None where none may be. Discount,
    tax, prorations of the fee and lines whose metadata say what they are may be there; the total must be what all these
    come to.
    """
    found: list[str] = []
    seen: list[str] = []
    fees: list[StripeDict] = []
    # What may be on the invoice besides our amounts and the fee's, in minor units.
    added = 0
    for line in stripe_lines:
        key = line_key(line)
        if key:
            seen.append(key)
            found += _of_ours(line, ours.get(key))
            added += net_of(line) - line["amount"]
        elif is_subscription_fee(line):
            fees.append(line)
            added += net_of(line) - line["amount"]
        elif kind_of(line) is None:
            found.append(f"line {line['id']} ({line['description']}, {line['amount']}) is of a kind not known here")
        else:
            found += _of_terms(line)
            added += net_of(line)
    found += [f"our line {key} is not on the invoice" for key in ours if key not in seen]
    found += [f"our line {key} is on the invoice {seen.count(key)} times" for key in ours if seen.count(key) > 1]
    found += _of_fees(fees, fee)
    expected_total = sum(ours.values()) + (fee.amount_minor if fee is not None else 0) + added
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


def _of_fees(fees: list[StripeDict], expected: ExpectedFee | None) -> list[str]:
    if expected is None:
        return [f"line {fee['id']} is a subscription fee, and none is expected here" for fee in fees]
    if len(fees) != 1:
        return [f"there are {len(fees)} lines of the subscription fee instead of 1"]
    fee, found = fees[0], []
    if fee["amount"] != expected.amount_minor:
        found.append(f"the subscription fee is {fee['amount']} instead of {expected.amount_minor}")
    if price_of_line(fee) != expected.price_id:
        found.append(f"the subscription fee is of price {price_of_line(fee)} instead of {expected.price_id}")
    return found
