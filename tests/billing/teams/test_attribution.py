"""Usage belongs to the group of its instant; every answer adds up to the customer's own figures, exactly."""

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pytest_django import Settings

from billing.rating.explanation.event_cost import EventCosts
from billing.rating.queries import period_totals
from billing.rating.totals import Amounts
from billing.subscriptions.models import BillingPeriod
from billing.teams import usage
from billing.teams.models import GroupMembership
from billing.teams.policy import set_policy
from billing.teams.sharing import share_out, share_out_over_time
from metering import queries as metering_queries
from tests.billing.teams.world import (
    AFTER,
    BY,
    MODEL,
    define_meters,
    entry,
    move,
    october_of,
    open_groups,
    price_card,
    roster,
    send,
    settle,
    terms,
)
from tests.factories import NOVEMBER, OCTOBER, RateFactory

_keys = count(1)
DAY = timedelta(days=1)
AT_NOON = OCTOBER + timedelta(days=9, hours=12)


def amounts(found: usage.UsageByHolder) -> dict[str, tuple[Decimal, ...]]:
    return {
        line.holder.code or line.holder.kind: (line.amounts.rated, line.amounts.included, line.amounts.unbilled)
        for line in found.lines
    }


def check_sum(found: usage.UsageByHolder, period: BillingPeriod) -> None:
    totals = period_totals(period.pk)
    assert (found.total.rated, found.total.included) == (totals.rated, totals.included)
    assert (found.total.credited, found.total.unbilled) == (totals.credited, totals.unbilled)


@pytest.mark.usefixtures("committed_db")
def test_usage_belongs_to_the_group_its_member_had_then() -> None:
    define_meters()
    period = october_of()
    open_groups("red", "blue")
    roster(entry("ada", "red"), entry("bob"))
    send(OCTOBER + DAY, "ada", input_tokens=1_000_000)
    # Within one hour: one request before the change, one at its very instant, one after.
    change = AT_NOON + timedelta(minutes=30)
    send(change - timedelta(microseconds=1), "ada", input_tokens=200_000)
    send(change, "ada", input_tokens=400_000)
    send(change + timedelta(minutes=1), "ada", output_tokens=40_000)
    send(change, "bob", input_tokens=600_000)
    send(change, "nobody", input_tokens=20_000)
    send(change, None, input_tokens=40_000)
    move("ada", to="blue", at=change)
    # A late event counts for the group its member had then.
    send(OCTOBER + DAY, "ada", input_tokens=2_000_000)
    settle(period)

    found = usage.usage_by_group(period, now=AFTER)

    assert amounts(found) == {
        "red": (16, 0, 16),
        "blue": (3, 0, 3),
        "unassigned": (3, 0, 3),
        "unknown": (Decimal("0.3"), 0, Decimal("0.3")),
    }
    check_sum(found, period)
    red = found.line("red")
    assert red is not None
    assert red.quantities == {"input_tokens": 3_200_000}
    by_member = usage.usage_by_member(period, now=AFTER)
    assert amounts(by_member)["ada"] == (19, 0, 19)
    check_sum(by_member, period)


@pytest.mark.usefixtures("committed_db")
def test_a_meter_without_the_member_is_a_line_of_its_own() -> None:
    define_meters(dimensions=["model"])
    period = october_of()
    open_groups("red")
    roster(entry("ada", "red"))
    send(AT_NOON, "ada", input_tokens=200_000)
    settle(period)

    assert amounts(usage.usage_by_group(period, now=AFTER)) == {"not_told": (1, 0, 1)}


@pytest.mark.usefixtures("committed_db")
def test_a_pool_of_all_is_shared_in_proportion_and_a_members_own_is_theirs() -> None:
    define_meters()
    card = price_card()
    pooled, own = (
        october_of("pooled", version=terms(card, included="3"), seats=2),
        october_of(version=terms(card, each_member="6")),
    )
    for key in ("pooled", "acme"):
        open_groups("red", "blue", key=key)
        roster(entry("ada", "red"), entry("bob", "blue"), key=key)
        send(OCTOBER + DAY, "ada", key=key, input_tokens=1_600_000)
        send(OCTOBER + 2 * DAY, "bob", key=key, input_tokens=800_000)
    settle(pooled)
    settle(own)

    assert amounts(usage.usage_by_group(pooled, now=AFTER)) == {"red": (8, 4, 4), "blue": (4, 2, 2)}
    assert amounts(usage.usage_by_group(own, now=AFTER)) == {"red": (8, 6, 2), "blue": (4, 4, 0)}


