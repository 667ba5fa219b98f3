"""The rule itself: what was sent adds up to the rounded target, whatever the order and the repeats of runs."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.invoicing.metered.targets import FIRST_AFTER, MINUTE, PAST_MAX, bounds_of, increments, minute_for
from billing.invoicing.rounding import chargeable_increment_minor, to_minor
from billing.subscriptions.models import BillingPeriod

AMOUNTS = st.decimals(min_value=-50, max_value=50, places=12)
CURRENCIES = st.sampled_from(["USD", "JPY", "KWD", "ISK"])
START = datetime(2026, 10, 1, 0, 0, 30, tzinfo=UTC)
PERIOD = BillingPeriod(starts_at=START, ends_at=START + timedelta(days=30))


@given(st.lists(AMOUNTS, max_size=8), CURRENCIES, st.data())
def test_the_sum_of_deltas_is_the_rounded_target(found: Sequence[Decimal], currency: str, data: st.DataObject) -> None:
    """Runs that see the same amount again, or an older one after a newer one, are runs like others."""
    runs = [data.draw(st.sampled_from(found)) for _ in range(5)] if found else []
    sent: list[int] = []
    for amount in [*found, *runs]:
        delta = increments(amount, currency) - sum(sent)
        sent += [delta] if delta else []
        assert sum(sent) * chargeable_increment_minor(currency) == max(0, to_minor(amount, currency))
    assert 0 not in sent


@given(st.integers(0, 100), st.integers(-2, 40 * 24 * 60), st.booleans())
def test_each_event_has_a_minute_of_its_own_within_the_period_and_what_stripe_takes(
    events: int, minutes: int, is_long_after: bool
) -> None:
    now = START + timedelta(minutes=minutes) + (timedelta(days=26) if is_long_after else timedelta(0))
    taken: set[datetime] = set()
    first, last = bounds_of(PERIOD)
    for _ in range(events):
        minute = minute_for(PERIOD, taken, now=now)
        if minute is None:
            assert now < START + FIRST_AFTER + events * MINUTE or now > PERIOD.ends_at + PAST_MAX - events * MINUTE
            return
        assert minute not in taken
        assert first <= minute < last
        assert now - PAST_MAX <= minute <= now
        taken.add(minute)
