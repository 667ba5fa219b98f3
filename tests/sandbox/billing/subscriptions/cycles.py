"""The billing periods of a subscription's items: the one that runs, the next one, and the lines that it brings."""

from collections.abc import Mapping, Sequence

from tests.sandbox.billing.subscriptions.anchoring import interval_of, spans_since, truncated
from tests.sandbox.billing.subscriptions.item_terms import items_of
from tests.sandbox.billing.subscriptions.period_lines import Span, add_licensed_lines, add_usage_lines, metered
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def period_end(subscription: StripeObject) -> int:
    """When the next of its items' periods ends."""
    return min(int(item["current_period_end"]) for item in items_of(subscription))


def current_period(subscription: StripeObject) -> tuple[int, int]:
    """The latest start and the earliest end of its items' periods, as Stripe counts a subscription's own."""
    return max(int(item["current_period_start"]) for item in items_of(subscription)), period_end(subscription)


def next_spans(subscription: StripeObject, items: Sequence[StripeObject]) -> dict[str, Span]:
    """By item: what follows its current period, up to a cancellation that comes earlier."""
    anchor = subscription["billing_cycle_anchor"]
    spans = {}
    for item in items:
        start = item["current_period_end"]
        following = spans_since(start, anchor, interval_of(item["price"]), start)[0]
        spans[item["id"]] = truncated(following, subscription["cancel_at"])
    return spans


def begun(item: StripeObject, span: Span) -> StripeObject:
    """A copy of the item in its next period."""
    return {**item, "current_period_start": span.start, "current_period_end": span.end}


def add_cycle_lines(
    world: World,
    invoice: StripeObject,
    items: Sequence[StripeObject],
    spans: Mapping[str, Span],
    *,
    with_usage: bool,
) -> None:
    """For each item, in their order: a licensed one's next period, a metered one's usage of the period that ended."""
    for item in items:
        if not metered(item):
            add_licensed_lines(world, invoice, item, spans[item["id"]])
        elif with_usage:
            period = (item["current_period_start"], item["current_period_end"])
            add_usage_lines(world, invoice, item, period, even_zero=True)
