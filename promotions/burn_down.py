"""
The order in which grants are used, and when one may be used at all. Pure: no clock, no database.

Order (field.md, "credit order", as Stripe has it): priority, then soonest expiry, then value given away before value
paid for, then the earlier effective, then the earlier recorded. The id settles what is left, so the order is total.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

PAID = "paid"
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantBalance:
    """A grant and what is left of it. Amounts in currency units, exact; intervals half-open, in UTC."""

    grant_id: int
    kind: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    recorded_at: datetime
    amount: Decimal
    available: Decimal
    ended_at: datetime | None = None


def burn_order(grants: Iterable[GrantBalance]) -> list[GrantBalance]:
    """Return the grants in the order in which usage burns them; the given order does not matter."""
    return sorted(grants, key=_burn_key)


def usable(grant: GrantBalance, at: datetime) -> bool:
    """Return whether usage of the instant `at` may burn the grant: effective, not expired, not ended by then."""
    return grant.effective_at <= at < min(grant.expires_at or _NEVER, grant.ended_at or _NEVER)


def _burn_key(grant: GrantBalance) -> tuple[int, datetime, bool, datetime, datetime, int]:
    return (
        grant.priority,
        grant.expires_at or _NEVER,
        grant.kind == PAID,
        grant.effective_at,
        grant.recorded_at,
        grant.grant_id,
    )
