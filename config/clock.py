"""The only clock of the project.

Interfaces (views, admin, tasks, commands) call it; everything below them takes time as an argument.
"""

from datetime import UTC, datetime


def now() -> datetime:
    """Return this instant, timezone-aware, in UTC."""
    return datetime.now(tz=UTC)
