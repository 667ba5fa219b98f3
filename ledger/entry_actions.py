"""
What a person may do about an entry: buttons on its page.

The ledger's pages change nothing. Whoever has an operation that starts at an entry registers, in its AppConfig.ready, a
function that answers the button for an entry and a reader, or None where there is nothing to do for them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ledger.queries import Entry

# Whether the reader holds a permission, such as may("ledger.view_account").
May = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class EntryAction:
    """A button: what it says, where it leads, its icon, and a word on what happens; without a url the word alone."""

    label: str = ""
    url: str = ""
    icon: str = "undo"
    note: str = ""


entry_actions: list[Callable[[Entry, May], EntryAction | None]] = []


def actions_on(entry: Entry, *, may: May) -> list[EntryAction]:
    """The buttons to show on the entry's page, in the order in which they were registered."""
    found = (action(entry, may) for action in entry_actions)
    return [action for action in found if action is not None]
