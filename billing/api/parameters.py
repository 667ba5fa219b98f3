"""What a request may ask for, read from its query and checked. Each function raises a Refusal."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from django.http import QueryDict

from billing.api.refusals import BadParameter, NotThere
from config import clock

FORMS = ("json", "text")
TEXT_MAX = 1024
EARLIEST, FURTHEST = datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=3652)

OUT_OF_REACH = f"Give an instant from {EARLIEST:%Y} on and at most ten years from now."


def require_known(query: QueryDict, known: Collection[str]) -> None:
    """Refuse what would be silently ignored: a misspelt parameter would answer another question than the one asked."""
    for name in query:
        if name not in known:
            there_are = f"There are: {', '.join(sorted(known))}." if known else "It takes none."
            raise BadParameter(name[:100], f"This address takes no parameter {name[:100]!r}. {there_are}")
        if len(query.getlist(name)) > 1:
            raise BadParameter(name, f"Name {name} once.")


def form(query: QueryDict) -> str:
    """`as`: json if it is left out, or text."""
    asked = query.get("as", FORMS[0])
    if asked not in FORMS:
        raise BadParameter("as", f"Give one of {', '.join(FORMS)}, or leave it out for JSON.")
    return asked


def text(query: QueryDict, name: str, remedy: str) -> str:
    """A name that has to be given. PostgreSQL takes no NUL, and no name of ours holds such signs."""
    given = query.get(name, "")
    if not is_text(given):
        raise BadParameter(name, remedy)
    return given


def is_text(given: str) -> bool:
    return bool(given) and len(given) <= TEXT_MAX and given.isprintable()


def day(given: str) -> datetime:
    """The start of a day, such as 2026-10-04, in UTC."""
    try:
        return datetime.strptime(given, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise NotThere("day", "There is no such day; give one as 2026-10-04 (UTC).") from None


def instant(query: QueryDict, name: str) -> datetime | None:
    """An instant in UTC, given with its zone, such as 2026-10-04T12:00:00Z; None where it is left out."""
    given = query.get(name)
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadParameter(name, "Give an instant with its zone, such as 2026-10-04T12:00:00Z.")
    if not within_reach(at, now=clock.now()):
        raise BadParameter(name, OUT_OF_REACH)
    return at.astimezone(UTC)


def within_reach(at: datetime, *, now: datetime) -> bool:
    """
    Whether an instant with a zone lies from 2000 on and at most ten years after `now`: near the end of the calendar it
    could neither be brought to UTC nor be read back from the database.
    """
    return EARLIEST <= at <= now + FURTHEST
