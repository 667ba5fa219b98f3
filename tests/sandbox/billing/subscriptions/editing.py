"""What `items[]` of an update does to a subscription's items: worked out on copies, nothing touched."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.sandbox.billing.subscriptions.item_terms import (
    describe_items,
    edited_item,
    find_item,
    items_of,
    new_item,
    redeem_item_discounts,
    require_together,
)
from tests.sandbox.billing.subscriptions.period_lines import metered
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

EDITS = frozenset(
    {"clear_usage", "deleted", "discounts", "id", "metadata", "price", "price_data", "quantity", "tax_rates"}
)


@dataclass(slots=True)
class Edits:
    """`after` are all items as they will be; of the others, those that a proration is about."""

    after: list[StripeObject]
    removed: list[StripeObject] = field(default_factory=list)
    replaced: list[tuple[StripeObject, StripeObject]] = field(default_factory=list)  # before and after
    added: list[StripeObject] = field(default_factory=list)

    @property
    def credited(self) -> list[StripeObject]:
        return self.removed + [before for before, _ in self.replaced]

    @property
    def debited(self) -> list[StripeObject]:
        return [after for _, after in self.replaced] + self.added


def edited_items(world: World, subscription: StripeObject, given: Sequence[Parameters]) -> Edits:
    """The items after the entries of `items[]`. Raises `StripeError` for what is not there, or may not be together."""
    edits = Edits(list(items_of(subscription)))
    named: set[str] = set()
    for place, entry in enumerate(given):
        where = f"items[{place}]"
        refuse_unsupported(entry, EDITS, f"a subscription item ({where})")
        if "id" not in entry:
            _add(world, subscription, edits, entry, where)
            continue
        if entry["id"] in named:
            raise StripeError(f"The subscription item {entry['id']} is named twice.", param=f"{where}[id]")
        named.add(entry["id"])
        item = find_item(subscription, entry["id"], where)
        _require_meter_for_clearing(item, entry, where)
        if entry.get("deleted"):
            edits.after.remove(item)
            edits.removed.append(item)
        else:
            changed = edited_item(world, item, entry, where)
            edits.after[edits.after.index(item)] = changed
            if describe_items([item]) != describe_items([changed]):
                edits.replaced.append((item, changed))
    if given:
        require_together(world, edits.after, subscription["currency"])
    return edits


def redeem_discounts(world: World, subscription: StripeObject, edits: Edits, given: Sequence[Parameters]) -> None:
    """Redeem what the entries say about discounts of their items."""
    added = iter(edits.added)
    by_id = {item["id"]: item for item in edits.after}
    for place, entry in enumerate(given):
        item = by_id.get(entry["id"]) if "id" in entry else next(added)
        if item is not None:
            redeem_item_discounts(
                world, item, entry, f"items[{place}]", customer=subscription["customer"], told="id" in entry
            )


def _add(world: World, subscription: StripeObject, edits: Edits, entry: Parameters, where: str) -> None:
    if entry.get("deleted") or entry.get("clear_usage"):
        raise StripeError(f"Missing required param: {where}[id].", code="parameter_missing", param=f"{where}[id]")
    terms = {name: value for name, value in entry.items() if name not in ("deleted", "clear_usage")}
    item = new_item(world, subscription["id"], terms, where)
    edits.after.append(item)
    edits.added.append(item)


def _require_meter_for_clearing(item: StripeObject, entry: Parameters, where: str) -> None:
    """`clear_usage` is from before meters: allowed for metered prices, and without effect on a meter's events."""
    if entry.get("clear_usage") and not metered(item):
        raise StripeError("You can only clear the usage of metered items.", param=f"{where}[clear_usage]")
