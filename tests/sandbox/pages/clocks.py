"""The account's clock and the test clocks: what is due on them, moving them, and what a move did."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.sandbox.core.clock import Clock
from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.frame import moment_form, move_form
from tests.sandbox.pages.layout import (
    Html,
    anchor,
    empty,
    facts,
    html,
    joined,
    link,
    moment,
    object_path,
    section,
    table,
)
from tests.sandbox.pages.moves import Move, events_of
from tests.sandbox.pages.naming import link_to, reason, without_ids
from tests.sandbox.pages.tables import related_table
from tests.sandbox.world import World

DUE_SHOWN = 30
LINKS_SHOWN = 6
TEST_CLOCK = "test_helpers.test_clock"


def clock_page(world: World, moves: Sequence[Move]) -> list[Html]:
    clock = world.account_clock
    test_clocks = world.store.all(TEST_CLOCK)
    return [
        section("The account's clock", _face(clock), move_form("/clock", clock), moment_form("/clock", clock)),
        section("Due next", due_table(world, clock), aside=html(f"{len(clock.waiting()):,} waiting")),
        section("Moves from this page", _moves(world, moves)),
        section("Test clocks", _test_clocks(world, test_clocks)),
    ]


def test_clock_parts(world: World, test_clock: StripeObject) -> list[Html]:
    clock = world.clock_with(test_clock["id"])
    path = f"{object_path(test_clock['id'])}/move"
    customers = world.store.where("customer", "test_clock", test_clock["id"])
    return [
        section("Its time", _face(clock), move_form(path, clock), moment_form(path, clock)),
        section("Due next", due_table(world, clock)),
        section("Customers who live by it", related_table(world, "customer", customers)),
    ]


def due_table(world: World, clock: Clock, *, shown: int = DUE_SHOWN) -> Html:
    waiting = clock.waiting()
    rows = [[moment(due.moment), reason(world, due.what)] for due in waiting[:shown]]
    nothing = "Nothing: a subscription, a draft or a failed payment plans work."
    return table(["When", "What"], rows, nothing=nothing, kind="wrapped")


def move_page(world: World, move: Move) -> list[Html]:
    """What happened during a move, by type of event."""
    events = events_of(world, move)
    by_type: dict[str, list[StripeObject]] = defaultdict(list)
    for event in events:
        by_type[event["type"]].append(event)
    rows = []
    for name, group in sorted(by_type.items()):
        links = [link_to(world, event["data"]["object"].get("id")) for event in group[:LINKS_SHOWN]]
        more = [f"and {len(group) - LINKS_SHOWN:,} more"] if len(group) > LINKS_SHOWN else []
        rows.append([link(group[0]["id"], name), len(group), joined([*links, *more], ", ")])
    causes = Counter(without_ids(cause.what) for event in events if (cause := world.causes.get(event["id"])))
    pairs: list[tuple[str, object]] = [
        ("Clock", link_to(world, move.test_clock) if move.test_clock else "the account's"),
        ("From", moment(move.start)),
        ("To", moment(move.end)),
        ("Events", f"{len(events):,}"),
        ("Caused by", ", ".join(f"{what} ({count:,})" for what, count in causes.most_common(8)) or "–"),
    ]
    nothing = "Nothing was due on the way."
    return [
        section("The move", facts(pairs)),
        section("Events by type", table(["Type", "#Events", "About"], rows, nothing=nothing, kind="flowing")),
    ]


def move_notice(world: World, move: Move) -> Html:
    """One line on what a move did, for the page one came back to."""
    counts = Counter(event["type"] for event in events_of(world, move))
    said = ", ".join(f"{count:,} {name}" for name, count in counts.most_common(4)) or "nothing was due"
    more = f", and {len(counts) - 4} more types" if len(counts) > 4 else ""
    which = joined(["Test clock ", link_to(world, move.test_clock)]) if move.test_clock else "Clock"
    details = anchor(f"/moves/{move.number}", "What happened")
    return Html(
        f'<div class="notice" role="status">{which} moved from {moment(move.start)} to {moment(move.end)}: '
        f"{html(said + more)}. {details}</div>"
    )


def _face(clock: Clock) -> Html:
    due = clock.next_due()
    following = joined(["next due ", moment(due)]) if due is not None else "nothing is due"
    return Html(f'<p class="face">{moment(clock.now)} <small>UTC</small> <span class="soft">{following}</span></p>')


def _moves(world: World, moves: Sequence[Move]) -> Html:
    rows = [
        [
            anchor(f"/moves/{move.number}", f"Move {move.number}"),
            link_to(world, move.test_clock) if move.test_clock else "account",
            moment(move.start),
            moment(move.end),
            len(events_of(world, move)),
        ]
        for move in reversed(moves[-10:])
    ]
    nothing = "None yet. The buttons are above and beside every page; POST /_sandbox/clock moves it from a program."
    return table(["Move", "Clock", "From", "To", "#Events"], rows, nothing=nothing)


def _test_clocks(world: World, test_clocks: Sequence[StripeObject]) -> Html:
    if not test_clocks:
        return empty("None. POST /v1/test_helpers/test_clocks makes one; customers made with it live by its time.")
    rows = []
    for test_clock in reversed(test_clocks[-20:]):
        clock = world.clock_with(test_clock["id"])
        due = clock.next_due()
        buttons = move_form(f"{object_path(test_clock['id'])}/move", clock)
        rows.append([link_to(world, test_clock["id"]), moment(clock.now), moment(due), buttons])
    return table(["Test clock", "Time", "Next due", "Move"], rows)
