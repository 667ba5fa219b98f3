"""The lines of a subscription's invoice: licensed prices in advance, metered ones afterwards, trials for nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from tests.sandbox.billing.invoices.lines import line_of_subscription_item
from tests.sandbox.billing.prices.metering import usage_of
from tests.sandbox.billing.prices.pricing import PricedPart, is_metered, priced_parts
from tests.sandbox.billing.subscriptions.prorating import share
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World


@dataclass(frozen=True, slots=True)
class Span:
    """[start, end) of Unix seconds, charged as its part of the whole period that it lies in."""

    start: int
    end: int
    whole_start: int
    whole_end: int

    @property
    def whole(self) -> bool:
        return (self.start, self.end) == (self.whole_start, self.whole_end)


@dataclass(slots=True)
class BilledUsage:
    """Usage on a draft, to be looked at again when it becomes final: in [`used_from`, `used_until`)."""

    item: StripeObject
    used_from: int
    used_until: int
    period: tuple[int, int]
    even_zero: bool
    lines: list[str] = field(default_factory=list)


def metered(item: StripeObject) -> bool:
    return is_metered(item["price"])


def add_licensed_lines(world: World, invoice: StripeObject, item: StripeObject, span: Span) -> None:
    """One line, or one a tier, for a licensed item over `span`."""
    for part in priced_parts(world, item["price"], Decimal(item["quantity"]), currency=invoice["currency"]):
        amount = part.amount
        if not span.whole:
            amount = share(
                amount, start=span.start, end=span.end, whole_start=span.whole_start, whole_end=span.whole_end
            )
        _add(world, invoice, item, part, amount=amount, period=(span.start, span.end))


def add_usage_lines(
    world: World,
    invoice: StripeObject,
    item: StripeObject,
    period: tuple[int, int],
    *,
    even_zero: bool,
    last: bool = False,
) -> None:
    """What was used in `period`. An invoice of a new cycle shows a usage of nothing too, any other does not.

    `last`: no other bill follows, so that what was used at the end's own second is on this one.
    """
    billed = BilledUsage(copied(item), used_from(world, item, period), period[1] + last, period, even_zero)
    lines = lines_of_usage(world, invoice, billed)
    billed.lines = [line["id"] for line in lines]
    world.lines[invoice["id"]] += lines
    world.billed_usage.setdefault(invoice["id"], []).append(billed)


def lines_of_usage(world: World, invoice: StripeObject, billed: BilledUsage) -> list[StripeObject]:
    """New lines for the usage as it is known now."""
    used = usage_of(world, billed.item["price"], invoice["customer"], billed.used_from, billed.used_until)
    parts = priced_parts(world, billed.item["price"], used, currency=invoice["currency"])
    return [
        _line(world, invoice, billed.item, part, amount=part.amount, period=billed.period)
        for part in parts
        if part.amount or billed.even_zero
    ]


def used_from(world: World, item: StripeObject, period: tuple[int, int]) -> int:
    """Where the usage of `period` begins that was not billed already when the item's price changed."""
    return max(period[0], world.usage_billed_until.get(item["id"], period[0]))


def usage_parts(
    world: World, customer_id: str, currency: str, item: StripeObject, period: tuple[int, int], *, last: bool
) -> Sequence[PricedPart]:
    """The priced usage of a metered item in `period`, less what was billed already when its price changed.

    `last` is as for `add_usage_lines`.
    """
    used = usage_of(world, item["price"], customer_id, used_from(world, item, period), period[1] + last)
    return priced_parts(world, item["price"], used, currency=currency)


def add_trial_line(world: World, invoice: StripeObject, item: StripeObject, period: tuple[int, int]) -> None:
    name = world.store.get("product", item["price"]["product"])["name"]
    quantity = Decimal(item.get("quantity", 0))
    part = PricedPart(0, quantity, item["price"]["unit_amount_decimal"], f"Free trial for {quantity} × {name}")
    _add(world, invoice, item, part, amount=0, period=period)


def _add(
    world: World,
    invoice: StripeObject,
    item: StripeObject,
    part: PricedPart,
    *,
    amount: int,
    period: tuple[int, int],
) -> None:
    world.lines[invoice["id"]].append(_line(world, invoice, item, part, amount=amount, period=period))


def _line(
    world: World,
    invoice: StripeObject,
    item: StripeObject,
    part: PricedPart,
    *,
    amount: int,
    period: tuple[int, int],
) -> StripeObject:
    return line_of_subscription_item(
        world,
        invoice,
        item,
        amount=amount,
        period=period,
        description=part.description,
        quantity=part.quantity,
        unit_amount_decimal=part.unit_amount_decimal,
    )
