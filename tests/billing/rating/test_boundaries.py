# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""
Where one period ends and the next begins, to the microsecond (field.md, section B).

A million input tokens cost 5 USD. The anchor lies within an hour, as it does for most who subscribe.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.rating import queries
from billing.rating.operations import accrue_period
from billing.reconciliation import usage_checks
from billing.reconciliation.comparison import Pair, Scope
from billing.subscriptions.models import BillingPeriod
from metering import operations as metering
from tests.billing import usage
from tests.billing.usage import use_dollars
from tests.factories import (
    BillingPeriodFactory,
    CreditGrantFactory,
    CustomerFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
    SubscriptionFactory,
)

US = timedelta(microseconds=1)
ANCHOR = datetime(2026, 10, 3, 12, 34, 56, tzinfo=UTC)
SECOND = datetime(2026, 11, 3, 12, 34, 56, tzinfo=UTC)
AFTER = datetime(2026, 12, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


def two_periods(key: str, *, starts_at: datetime = ANCHOR, **terms: object) -> list[BillingPeriod]:
    version = PlanVersionFactory(**{"rate_card": usage.rate_card(), "included_amount": Decimal(0), **terms})
    customer = CustomerFactory(customer_key=key, created_at=starts_at)
    subscription = SubscriptionFactory(customer=customer, plan_version=version, starts_at=starts_at)
    return [subscription.periods.get(), BillingPeriodFactory(subscription=subscription)]


def rated(periods: list[BillingPeriod]) -> list[Decimal]:
    for period in periods:
        accrue_period(period_id=period.pk, now=AFTER)
    return [queries.period_totals(period.pk).rated for period in periods]


def parted() -> list[tuple[str, object, object]]:
    """What the check of windows against accruals finds unequal."""
    scope = Scope(range_start=ANCHOR - timedelta(days=1), range_end=AFTER)
    pairs = [found for found in usage_checks.windows_rated(scope) if isinstance(found, Pair)]
    return [(pair.subject, pair.left, pair.right) for pair in pairs if not pair.agrees]


def test_l1117_an_event_one_microsecond_before_the_boundary_belongs_to_the_former_period() -> None:
    periods = two_periods("acme")
    use_dollars("acme", SECOND - US, "1")
    use_dollars("acme", SECOND, "2")
    use_dollars("acme", SECOND + US, "4")

    assert rated(periods) == [1, 6]


def test_l5104_the_boundary_holds_where_milliseconds_would_not_tell_the_two_apart() -> None:
    periods = two_periods("acme")
    use_dollars("acme", SECOND - 585 * US, "1")
    use_dollars("acme", SECOND + 585 * US, "2")

    assert rated(periods) == [1, 2]


def test_p11046_usage_of_the_first_hour_before_the_subscription_began_is_nobody_s_and_is_found() -> None:
    periods = two_periods("acme")
    use_dollars("acme", ANCHOR - US, "1")
    use_dollars("acme", ANCHOR, "2")

    assert rated(periods) == [2, 0]
    assert parted() == [("usage outside every billing period, first 2026-10-03T12:00Z", 1, 0)]


@pytest.mark.parametrize(("hours", "first"), [(-1, "2026-10-03T11"), (24 * 70, "2026-12-12T12")])
def test_usage_of_whole_hours_that_are_in_no_period_is_found(hours: int, first: str) -> None:
    """PostgreSQL's least and greatest leave out what is not there: such an hour was taken for one that is covered."""
    periods = two_periods("acme")
    use_dollars("acme", ANCHOR + timedelta(hours=hours), "1")

    assert rated(periods) == [0, 0]
    assert parted() == [(f"usage outside every billing period, first {first}:00Z", 1, 0)]


def test_reconciliation_agrees_on_the_hours_that_a_boundary_cuts() -> None:
    periods = two_periods("acme")
    for at, dollars in ((ANCHOR, "1"), (SECOND - US, "2"), (SECOND, "4"), (SECOND + timedelta(hours=1), "8")):
        use_dollars("acme", at, dollars)
    assert rated(periods) == [3, 12]

    assert parted() == []
    use_dollars("acme", SECOND - US, "1")
    assert [figures for _, *figures in parted()] == [[800_000, 600_000]]


def test_a_price_that_begins_within_the_first_hour_of_a_period_applies_to_it() -> None:
    card = RateCardFactory()
    RateFactory(rate_card=card, effective_from=ANCHOR - timedelta(minutes=10))
    periods = two_periods("acme", rate_card=card)
    use_dollars("acme", ANCHOR + US, "2")

    assert rated(periods) == [2, 0]


def test_a_grant_that_ended_in_the_hour_before_a_period_began_pays_nothing_of_it() -> None:
    periods = two_periods("acme")
    CreditGrantFactory(
        customer_key="acme", effective_at=ANCHOR - timedelta(days=1), expires_at=ANCHOR - US,
        recorded_at=ANCHOR - timedelta(days=1),
    )  # fmt: skip
    use_dollars("acme", ANCHOR, "2")

    assert rated(periods) == [2, 0]
    assert queries.period_totals(periods[0].pk).unbilled == 2


_numbers = iter(range(10**6))


@settings(max_examples=15)
@given(
    st.datetimes(datetime(2026, 9, 1), datetime(2026, 10, 28)),  # noqa: DTZ001  (made aware below)
    st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(-3_600_000_000, 3_600_000_000)), max_size=12),
)
def test_every_event_is_in_exactly_one_period_of_its_subscription(
    starts_at: datetime, moments: list[tuple[int, int]]
) -> None:
    """Around each boundary, by up to an hour; those before the first and after the last belong to none."""
    key = f"customer-of-chance-{next(_numbers)}"
    periods = two_periods(key, starts_at=starts_at.replace(tzinfo=UTC))
    edges = [periods[0].starts_at, periods[1].starts_at, periods[1].ends_at]
    expected = [0, 0]
    for power, (edge, offset) in enumerate(moments):
        # Powers of two: a sum says which events are in it.
        at, tokens = edges[edge] + offset * US, 2**power
        usage.send(key, at, input_tokens=tokens)
        for place, period in enumerate(periods):
            expected[place] += tokens * (period.starts_at <= at < period.ends_at)
    metering.catch_up_windows(now=AFTER)
    rated(periods)

    quantities = [sum(int(row.quantity) for row in queries.rate_totals(period.pk)) for period in periods]
    assert quantities == expected
    assert quantities[0] & quantities[1] == 0