@pytest.mark.usefixtures("committed_db")
def test_spans_that_touch_add_up_to_the_period() -> None:
    define_meters()
    period = october_of(version=terms(included="1"))
    open_groups("red", "blue")
    roster(entry("ada", "red"), entry("bob", "blue"))
    for hour in range(0, 700, 37):
        send(OCTOBER + timedelta(hours=hour, minutes=20), ("ada", "bob", "eve")[hour % 3], input_tokens=7 + hour)
    settle(period)
    cut = AT_NOON + timedelta(minutes=7)
    customer = period.subscription.customer

    whole = usage.usage_by_group(period, now=AFTER)
    first = usage.usage_by_group_between(customer, OCTOBER - DAY, cut, now=AFTER)
    rest = usage.usage_by_group_between(customer, cut, NOVEMBER + DAY, now=AFTER)

    assert first.total.plus(rest.total) == whole.total
    assert first.total.rated > 0 < rest.total.rated
    check_sum(whole, period)


def name_members_by(dimension: str, *, now: datetime) -> None:
    set_policy(
        customer_key="acme",
        seats_follow_members=False,
        member_dimension=dimension,
        idempotency_key=f"{dimension} {now}",
        now=now,
        **BY,
    )


@pytest.mark.usefixtures("committed_db")
def test_what_was_told_of_a_period_stays_when_another_dimension_names_the_members(settings: Settings) -> None:
    define_meters()
    period = october_of()
    customer = period.subscription.customer
    open_groups("red")
    roster(entry("ada", "red"))
    send(OCTOBER + DAY, "ada", input_tokens=200_000)
    settle(period)
    assert amounts(usage.usage_by_group(period, now=AFTER)) == {"red": (1, 0, 1)}

    settings.BILLING_MEMBER_DIMENSION = "model"
    name_members_by("user", now=NOVEMBER - timedelta(minutes=90))
    name_members_by("person", now=NOVEMBER - timedelta(minutes=80))

    assert amounts(usage.usage_by_group(period, now=AFTER)) == {"red": (1, 0, 1)}
    at_change = NOVEMBER - timedelta(hours=1)
    assert usage.member_dimension(customer, at=at_change - timedelta(microseconds=1)) == "member"
    assert usage.member_dimension(customer, at=at_change) == "person"
    assert usage.member_dimension(customer, at=OCTOBER - DAY) == "member"
    assert usage.member_dimension(october_of("other").subscription.customer, at=OCTOBER) == "model"


def minutes(most: int = 30 * 24 * 60 - 1) -> st.SearchStrategy[datetime]:
    return st.integers(0, most).map(lambda minute: OCTOBER + timedelta(minutes=minute))


