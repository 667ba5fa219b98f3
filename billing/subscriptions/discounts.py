"""
Discounts that somebody gave at Stripe, as far as our own proration has to know them: what is left of a fee after those
in force, and what was billed of a cycle after those of its invoice. Their terms are Stripe's; none is kept here.

Not inside a transaction: Stripe is asked, and only of a subscription that has a discount, or of a cycle that had one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing.invoicing.models import Invoice
from billing.stripe import gateway, readers
from billing.stripe.errors import StripeForbidden, StripeRefused
from billing.stripe.readers import id_of, price_of_line
from billing.subscriptions.models import Subscription
from billing.subscriptions.proration import Rounding, rounded

StripeDict = dict[str, Any]
COUPON = "source.coupon.applies_to"
HUNDRED = 100
# The invoice of a cycle is made at its first second, or as much later as a start was told late.
MADE_WITHIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reduction:
    """
    One discount: a percentage or minor units, of some products or of all, and of one item's price or of all. `once` is
    over with the next invoice; `starts` and `ends` are Stripe's seconds. What is `unknown` cannot be reckoned here.
    """

    name: str
    percent: Decimal | None = None
    amount_minor: int = 0
    products: frozenset[str] | None = None
    price_id: str = ""
    starts: int = 0
    ends: int | None = None
    is_unknown: bool = False

    def is_in_force(self, second: int) -> bool:
        return self.starts <= second and (self.ends is None or self.ends > second)

    def off(self, base_minor: int) -> int:
        """What it takes off a sum of lines, rounded half up once, at most all of it."""
        if base_minor <= 0:
            return 0
        if self.percent is None:
            return min(self.amount_minor, base_minor)
        part = Fraction(self.percent) / HUNDRED
        return min(base_minor, rounded(base_minor * part, Rounding.OURS))


@dataclass(frozen=True, slots=True)
class WholeFee:
    """The fee of one item for a whole period, in minor units, the price of the item at Stripe, and what it sells."""

    price_id: str
    product_id: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class BilledLine:
    """What a line of the cycle's invoice asked for, less its discounts, for [start, end) in seconds."""

    price_id: str
    amount_minor: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Discounts:
    """Those of a subscription, in the order in which they apply, and the lines of a cycle that were discounted."""

    reductions: Sequence[Reduction] = ()
    billed: Sequence[BilledLine] = ()
    price_order: Mapping[str, int] = field(default_factory=dict)

    def not_counted(self, second: int) -> str:
        """The names of those in force that we cannot reckon, as words behind a description; nothing without one."""
        names = ", ".join(one.name for one in self.reductions if one.is_unknown and one.is_in_force(second))
        return f" (Stripe's discount {names} is not counted)" if names else ""

    def net_of(self, fees: Sequence[WholeFee], *, second: int) -> list[int]:
        """
        What is left of each fee after the discounts in force at the second: those of an item first, then the others
        one after another, each shared out floored in proportion, with the remainder on Stripe's last line.
        """
        known = [one for one in self.reductions if one.is_in_force(second) and not one.is_unknown]
        left = [fee.amount_minor for fee in fees]
        last = len(fees) + len(self.price_order)
        order = sorted(range(len(fees)), key=lambda place: (self.price_order.get(fees[place].price_id, last), place))
        for reduction in known:
            applies = [
                place for place in order
                if reduction.price_id in ("", fees[place].price_id)
                and (reduction.products is None or fees[place].product_id in reduction.products)
            ]  # fmt: skip
            weights = [max(left[place], 0) for place in applies]
            for place, share in zip(applies, _shared(reduction.off(sum(weights)), weights), strict=True):
                left[place] -= share
        return left


NO_DISCOUNTS = Discounts()


