"""Around every page of the sandbox: where one can go, the clock with its buttons, and what the last move did."""

from collections.abc import Iterable

from tests.sandbox.core.clock import Clock
from tests.sandbox.pages.kinds import KINDS
from tests.sandbox.pages.layout import Html, anchor, document, html, joined, moment, moment_text
from tests.sandbox.world import World

SECTIONS = (
    ("/", "Overview"),
    *((KINDS[name].path, KINDS[name].title) for name in ("customer", "subscription", "invoice", "payment_intent")),
    ("/events", "Events"),
    ("/requests", "Requests"),
    ("/clock", "Clock"),
    ("/faults", "Faults"),
    ("/everything", "Everything"),
)
# What a button of the clock is called in a form, and on the page.
MOVES = (("hour", "+1 hour"), ("day", "+1 day"), ("week", "+1 week"), ("month", "To next month"), ("due", "Next due"))


def framed(world: World, title: str, path: str, parts: Iterable[Html], *, notice: Html | None = None) -> str:
    """A whole page: navigation, the account's clock, and `parts`."""
    links = "".join(f"<li>{anchor(target, name, current=path == target)}</li>" for target, name in SECTIONS)
    body = (
        '<a class="skip" href="#content">Skip to the content</a><header>'
        f'<a class="brand" href="/">Stripe sandbox</a><nav aria-label="Pages"><ul>{links}</ul></nav>'
        '<form class="search" action="/search" role="search">'
        '<input name="q" type="search" placeholder="Id, name, e-mail" aria-label="Find an object"></form>'
        f"{_clock(world)}</header>"
        f'<main id="content">{notice or ""}<h1>{html(title)}</h1>{joined(parts)}</main>'
    )
    return document(title, Html(body), body_class="sandbox")


def move_form(action: str, clock: Clock) -> Html:
    """The buttons that move a clock, and a field for any moment."""
    buttons = "".join(
        f'<button name="move" value="{value}"{_disabled(value, clock)}>{name}</button>' for value, name in MOVES
    )
    return Html(f'<form class="moves" method="post" action="{action}">{buttons}</form>')


def moment_form(action: str, clock: Clock) -> Html:
    text = moment_text(clock.now)
    return Html(
        f'<form method="post" action="{action}"><input type="hidden" name="move" value="moment">'
        f'<label>To a moment (UTC) <input name="moment" value="{text}" size="19" required '
        'pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9:]{5,8}(Z|\\+00:00)?)?|[0-9]+" '
        'title="2026-11-01, 2026-11-01 12:30 or Unix seconds"></label><button>Move</button></form>'
    )


def _clock(world: World) -> Html:
    clock = world.account_clock
    due = clock.next_due()
    following = f'<span class="soft">next due {moment(due)}</span>' if due is not None else ""
    return Html(
        f'<div class="clock"><a class="now" href="/clock">{moment(clock.now)} <small>UTC</small></a>{following}'
        f"{move_form('/clock', clock)}</div>"
    )


def _disabled(move: str, clock: Clock) -> str:
    return " disabled" if move == "due" and clock.next_due() is None else ""
