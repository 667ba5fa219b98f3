"""
What has to hold before an approved version is sold, whoever publishes it: a person, a rollout or a document. The rooms
that approve register it here (admin_hooks): the catalogue knows nothing of approvals.
"""

from collections.abc import Callable

from billing.catalog.models import PlanVersion

# Each returns why the version cannot be published and what to do instead, or nothing. Its terms are held meanwhile.
publication_checks: list[Callable[[PlanVersion], str]] = []


def objection_to(version: PlanVersion) -> str:
    """The first objection to publishing the version, or nothing."""
    return next((objection for check in publication_checks if (objection := check(version))), "")
