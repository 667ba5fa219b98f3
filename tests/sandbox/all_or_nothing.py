"""A request that is refused leaves nothing behind: no object, no event, no work for later."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.sandbox.core.errors import StripeError
from tests.sandbox.world import World

# An error of a payment that was tried names what it left behind, and that stays.
RECORDED = frozenset({"charge", "payment_intent", "setup_intent"})
PAYMENT_FAILED = 402
# So does what the invoice says of a finalisation that failed for it.
RECORDED_CODES = frozenset({"customer_tax_location_invalid"})


@contextmanager
def all_or_nothing(world: World) -> Iterator[None]:
    """
    Take back what was done in the block when it ends in an error, unless that tells of a payment or a finalisation that
    failed.

    Identifiers drawn by then stay drawn. Not for what moves a clock.
    """
    undo, clocks = world.undo, (world.account_clock, *world.test_clocks.values())
    left = [(clock, clock.left_count) for clock in clocks]
    counts = len(world.new_events), len(world.new_thin_events)
    payouts = world.payout_interval, world.next_daily_payout
    undo.begin()
    try:
        yield
    except Exception as error:
        if isinstance(error, StripeError) and _is_recorded(error):
            raise
        undo.take_back()
        for clock, count in left:
            clock.take_back_to(count)
        del world.new_events[counts[0] :], world.new_thin_events[counts[1] :]
        world.payout_interval, world.next_daily_payout = payouts
        raise
    finally:
        undo.keep()


def _is_recorded(error: StripeError) -> bool:
    """Whether what was tried stays, and says that it failed."""
    is_payment = error.status == PAYMENT_FAILED and bool(RECORDED & error.fields.keys())
    return is_payment or error.fields.get("code") in RECORDED_CODES
