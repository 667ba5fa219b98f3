"""Period arithmetic by itself: whatever the anchor, periods neither overlap nor leave a gap."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.billing.periods import Interval, boundary, boundary_after, boundary_before

moments = st.integers(min_value=1_500_000_000, max_value=2_500_000_000)
intervals = st.builds(Interval, st.sampled_from(["day", "week", "month", "year"]), st.integers(1, 12))


@given(anchor=moments, interval=intervals, moment=moments)
def test_boundaries_enclose_the_moment(anchor: int, interval: Interval, moment: int) -> None:
    after = boundary_after(anchor, interval, moment)

    assert boundary_before(anchor, interval, after) <= moment < after


@given(anchor=moments, interval=intervals, steps=st.integers(-40, 40))
def test_boundaries_follow_each_other(anchor: int, interval: Interval, steps: int) -> None:
    here, following = boundary(anchor, interval, steps), boundary(anchor, interval, steps + 1)

    assert boundary_after(anchor, interval, here) == following
    assert boundary_before(anchor, interval, following) == here


@given(anchor=moments, steps=st.integers(0, 60))
def test_day_and_time_of_the_anchor_are_kept(anchor: int, steps: int) -> None:
    start = datetime.fromtimestamp(anchor, UTC)
    moved = datetime.fromtimestamp(boundary(anchor, Interval("month", 1), steps), UTC)

    assert moved.time() == start.time()
    assert moved.day == start.day or (moved.day < start.day and (moved.day >= 28))
