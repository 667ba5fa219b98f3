"""Who joins, leaves, moves or is called otherwise, from who is there and who should be. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from billing.teams.errors import InvalidTeam
from billing.teams.models import MEMBER_KEY_CHARS_MAX

MEMBERS_MAX = 100_000
NAME_CHARS_MAX, EMAIL_CHARS_MAX = 200, 254


class _Unchanged:
    """Stands for "as it is", where None says "in no group"."""


UNCHANGED = _Unchanged()


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterEntry:
    """Somebody who should be a member. `group` is the code of their group, None for none, UNCHANGED as it is."""

    key: str
    name: str = ""
    email: str = ""
    group: str | _Unchanged | None = UNCHANGED
    takes_seat: bool = True


@dataclass(frozen=True, slots=True)
class Present:
    """Somebody the customer knows: `is_member` now, and in which group (its code, None for none)."""

    name: str
    email: str
    is_member: bool
    group: str | None


@dataclass(slots=True)
class Difference:
    """What has to be done; all by member key, in order. `moving` says to which group, None for none."""

    new: list[RosterEntry] = field(default_factory=list)
    renamed: list[RosterEntry] = field(default_factory=list)
    joining: list[RosterEntry] = field(default_factory=list)
    leaving: list[str] = field(default_factory=list)
    moving: dict[str, str | None] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        return {
            "joined": len(self.joining),
            "left": len(self.leaving),
            "moved": len(self.moving),
            "renamed": len(self.renamed),
        }


def difference(present: Mapping[str, Present], wanted: Iterable[RosterEntry], *, is_whole: bool) -> Difference:
    """
    Return what brings `present` to `wanted`. With `is_whole`, whoever is a member and is not wanted leaves; otherwise
    only those named change. Doing it and asking again comes to nothing.
    """
    found = Difference()
    named = set()
    for entry in sorted(wanted, key=lambda one: one.key):
        named.add(entry.key)
        known = present.get(entry.key)
        if known is None:
            found.new.append(entry)
        elif (known.name, known.email) != (entry.name, entry.email):
            found.renamed.append(entry)
        if known is None or not known.is_member:
            found.joining.append(entry)
        was_in = known.group if known is not None and known.is_member else None
        if not isinstance(entry.group, _Unchanged) and entry.group != was_in:
            found.moving[entry.key] = entry.group
    if is_whole:
        found.leaving = sorted(key for key, known in present.items() if known.is_member and key not in named)
    return found


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
            if len(text) > most or (text and not text.isprintable()):
                raise InvalidTeam(f"{where}.{name}", f"Give at most {most} printable characters.")
        if isinstance(entry.group, str) and entry.group not in groups:
            raise InvalidTeam(f"{where}.group", f"There is no open group {entry.group!r}. Open it first.")