@pytest.mark.usefixtures("committed_db")
@pytest.mark.parametrize("each_member", ["", "0.002"])
@examples(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(
        st.tuples(minutes(3 * 60), st.sampled_from(["ada", "bob"]), st.sampled_from(["red", "blue", None])), max_size=4
    ),
    events=st.lists(
        st.tuples(minutes(3 * 60), st.sampled_from(["ada", "bob", "eve", None]), st.integers(1, 999)),
        min_size=1,
        max_size=12,
    ),
)
def test_attribution_is_what_a_look_at_every_event_says(
    moves: list[tuple[datetime, str, str | None]], events: list[tuple[datetime, str | None, int]], each_member: str
) -> None:
    """Differential: against the cost of each event (decision 0021)."""
    key = f"acme-{next(_keys)}"
    if not metering_queries.meter_versions("input_tokens"):
        define_meters()
    period = october_of(key, version=terms(each_member=each_member))
    open_groups("red", "blue", key=key)
    roster(entry("ada", "red"), entry("bob"), key=key)
    for at, member, group in sorted(moves, key=lambda one: one[0]):
        move(member, to=group, at=at, key=key)
    for at, event_of, tokens in events:
        send(at, event_of, key=key, input_tokens=tokens)
    settle(period)

    found = usage.usage_by_group(period, now=AFTER)

    expected: dict[str, Amounts] = {}
    [rate_id] = found.rates
    for shared in EventCosts(now=AFTER).of_period(period, rate_id):
        name = holder_of(key, shared.event.dimensions["member"], shared.event.event_time)
        paid = {"allowance": Decimal(0), "unbilled": Decimal(0)}
        for part in shared.share.paid:
            paid[part.kind] += part.amount
        one = Amounts(
            quantity=shared.share.quantity,
            rated=shared.share.amount,
            included=paid["allowance"],
            unbilled=paid["unbilled"],
        )
        expected[name] = expected.get(name, Amounts()).plus(one)
    assert {line.holder.code or line.holder.kind: line.amounts for line in found.lines} == expected
    check_sum(found, period)


def holder_of(key: str, member: str | None, at: datetime) -> str:
    if member not in ("ada", "bob"):
        return "unknown"
    for row in GroupMembership.objects.filter(member__customer__customer_key=key, member__key=member).select_related(
        "group"
    ):
        if row.starts_at <= at and (row.ends_at is None or at < row.ends_at):
            return row.group.code
    return "unassigned"


@pytest.mark.usefixtures("committed_db")
def test_a_price_that_changes_within_an_hour_costs_each_group_its_own() -> None:
    define_meters()
    card = price_card()
    change = AT_NOON + timedelta(minutes=15)
    RateFactory(rate_card=card, meter_code="input_tokens", model=MODEL, unit_price=Decimal(10), effective_from=change)
    period = october_of(version=terms(card))
    open_groups("red", "blue")
    roster(entry("ada", "red"), entry("bob", "blue"))
    send(change - timedelta(minutes=1), "ada", input_tokens=200_000)
    send(change, "bob", input_tokens=200_000)
    settle(period)

    assert amounts(usage.usage_by_group(period, now=AFTER)) == {"red": (1, 0, 1), "blue": (2, 0, 2)}


PARTS = st.decimals(min_value=0, max_value=10**9, places=6, allow_nan=False)


@examples(max_examples=60, deadline=None)
@given(PARTS, st.dictionaries(st.integers(-2, 20), PARTS, min_size=1, max_size=12))
def test_parts_add_up_and_none_is_off_by_a_unit(amount: Decimal, weights: dict[int, Decimal]) -> None:
    total = sum(weights.values())
    if not total:
        return
    parts = share_out(amount, weights)

    assert sum(parts.values(), Decimal(0)) == amount
    for key, weight in weights.items():
        assert abs(parts.get(key, Decimal(0)) - amount * weight / total) < Decimal("1e-11")
    assert share_out(amount, dict(reversed(weights.items())), order=list(weights)) == parts


@examples(max_examples=60, deadline=None)
@given(PARTS, st.dictionaries(st.tuples(st.integers(0, 3), st.integers(-2, 4)), PARTS, max_size=12))
def test_pieces_of_time_add_up(amount: Decimal, weights: dict[tuple[int, int], Decimal]) -> None:
    parts = share_out_over_time(amount, weights, pieces=4, otherwise=-2)

    assert sum(parts.values(), Decimal(0)) == amount
    assert all(part >= 0 for part in parts.values())
    joined: dict[tuple[int, int], Decimal] = {}
    for (piece, holder), weight in weights.items():
        joined[piece // 2, holder] = joined.get((piece // 2, holder), Decimal(0)) + weight
    halves = share_out_over_time(amount, joined, pieces=2, otherwise=-2)
    first = sum((part for (piece, _), part in parts.items() if piece < 2), Decimal(0))
    assert first == sum((part for (piece, _), part in halves.items() if piece == 0), Decimal(0))
