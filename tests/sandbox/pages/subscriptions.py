"""A subscription's page: what is sold, its periods and invoices over time, and the proration that waits."""

from tests.sandbox.billing.invoices.invoicing import item_subscription, pending_items
from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.charts import Lane, Mark, Span, lanes_chart
from tests.sandbox.pages.circle import invoices_of
from tests.sandbox.pages.layout import (
    Html,
    badge,
    day,
    facts,
    html,
    joined,
    link,
    moment,
    money,
    section,
    table,
    unit_price,
)
from tests.sandbox.pages.naming import link_to, name_of
from tests.sandbox.pages.tables import related_table
from tests.sandbox.world import World

PERIODS_SHOWN = 24
ENDED = ("canceled", "incomplete_expired")


def subscription_parts(world: World, subscription: StripeObject) -> list[Html]:
    invoices = invoices_of(world, subscription)
    parts = [
        section("In short", facts(_facts(world, subscription))),
        section("Items", _items(world, subscription)),
        section("Over time", _chart(world, subscription, invoices)),
        section(f"Invoices ({len(invoices)})", related_table(world, "invoice", invoices, without="customer")),
    ]
    prorations = _prorations(world, subscription, invoices)
    if prorations:
        parts.append(section("Prorations", table(["At", "What", "#Amount", "On invoice"], prorations)))
    return parts


def _facts(world: World, subscription: StripeObject) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = [
        ("Customer", link_to(world, subscription["customer"])),
        (
            "Collected",
            "by the default card" if subscription["collection_method"] == "charge_automatically" else "by invoice",
        ),
        ("Latest invoice", link_to(world, subscription["latest_invoice"])),
        ("Periods count from", moment(subscription["billing_cycle_anchor"])),
    ]
    if subscription.get("trial_end"):
        pairs.append(("Trial", Html(f"{moment(subscription['trial_start'])} – {moment(subscription['trial_end'])}")))
    if subscription.get("pause_collection"):
        pairs.append(("Collection paused", subscription["pause_collection"].get("behavior", "yes")))
    if subscription["cancel_at_period_end"] or subscription["cancel_at"]:
        pairs.append(
            ("Will end", moment(subscription["cancel_at"]) if subscription["cancel_at"] else "with its period")
        )
    if subscription["ended_at"]:
        why = (subscription["cancellation_details"] or {}).get("reason") or "no reason given"
        pairs.append(("Ended", Html(f"{moment(subscription['ended_at'])}, {html(why.replace('_', ' '))}")))
    if subscription.get("schedule"):
        pairs.append(("Schedule", link_to(world, subscription["schedule"])))
    return pairs


def _items(world: World, subscription: StripeObject) -> Html:
    rows = [
        [
            link_to(world, item["price"]["product"]),
            link(item["price"]["id"], unit_price(item["price"])),
            item.get("quantity") if item.get("quantity") is not None else "by usage",
            joined(
                [moment(item["current_period_start"]), " – ", moment(item["current_period_end"])],
            ),
        ]
        for item in subscription["items"]["data"]
    ]
    return table(["Product", "Price", "#Quantity", "Current period"], rows)


def _chart(world: World, subscription: StripeObject, invoices: list[StripeObject]) -> Html:
    """Periods from the invoices' subscription lines, the invoices themselves where they were made, and the trial."""
    shown = invoices[-PERIODS_SHOWN:]
    items = subscription["items"]["data"]
    periods = {(item["current_period_start"], item["current_period_end"]): "current" for item in items}
    for invoice in shown:
        for line in world.lines[invoice["id"]]:
            if line["parent"] and line["parent"]["type"] == "subscription_item_details" and not _is_proration(line):
                span = (line["period"]["start"], line["period"]["end"])
                periods.setdefault(span, invoice["status"])
    now = world.clock_with(subscription.get("test_clock")).now
    ended = subscription["ended_at"] if subscription["status"] in ENDED else None
    if ended is not None:
        periods = {(first, min(last, ended)): "ended" for first, last in periods if first < ended}
    start = min([subscription["start_date"], *(first for first, _ in periods)])
    end = max([ended or now + 1, *(last for _, last in periods)])
    spans = [
        Span(first, last, "period current" if kind == "current" else "period", f"period {day(first)} – {day(last)}")
        for (first, last), kind in sorted(periods.items())
    ]
    marks = [
        Mark(
            invoice["created"],
            f"invoice {invoice['status']}",
            ", ".join(
                (
                    name_of(invoice),
                    invoice["status"],
                    money(invoice["total"], invoice["currency"]),
                    day(invoice["created"]),
                )
            ),
            invoice["id"],
        )
        for invoice in shown
    ]
    lanes = [Lane("Periods", spans), Lane("Invoices", marks=marks)]
    if subscription.get("trial_start") and subscription.get("trial_end"):
        trial = Span(subscription["trial_start"], subscription["trial_end"], "period trial", "trial")
        lanes.insert(0, Lane("Trial", [trial]))
    key = "".join(f'<span class="key invoice {name}"></span>{name} ' for name in sorted({i["status"] for i in shown}))
    legend = Html(f'<p class="legend">{key}</p>') if shown else Html("")
    return joined([legend, lanes_chart(lanes, start=start, end=end, now=now)])


def _prorations(world: World, subscription: StripeObject, invoices: list[StripeObject]) -> list[list[object]]:
    """The lines for parts of periods, and the items that wait for the next invoice."""
    rows: list[list[object]] = [
        [
            moment(line["period"]["start"]),
            line["description"],
            money(line["amount"], line["currency"]),
            link_to(world, invoice["id"]),
        ]
        for invoice in invoices
        for line in world.lines[invoice["id"]]
        if _is_proration(line)
    ]
    waiting = [
        item for item in pending_items(world, subscription["customer"]) if item_subscription(item) == subscription["id"]
    ]
    rows += [
        [moment(item["date"]), item["description"], money(item["amount"], item["currency"]), badge("waiting")]
        for item in waiting
    ]
    return rows


def _is_proration(line: StripeObject) -> bool:
    parent = line["parent"] or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration"))
