"""What the recurring fee of a plan version comes to. Pure, in whole minor units, as Stripe bills it."""

from typing import Any

from billing.catalog.models import PlanVersion


class InvalidFeeTiers(ValueError):
    """The tiers of a fee cannot be read; the message names the tier, what is wrong and what it must be."""


def fee_minor_of(version: PlanVersion, seats: int) -> int:
    """
    Return the fee of a whole period for so many seats, in minor units.

    Tiers are graduated, as Stripe's `tiers_mode` graduated: each seat pays the price of the tier it falls into, counted
    from the first seat whatever the least number of seats is (polar#12075), and a tier's flat amount is paid once as
    soon as one seat falls into it. Raises ValueError for seats below zero, and InvalidFeeTiers.
    """
    if seats < 0:
        raise ValueError("a fee is of no seats or more")
    if not version.fee_tiers:
        return version.fee_minor * seats
    return tiered_fee_minor(version.fee_tiers, seats)


def tiered_fee_minor(tiers: Any, seats: int) -> int:
    """Return what graduated tiers come to, in minor units. Raises InvalidFeeTiers."""
    require_fee_tiers(tiers)
    total = below = 0
    for tier in tiers:
        up_to = tier["up_to"]
        inside = (seats if up_to is None else min(seats, up_to)) - below
        if inside <= 0:
            break
        total += inside * tier["unit_minor"] + tier.get("flat_minor", 0)
        below += inside
    return total


def require_fee_tiers(tiers: Any) -> None:
    """Raise InvalidFeeTiers unless every tier is whole, they rise, and the last one, and only it, has no end."""
    if not isinstance(tiers, list) or not tiers:
        raise InvalidFeeTiers("fee_tiers must be a list of at least one tier")
    below = 0
    for number, tier in enumerate(tiers, start=1):
        what, is_last = f"tier {number} of fee_tiers", number == len(tiers)
        if not isinstance(tier, dict) or {*tier} - {"up_to", "unit_minor", "flat_minor"}:
            raise InvalidFeeTiers(f"{what} must say up_to, unit_minor and flat_minor, and nothing else")
        for name, value in (("unit_minor", tier.get("unit_minor")), ("flat_minor", tier.get("flat_minor", 0))):
            if not _is_whole_above(value, -1):
                raise InvalidFeeTiers(f"{name} of {what} must be a whole number of minor units, at least zero")
        up_to = tier.get("up_to")
        if is_last != (up_to is None):
            raise InvalidFeeTiers(f"up_to of {what} must be {'null: it is the last one' if is_last else 'a number'}")
        if up_to is not None:
            if not _is_whole_above(up_to, below):
                raise InvalidFeeTiers(f"up_to of {what} must be a whole number above {below}")
            below = up_to


def _is_whole_above(value: object, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > limit
