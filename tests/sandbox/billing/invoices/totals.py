"""What an invoice's lines come to: discounts, then taxes on what is left, for each line and over all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tests.sandbox.billing.invoices.discounting import DiscountableLine, Shares, invoice_shares, own_shares
from tests.sandbox.billing.invoices.discounts import reduction_of, use_up
from tests.sandbox.billing.invoices.taxes import Rate, Tax, included_in, taxes_on
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Of tax rates set by hand, as recorded bodies of Stripe show it.
TAXED = "not_available"
UNTAXED = {"exempt": "customer_exempt", "reverse": "reverse_charge"}


@dataclass(frozen=True, slots=True)
class LineSum:
    """One line: `item_level` is its amount after its own discounts, `net` after the invoice's and credits too."""

    amount: int
    shares: Shares
    credits: list[StripeObject]
    item_level: int
    net: int
    taxes: list[Tax]
    rates: list[Rate]

    @property
    def exclusive_tax(self) -> int:
        return sum(tax.amount for tax in self.taxes if not tax.rate.inclusive)

    @property
    def inclusive_tax(self) -> int:
        return sum(tax.amount for tax in self.taxes if tax.rate.inclusive)


def sum_lines(world: World, invoice: StripeObject) -> list[LineSum]:
    """The sums of each line of `invoice`, in their order."""
    lines = world.lines[invoice["id"]]
    currency = invoice["currency"]
    discountable = [
        DiscountableLine(
            line["amount"],
            line["discountable"],
            _product(line),
            tuple(reduction_of(world, name, currency) for name in line["discounts"]),
        )
        for line in lines
    ]
    own = [own_shares(line) for line in discountable]
    lefts = [line.amount - sum(shares.values()) for line, shares in zip(discountable, own, strict=True)]
    reductions = [reduction_of(world, name, currency) for name in invoice["discounts"]]
    over = invoice_shares(discountable, lefts, reductions)
    exempt = invoice["customer_tax_exempt"] in UNTAXED
    sums: list[LineSum] = []
    for line, shares, left, invoice_level in zip(lines, own, lefts, over, strict=True):
        spent = world.line_credits.get(line["id"], [])
        net = left - sum(invoice_level.values()) - sum(credit["amount"] for credit in spent)
        rates = rates_of(world, invoice, line)
        taxes = [Tax(rate, 0, 0) for rate in rates] if exempt else taxes_on(net, rates)
        taxing = [] if exempt else rates
        sums.append(LineSum(line["amount"], {**shares, **invoice_level}, spent, left, net, taxes, taxing))
    return sums


def rates_of(world: World, invoice: StripeObject, line: StripeObject) -> list[Rate]:
    """The tax rates of a line: its own, or else its invoice's."""
    return [rate_from(rate) for rate in tax_rates_of(world, invoice, line["id"])]


def tax_rates_of(world: World, invoice: StripeObject, line_id: str) -> list[StripeObject]:
    """The tax rates of a line, as objects."""
    own = world.line_tax_rates.get(line_id)
    if own is None:
        return list(invoice["default_tax_rates"])
    return [world.store.get("tax_rate", name) for name in own]


def rate_from(tax_rate: StripeObject) -> Rate:
    return Rate(tax_rate["id"], Decimal(str(tax_rate["percentage"])), tax_rate["inclusive"])


def summed_line(line: StripeObject, sums: LineSum, reason: str) -> StripeObject:
    """The line with its discount and tax amounts filled; itself where there are none, for the sake of long invoices."""
    plain = not (sums.shares or sums.taxes or sums.credits)
    if plain and not (line["discount_amounts"] or line["taxes"] or line["pretax_credit_amounts"]):
        return line
    amounts = [{"amount": amount, "discount": name} for name, amount in sums.shares.items()]
    return {
        **line,
        "discount_amounts": amounts,
        "pretax_credit_amounts": [*({**amount, "type": "discount"} for amount in amounts), *sums.credits],
        "taxes": [tax_entry(tax, reason) for tax in sums.taxes],
    }


def invoice_totals(sums: Sequence[LineSum], reason: str) -> StripeObject:
    """The fields of an invoice that follow from its lines.

    Subtotals have the lines' own discounts in them already and the invoice's not, by Stripe's description of them.
    """
    subtotal = sum(line.item_level for line in sums)
    net = sum(line.net for line in sums)
    discounts: Shares = {}
    for line in sums:
        for name, amount in line.shares.items():
            discounts[name] = discounts.get(name, 0) + amount
    amounts = [{"amount": amount, "discount": name} for name, amount in discounts.items()]
    return {
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal - sum(included_in(line.item_level, line.rates) for line in sums),
        "total": net + sum(line.exclusive_tax for line in sums),
        "total_excluding_tax": net - sum(line.inclusive_tax for line in sums),
        "total_discount_amounts": amounts,
        "total_pretax_credit_amounts": [
            *({**amount, "type": "discount"} for amount in amounts),
            *(credit for line in sums for credit in line.credits),
        ],
        "total_taxes": [tax_entry(tax, reason) for tax in summed_taxes(tax for line in sums for tax in line.taxes)],
    }


def summed_taxes(taxes: Iterable[Tax]) -> list[Tax]:
    """One tax a rate, over all lines."""
    by_rate: dict[str, Tax] = {}
    for tax in taxes:
        former = by_rate.get(tax.rate.id, Tax(tax.rate, 0, 0))
        by_rate[tax.rate.id] = Tax(tax.rate, former.amount + tax.amount, former.taxable_amount + tax.taxable_amount)
    return list(by_rate.values())


def tax_entry(tax: Tax, reason: str) -> StripeObject:
    return {
        "amount": tax.amount,
        "tax_behavior": "inclusive" if tax.rate.inclusive else "exclusive",
        "tax_rate_details": {"tax_rate": tax.rate.id},
        "taxability_reason": reason,
        "taxable_amount": tax.taxable_amount,
        "type": "tax_rate_details",
    }


def taxability(invoice: StripeObject) -> str:
    """Why the invoice's taxes are what they are, as Stripe names it."""
    return UNTAXED.get(invoice["customer_tax_exempt"], TAXED)


def use_up_discounts(world: World, sums: Sequence[LineSum]) -> None:
    """Coupons that apply once have done so with the first invoice on which they took something off."""
    for line in sums:
        for name, amount in line.shares.items():
            if amount:
                use_up(world, name)


def _product(line: StripeObject) -> str | None:
    details = (line["pricing"] or {}).get("price_details")
    return str(details["product"]) if details else None
