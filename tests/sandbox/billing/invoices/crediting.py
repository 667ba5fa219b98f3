"""What a credit note credits: its lines with their shares of discounts and taxes, and the sums over them.

A line credited bit by bit gives back exactly its discounts and taxes in the end: each credit takes the rounded share of
all that is credited so far, less what earlier credit notes took.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.sandbox.billing.invoices.tax_rates import find_tax_rates
from tests.sandbox.billing.invoices.taxes import Tax, half_up, included_in, taxes_on
from tests.sandbox.billing.invoices.totals import rate_from, rates_of, tax_entry
from tests.sandbox.billing.money import extended, plain_decimal
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

AMOUNT_ONLY = ("amount", "invoice_line_item")  # of a line of the invoice; the rest is for lines of one's own
GRANT = "credit_balance_transaction"  # the type of what a credit grant took off a line, and its field
CUSTOM_ONLY = ("unit_amount", "unit_amount_decimal", "description")


@dataclass(frozen=True, slots=True)
class Credit:
    """One line of a credit note, in minor units. `item_level` is its amount less the line's own discounts."""

    amount: int
    item_level: int
    net: int
    taxes: list[Tax]
    inclusive_of_item_level: int
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def exclusive_tax(self) -> int:
        return sum(tax.amount for tax in self.taxes if not tax.rate.inclusive)

    @property
    def inclusive_tax(self) -> int:
        return sum(tax.amount for tax in self.taxes if tax.rate.inclusive)


def credits_of(world: World, invoice: StripeObject, parameters: Parameters) -> list[Credit]:
    """The lines that the parameters `lines` or `amount` ask for. Raises `StripeError`."""
    if ("lines" in parameters) == ("amount" in parameters):
        raise StripeError(
            "Exactly one of `amount` and `lines` must be given.",
            code="parameters_exclusive" if "lines" in parameters else "parameter_missing",
            param="amount",
        )
    if "amount" in parameters:
        if parameters["amount"] <= 0:
            raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
        return [_custom(world, {"unit_amount": parameters["amount"]}, "amount")]
    asked: list[Credit] = []
    for place, given in enumerate(parameters["lines"]):
        param = f"lines[{place}]"
        if given["type"] == "custom_line_item":
            asked.append(_custom(world, given, param))
        else:
            asked.append(_of_line(world, invoice, given, param))
    return asked


def shown_lines(world: World, asked: Sequence[Credit], reason: str) -> list[StripeObject]:
    """The lines as Stripe shows them."""
    return [
        world.skeletons.new(
            "credit_note_line_item",
            id=world.ids.new("cnli"),
            amount=credit.amount,
            discount_amount=sum(entry["amount"] for entry in credit.fields.get("discount_amounts", [])),
            taxes=[tax_entry(tax, reason) for tax in credit.taxes],
            **credit.fields,
        )
        for credit in asked
    ]


def credit_totals(asked: Sequence[Credit], lines: Sequence[StripeObject]) -> StripeObject:
    """The sums of a credit note. Its subtotal has the lines' own discounts in it, and not the invoice's."""
    subtotal = sum(credit.item_level for credit in asked)
    net = sum(credit.net for credit in asked)
    total = net + sum(credit.exclusive_tax for credit in asked)
    discounts: dict[str, int] = {}
    for line in lines:
        for entry in line["discount_amounts"]:
            discounts[entry["discount"]] = discounts.get(entry["discount"], 0) + entry["amount"]
    amounts = [{"amount": amount, "discount": name} for name, amount in discounts.items()]
    return {
        "amount": total,
        "discount_amount": sum(discounts.values()),
        "discount_amounts": amounts,
        "pretax_credit_amounts": [
            *({**amount, "type": "discount"} for amount in amounts),
            *(entry for line in lines for entry in line["pretax_credit_amounts"] if entry["type"] == GRANT),
        ],
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal - sum(credit.inclusive_of_item_level for credit in asked),
        "total": total,
        "total_excluding_tax": net - sum(credit.inclusive_tax for credit in asked),
        "total_taxes": _summed_taxes(lines),
    }