def discounts_of(subscription: Subscription, *, cycle_start: datetime, theirs: StripeDict | None = None) -> Discounts:
    """
    The discounts of a subscription at Stripe, and what was billed with one for the cycle that began then. `theirs` is
    the subscription as fetched just now. Raises StripeUnavailable.
    """
    if subscription.stripe_subscription_id is None:
        return Discounts()
    path = f"/v1/subscriptions/{subscription.stripe_subscription_id}"
    theirs = theirs if theirs is not None else gateway.retrieve(path)
    items = theirs["items"]["data"]
    order = {id_of(item["price"]): place for place, item in enumerate(items)}
    return Discounts(_reductions(path, theirs), list(_billed(subscription, cycle_start)), order)


def _reductions(path: str, theirs: StripeDict) -> list[Reduction]:
    """Those of the items first, then the subscription's own; unknown where our key may not read coupons."""
    given = [one for item in theirs["items"]["data"] for one in item.get("discounts") or []]
    given += theirs.get("discounts") or []
    if not given:
        return []
    try:
        shown = gateway.retrieve(path, expand=(f"discounts.{COUPON}", "items.data.discounts"))
        currency = str(shown["currency"])
        of_items = [
            _reduction(one, currency, price_id=id_of(item["price"]))
            for item in shown["items"]["data"]
            for one in item.get("discounts") or []
        ]
        return of_items + [_reduction(one, currency) for one in shown["discounts"]]
    except StripeForbidden:
        return [Reduction(id_of(one), is_unknown=True) for one in given]


def _billed(subscription: Subscription, cycle_start: datetime) -> Iterator[BilledLine]:
    """The fees on the invoice of a cycle, where a discount was on it: what it was, Stripe alone knows."""
    invoices = Invoice.objects.filter(
        subscription=subscription,
        created_at__gte=cycle_start - MADE_WITHIN,
        created_at__lte=cycle_start + MADE_WITHIN,
    )
    for invoice in invoices.exclude(status=Invoice.Status.VOID).exclude(discount_minor=0):
        _, lines = readers.invoice_with_lines(invoice.stripe_invoice_id)
        for line in lines:
            is_fee = (line.get("parent") or {}).get("type") == "subscription_item_details"
            if is_fee and not readers.is_proration_line(line):
                net = int(line["amount"]) - sum(int(one["amount"]) for one in line["discount_amounts"] or [])
                yield BilledLine(price_of_line(line), net, line["period"]["start"], line["period"]["end"])


def _reduction(discount: StripeDict, currency: str, *, price_id: str = "") -> Reduction:
    coupon = (discount.get("source") or {}).get("coupon")
    if isinstance(coupon, str):
        coupon = _coupon(coupon)
    since, until = int(discount["start"]), discount.get("end")
    name = str((coupon or {}).get("name") or (coupon or {}).get("id") or discount["id"])
    if coupon is None:
        return Reduction(name, price_id=price_id, starts=since, ends=until, is_unknown=True)
    products = (coupon.get("applies_to") or {}).get("products") or None
    # Stripe's number, of at most two places, as it is written.
    percent = None if coupon.get("percent_off") is None else Decimal(str(coupon["percent_off"]))
    is_other_currency = percent is None and coupon.get("currency") != currency
    return Reduction(
        name,
        percent=percent,
        amount_minor=int(coupon.get("amount_off") or 0),
        products=None if products is None else frozenset(products),
        price_id=price_id,
        starts=since,
        ends=until,
        is_unknown=is_other_currency,
    )


def _coupon(coupon_id: str) -> StripeDict | None:
    """None for one that was deleted: it discounts on where it was redeemed, and nobody is told its terms."""
    try:
        return gateway.retrieve(f"/v1/coupons/{coupon_id}", expand=("applies_to",))
    except StripeRefused:
        return None


def _shared(total_minor: int, weights: Sequence[int]) -> list[int]:
    """A discount over lines, in proportion: each share floored, what remains on the last that can take it."""
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    shares = [total_minor * weight // whole for weight in weights]
    rest = total_minor - sum(shares)
    for place in reversed(range(len(weights))):
        more = min(rest, weights[place] - shares[place])
        shares[place] += more
        rest -= more
    return shares
