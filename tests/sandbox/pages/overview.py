"""The first page: what there is, what comes next, what was asked last, and whether all is well."""

from collections import Counter

from tests.sandbox.core.store import StripeObject
from tests.sandbox.delivery import Deliveries
from tests.sandbox.pages.clocks import TEST_CLOCK, due_table
from tests.sandbox.pages.kinds import GROUPS, Kind, kind_of
from tests.sandbox.pages.layout import Html, anchor, badge, code, html, joined, link, section, table
from tests.sandbox.pages.requests import request_table, seen
from tests.sandbox.pages.tables import matches, related_table
from tests.sandbox.pages.timeline import plain_error
from tests.sandbox.world import World

REQUESTS_SHOWN = 12
DUE_SHOWN = 6
PROBLEMS_SHOWN = 5
FOUND_SHOWN = 20
NOT_LISTED = frozenset({"event", "v2.core.event"})


def overview(world: World, deliveries: Deliveries) -> list[Html]:
    latest = seen(world)[:REQUESTS_SHOWN]
    requests = section(
        "Latest requests",
        request_table(world, latest, nothing="None yet: point a Stripe SDK at this address."),
        aside=anchor("/requests", "All requests"),
    )
    due = section("Due next", due_table(world, world.account_clock, shown=DUE_SHOWN), aside=anchor("/clock", "Clock"))
    health = [_webhooks(world, deliveries), _conformance(world)]
    clocks = world.store.all(TEST_CLOCK)
    if clocks:
        health.append(section("Test clocks", related_table(world, TEST_CLOCK, clocks)))
    if world.faults.active():
        modes = joined((badge(fault.mode) for fault in world.faults.active()), " ")
        health.insert(0, section("Faults in force", Html(f"<p>{modes}</p>"), aside=anchor("/faults", "Faults")))
    empty = next(world.store.counts(), None) is None
    start = [section("Start here", first_steps(world.settings.address))] if empty else []
    return [*start, counts(world), due, Html(f'<div class="columns">{joined(health)}</div>'), requests, _reset()]


def counts(world: World) -> Html:
    """The kinds of objects there are, grouped, each a link to its list."""
    there = dict(world.store.counts())
    named = {name for _, names in GROUPS for name in names} | NOT_LISTED
    groups = [*GROUPS, ("More", tuple(name for name in there if name not in named))]
    parts = []
    for title, names in groups:
        tiles = [_tile(kind_of(name), there[name]) for name in names if name in there]
        if tiles:
            parts.append(Html(f"<div><h3>{html(title)}</h3><ul>{joined(tiles)}</ul></div>"))
    events = there.get("event", 0)
    aside = anchor("/events", f"{events:,} events")
    return (
        section("This account", Html(f'<div class="counts">{joined(parts)}</div>'), aside=aside) if parts else Html("")
    )


def _tile(kind: Kind, count: int) -> Html:
    return Html(f"<li>{anchor(kind.path, joined([Html(f'<b>{count:,}</b> '), kind.title]))}</li>")


def everything(world: World) -> list[Html]:
    there = counts(world)
    return [there or section("Everything", Html('<p class="empty">The account is empty.</p>'))]


def search_page(world: World, words: str) -> list[Html]:
    """Objects of every kind whose id, name, e-mail or number holds the words."""
    lowered = words.lower()
    parts = []
    for name, _ in world.store.counts():
        if name not in NOT_LISTED and lowered:
            found = [thing for thing in world.store.all(name) if _names(thing, lowered)]
            if not found and name in ("subscription", "invoice"):
                found = [thing for thing in world.store.all(name) if matches(world, thing, lowered)]
            if found:
                title = f"{kind_of(name).title} ({len(found):,})"
                parts.append(section(title, related_table(world, name, found[-FOUND_SHOWN:])))
    nothing = f"Nothing is called {words!r}." if words else "Write an id, a name, an e-mail or an invoice's number."
    return parts or [section("Search", Html(f'<p class="empty">{html(nothing)}</p>'))]


def first_steps(address: str) -> Html:
    """What to type to see something here."""
    lines = (
        f"curl {address}/v1/customers -u sk_test_123: -d name=Ada -d email=ada@example.com \\\n"
        "  -d payment_method=pm_card_visa -d 'invoice_settings[default_payment_method]=pm_card_visa'\n"
        f"curl {address}/v1/prices -u sk_test_123: -d currency=usd -d unit_amount=2000 \\\n"
        "  -d 'recurring[interval]=month' -d 'product_data[name]=Pro'\n"
        f"curl {address}/v1/subscriptions -u sk_test_123: -d customer=cus_… -d 'items[0][price]=price_…'"
    )
    sdk = f'stripe.StripeClient("sk_test_123", base_addresses={{"api": "{address}"}})'
    return Html(
        f'<p>Any key that begins with sk_test_ is let in.</p><pre tabindex="0">{html(lines)}</pre>'
        f'<p>Or from Python:</p><pre tabindex="0">{html(sdk)}</pre>'
        "<p>Then move the clock, and look at what happened to the customer.</p>"
    )


def _names(thing: StripeObject, words: str) -> bool:
    return any(
        words in value.lower()
        for field in ("id", "name", "email", "number", "description", "nickname", "code", "url")
        if isinstance(value := thing.get(field), str)
    )


def _webhooks(world: World, deliveries: Deliveries) -> Html:
    by_endpoint: dict[str, Counter[str]] = {}
    last: dict[str, str] = {}
    for delivery in deliveries.log:
        by_endpoint.setdefault(delivery.endpoint, Counter())[delivery.state] += 1
        if delivery.attempts and delivery.attempts[-1].get("error"):
            last[delivery.endpoint] = plain_error(delivery.attempts[-1])
    rows = []
    for endpoint in world.store.all("webhook_endpoint"):
        states = by_endpoint.get(endpoint["id"], Counter())
        said = [Html(f"{badge(state)} {count:,}") for state, count in states.most_common()]
        error = (
            Html(f'<br><span class="bad">{html(last[endpoint["id"]][:120])}</span>') if endpoint["id"] in last else ""
        )
        rows.append([joined([link(endpoint["id"], endpoint["url"]), error]), joined(said, " ") or "nothing sent yet"])
    nothing = Html(
        f"Nobody listens. {code('POST /v1/webhook_endpoints')} names a receiver; every later event goes there."
    )
    content = table(["Endpoint", "Deliveries"], rows, nothing=nothing, kind="wrapped")
    return section("Webhooks", content, aside=anchor("/events", "Events"))


def _conformance(world: World) -> Html:
    if not world.settings.strict:
        said = "Not checked: the sandbox runs without --strict."
        return section("Conformance", Html(f'<p class="empty">{said}</p>'))
    if not world.problems:
        return section("Conformance", Html('<p><span class="badge good">all valid</span> by Stripe\'s document.</p>'))
    rows = [[problem] for problem in world.problems[-PROBLEMS_SHOWN:][::-1]]
    aside = html(f"{len(world.problems):,} problems")
    return section("Conformance", table(["Not allowed by Stripe's document"], rows, kind="wrapped"), aside=aside)


def _reset() -> Html:
    return Html(f'<p class="soft end">{anchor("/reset", "Reset the account …")}</p>')
