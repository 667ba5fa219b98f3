"""Instants as Stripe writes them: whole seconds since 1970. Reckoned with integers, so that no fraction is lost."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def second_of(at: datetime) -> int:
    """Return the second in which the instant lies."""
    return (at - _EPOCH) // _SECOND


def second_from(at: datetime) -> int:
    """Return the first whole second at or after the instant: where a half-open range of seconds begins or ends."""
    return -((_EPOCH - at) // _SECOND)