def _custom(world: World, given: Parameters, param: str) -> Credit:
    """A line of one's own: taxed by the rates or amounts given, and without discounts."""
    refused = next((name for name in AMOUNT_ONLY if name in given), None)
    if refused is not None:
        raise StripeError(f"`{refused}` goes with `type=invoice_line_item`.", param=f"{param}[{refused}]")
    if ("unit_amount" in given) == ("unit_amount_decimal" in given):
        raise StripeError(
            "You must specify exactly one of `unit_amount` and `unit_amount_decimal`.",
            code="parameter_missing",
            param=f"{param}[unit_amount]",
        )
    unit = Decimal(given["unit_amount_decimal"] if "unit_amount_decimal" in given else given["unit_amount"])
    quantity = given.get("quantity", 1)
    amount = extended(unit, Decimal(quantity))
    rates = find_tax_rates(world, given.get("tax_rates"), param=f"{param}[tax_rates]")
    if given.get("tax_amounts"):
        taxes, rates = _taxes_given(world, given, param)
    else:
        taxes = taxes_on(amount, [rate_from(rate) for rate in rates])
    fields = {
        "description": given.get("description"),
        "metadata": given.get("metadata"),
        "quantity": quantity,
        "tax_rates": rates,
        "type": "custom_line_item",
        "unit_amount": int(unit) if unit == int(unit) else None,
        "unit_amount_decimal": plain_decimal(unit),
    }
    included = sum(tax.amount for tax in taxes if tax.rate.inclusive)
    return Credit(amount, amount, amount, taxes, included, fields)


def _of_line(world: World, invoice: StripeObject, given: Parameters, param: str) -> Credit:
    """A part of one line of the invoice, or all of it, with that share of its discounts and taxes."""
    refused = next((name for name in CUSTOM_ONLY if name in given), None)
    if refused is not None:
        raise StripeError(f"`{refused}` goes with `type=custom_line_item`.", param=f"{param}[{refused}]")
    line = next((line for line in world.lines[invoice["id"]] if line["id"] == given.get("invoice_line_item")), None)
    if line is None:
        name = given.get("invoice_line_item", "")
        raise resource_missing("invoice line item", name, param=f"{param}[invoice_line_item]", status=400)
    former = _former_credits(world, line["id"], invoice["id"])
    amount = _line_amount(line, given, former, param)
    share = _Share(line["amount"], amount, former)
    discounts = [
        {**entry, "amount": share.of(entry["amount"], "discount_amounts", "discount", entry["discount"])}
        for entry in line["discount_amounts"]
    ]
    granted = [
        {**entry, "amount": share.of(entry["amount"], "pretax_credit_amounts", GRANT, entry[GRANT])}
        for entry in line["pretax_credit_amounts"]
        if entry["type"] == GRANT
    ]
    net = amount - sum(entry["amount"] for entry in [*discounts, *granted])
    item_level = amount - sum(entry["amount"] for entry in discounts if entry["discount"] in line["discounts"])
    rates = rates_of(world, invoice, line)
    if given.get("tax_amounts"):
        taxes, shown_rates = _taxes_given(world, given, param)
    elif given.get("tax_rates"):
        shown_rates = find_tax_rates(world, given["tax_rates"], param=f"{param}[tax_rates]")
        taxes = taxes_on(net, [rate_from(rate) for rate in shown_rates])
    else:
        shown_rates = [world.store.get("tax_rate", rate.id) for rate in rates]
        taxes = [
            Tax(rate, share.of_tax(entry, "amount"), share.of_tax(entry, "taxable_amount"))
            for rate, entry in zip(rates, line["taxes"], strict=True)
        ]
    quantity = given.get("quantity")
    unit = line["pricing"]["unit_amount_decimal"] if quantity is not None and line["pricing"] else None
    fields = {
        "description": line["description"],
        "discount_amounts": discounts,
        "invoice_line_item": line["id"],
        "metadata": given.get("metadata"),
        "pretax_credit_amounts": [*({**entry, "type": "discount"} for entry in discounts), *granted],
        "quantity": quantity,
        "tax_rates": shown_rates,
        "type": "invoice_line_item",
        "unit_amount": int(unit) if unit is not None and Decimal(unit) == int(Decimal(unit)) else None,
        "unit_amount_decimal": unit,
    }
    return Credit(amount, item_level, net, taxes, included_in(item_level, [tax.rate for tax in taxes]), fields)


