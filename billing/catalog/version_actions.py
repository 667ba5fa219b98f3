"""
What can be done with a plan version besides reading it. The rooms that know how register it here (admin_hooks): the
catalogue knows nothing of backtests, approvals and rollouts.
"""

from collections.abc import Callable
from dataclasses import dataclass

from billing.catalog.models import PlanVersion

May = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class VersionAction:
    """A button on the version's page: its text, where it leads, and the icon before it."""

    label: str
    url: str
    icon: str = "arrow_forward"
    is_primary: bool = False


# Each returns the button it offers this reader for this version, or None.
version_actions: list[Callable[[PlanVersion, May], VersionAction | None]] = []


def actions_for(version: PlanVersion, may: May) -> list[VersionAction]:
    """The buttons of the version's page, in the order in which they were registered."""
    return [action for offer in version_actions if (action := offer(version, may)) is not None]
