"""Who joins, leaves, moves or is called otherwise, from who is there and who should be. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from billing.teams.errors import InvalidTeam
from billing.teams.models import MEMBER_KEY_CHARS_MAX

MEMBERS_MAX = 100_000
NAME_CHARS_MAX, EMAIL_CHARS_MAX = 200, 254
# A directory that is half read must not empty a team: of more members than this, half may leave without a word.
SMALL_TEAM = 4


class _Unchanged:
    """Stands for "as it is", where None says "in no group"."""


UNCHANGED = _Unchanged()


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterEntry:
    """
    Somebody who should be a member. UNCHANGED leaves a field as it is stored; of `group` (a code, None for none) it
    gives who comes back the group they had, if that is still open.
    """

    key: str
    name: str | _Unchanged = UNCHANGED
    email: str | _Unchanged = UNCHANGED
    group: str | _Unchanged | None = UNCHANGED
    takes_seat: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """
    Somebody the customer knows, at an instant: whether they are a member, and in which group (its code, None for none);
    what is planned for later; and of who is no member, the group they would come back to.
    """

    name: str = ""
    email: str = ""
    is_member: bool
    group: str | None = None
    leaves_at: datetime | None = None
    joins_later: bool = False
    moves_later: bool = False
    comes_back_to: str | None = None


@dataclass(slots=True)
class Difference:
    """
    What has to be done; all by member key, in order. `moving` says to which group, None for none; `staying` were to
    leave later and now do not; `cancelled` were to join later and now do not.
    """

    new: list[RosterEntry] = field(default_factory=list)
    renamed: list[RosterEntry] = field(default_factory=list)
    joining: list[RosterEntry] = field(default_factory=list)
    leaving: list[str] = field(default_factory=list)
    moving: dict[str, str | None] = field(default_factory=dict)
    staying: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {
            "joined": len(self.joining),
            "left": len(self.leaving),
            "moved": len(self.moving),
            "renamed": len(self.renamed),
            "leavings_cancelled": len(self.staying),
            "joinings_cancelled": len(self.cancelled),
        }


def difference(present: Mapping[str, Present], wanted: Iterable[RosterEntry], *, is_whole: bool) -> Difference:
    """
    Return what brings `present` to `wanted`, from the instant of `present` on: what was planned for later and says
    otherwise is cancelled. With `is_whole`, whoever is or will be a member and is not wanted leaves; otherwise only
    those named change. Doing it and asking again comes to nothing.
    """
    found = Difference()
    named = set()
    for entry in sorted(wanted, key=lambda one: one.key):
        named.add(entry.key)
        known = present.get(entry.key)
        if known is None:
            found.new.append(entry)
        elif named_otherwise(entry, known) != (known.name, known.email):
            found.renamed.append(entry)
        if known is None or not known.is_member:
            found.joining.append(entry)
            _join(found, entry, known)
            continue
        if known.leaves_at is not None:
            found.staying.append(entry.key)
        if not isinstance(entry.group, _Unchanged) and (entry.group != known.group or known.moves_later):
            found.moving[entry.key] = entry.group
    if is_whole:
        others = [(key, one) for key, one in sorted(present.items()) if key not in named]
        found.leaving = [key for key, one in others if one.is_member]
        found.cancelled = [key for key, one in others if one.joins_later and not one.is_member]
    return found


def named_otherwise(entry: RosterEntry, known: Present) -> tuple[str, str]:
    """The name and e-mail that are to be stored: what is left out stays."""
    name = known.name if isinstance(entry.name, _Unchanged) else entry.name
    return name, known.email if isinstance(entry.email, _Unchanged) else entry.email


def _join(found: Difference, entry: RosterEntry, known: Present | None) -> None:
    back = known.comes_back_to if known is not None else None
    group = back if isinstance(entry.group, _Unchanged) else entry.group
    if group is not None or (known is not None and known.moves_later):
        found.moving[entry.key] = group


def require_few_leaving(present: Mapping[str, Present], found: Difference, at_most: int | None, *, named: int) -> None:
    """
    Raise InvalidTeam where a roster lets go more than it says with `leaving_at_most`; or, where it says nothing, where
    it is empty or lets go more than half of a team: a directory that was read in part looks just so.
    """
    leaving = len(found.leaving) + len(found.cancelled)
    members = sum(one.is_member or one.joins_later for one in present.values())
    told = f"{leaving} of {members} members would leave"
    remedy = f"Send all members; or, if they are to leave, also leaving_at_most: {max(leaving, 1)}."
    if at_most is not None:
        if leaving > at_most:
            raise InvalidTeam("leaving_at_most", f"{told}, more than {at_most}. {remedy}")
    elif not named:
        raise InvalidTeam("members", f"The roster is empty: {told}. {remedy}")
    elif members > SMALL_TEAM and leaving * 2 > members:
        raise InvalidTeam("members", f"{told}, more than half. {remedy}")


def require_valid(entries: Sequence[RosterEntry], *, groups: Collection[str]) -> None:
    """Raise InvalidTeam naming the first field that is wrong. `groups` are the codes that take members."""
    if len(entries) > MEMBERS_MAX:
        raise InvalidTeam("members", f"Give at most {MEMBERS_MAX:,} members.")
    seen: set[str] = set()
    for place, entry in enumerate(entries):
        where = f"members[{place}]"
        if not entry.key.strip() or len(entry.key) > MEMBER_KEY_CHARS_MAX or not entry.key.isprintable():
            raise InvalidTeam(
                f"{where}.key", f"A member's key has 1 to {MEMBER_KEY_CHARS_MAX} printable characters, as usage has it."
            )
        if entry.key in seen:
            raise InvalidTeam(f"{where}.key", f"{entry.key!r} comes twice; name each member once.")
        seen.add(entry.key)
        for name, text, most in (("name", entry.name, NAME_CHARS_MAX), ("email", entry.email, EMAIL_CHARS_MAX)):
            if isinstance(text, str) and (len(text) > most or (text and not text.isprintable())):
                raise InvalidTeam(f"{where}.{name}", f"Give at most {most} printable characters.")
        if isinstance(entry.group, str) and entry.group not in groups:
            raise InvalidTeam(f"{where}.group", f"There is no open group {entry.group!r}. Open it first.")