@dataclass(frozen=True, slots=True)
class _Share:
    """The part `amount` of `whole`, after the credit note lines `former` of the same invoice line."""

    whole: int
    amount: int
    former: list[StripeObject]

    def of(self, value: int, entries: str, key: str, name: str) -> int:
        taken = sum(entry["amount"] for line in self.former for entry in line[entries] if entry.get(key) == name)
        return self._rounded(value) - taken

    def of_tax(self, tax: StripeObject, field_name: str) -> int:
        rate = tax["tax_rate_details"]["tax_rate"]
        taken = sum(
            entry[field_name]
            for line in self.former
            for entry in line["taxes"]
            if entry["tax_rate_details"]["tax_rate"] == rate
        )
        return self._rounded(tax[field_name]) - taken

    def _rounded(self, value: int) -> int:
        so_far = self.amount + sum(line["amount"] for line in self.former)
        return half_up(Fraction(value * so_far, self.whole)) if self.whole else 0


def _line_amount(line: StripeObject, given: Parameters, former: list[StripeObject], param: str) -> int:
    """Minor units of the line that are credited. Raises `StripeError` for more than is left of it."""
    if ("amount" in given) == ("quantity" in given):
        raise StripeError(
            "Exactly one of `amount` and `quantity` must be given for an invoice line item.",
            code="parameters_exclusive" if "amount" in given else "parameter_missing",
            param=f"{param}[quantity]",
        )
    left = line["amount"] - sum(credit["amount"] for credit in former)
    if "quantity" in given:
        name, bound = "quantity", Decimal(line["quantity_decimal"])
        units = given["quantity"]
        exact = Fraction(line["amount"] * units) / Fraction(bound) if bound else Fraction(0)
        amount = line["amount"] if units == bound else half_up(exact)
        too_much = units > bound
    else:
        name, amount, too_much = "amount", given["amount"], False
    if amount <= 0 or amount > left or too_much:
        raise StripeError(
            f"You can credit between 1 and {left} of this line, in the smallest units of its currency.",
            param=f"{param}[{name}]",
        )
    return amount


def _former_credits(world: World, line_id: str, invoice_id: str) -> list[StripeObject]:
    notes = [note for note in world.store.where("credit_note", "invoice", invoice_id) if note["status"] == "issued"]
    lines = [line for note in notes for line in world.credit_note_lines[note["id"]]]
    return [line for line in lines if line.get("invoice_line_item") == line_id]


def _taxes_given(world: World, given: Parameters, param: str) -> tuple[list[Tax], list[StripeObject]]:
    """Taxes that the request names itself."""
    if given.get("tax_rates"):
        raise StripeError(
            "You may only specify one of these parameters: tax_amounts, tax_rates.",
            code="parameters_exclusive",
            param=f"{param}[tax_amounts]",
        )
    rates = find_tax_rates(world, [entry["tax_rate"] for entry in given["tax_amounts"]], param=f"{param}[tax_amounts]")
    taxes = [
        Tax(rate_from(rate), entry["amount"], entry["taxable_amount"])
        for rate, entry in zip(rates, given["tax_amounts"], strict=True)
    ]
    return taxes, rates


def _summed_taxes(lines: Sequence[StripeObject]) -> list[StripeObject]:
    by_rate: dict[str, StripeObject] = {}
    for line in lines:
        for entry in line["taxes"]:
            rate = entry["tax_rate_details"]["tax_rate"]
            former = by_rate.get(rate, {**entry, "amount": 0, "taxable_amount": 0})
            by_rate[rate] = {
                **former,
                "amount": former["amount"] + entry["amount"],
                "taxable_amount": former["taxable_amount"] + entry["taxable_amount"],
            }
    return list(by_rate.values())
