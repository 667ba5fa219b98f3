"""The demo's usage: the same seed says the same, and it looks like people at work."""

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median

import pytest

from config.demo.month import Month, last_complete_month, parse_month
from config.demo.usage import MODEL_SHARES, UsageProfile, usage_of, usage_of_all
from config.demo.world import DECLINING_CARD, MIX, build_world

OCTOBER = parse_month("2026-10")
PROFILE = UsageProfile("team-0001", "Europe/Berlin", 900, ("a", "b", "c"), 0.2, 24_000)


def at(event: dict) -> datetime:
    return datetime.fromisoformat(event["time"])


class TestMonth:
    def test_is_half_open_and_in_utc(self) -> None:
        assert Month(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)) == OCTOBER
        assert OCTOBER.hours == 31 * 24

    def test_december_ends_in_january(self) -> None:
        assert parse_month("2025-12").ends_at == datetime(2026, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize("text", ["2026-13", "2026-0", "202610", "october", "2026-10-01", ""])
    def test_refuses_what_is_no_month(self, text: str) -> None:
        with pytest.raises(ValueError, match="MONTH must look like 2026-10"):
            parse_month(text)

    def test_the_last_complete_month_of_january_is_december(self) -> None:
        assert str(last_complete_month(datetime(2026, 1, 31, 23, 59, tzinfo=UTC))) == "2025-12"
        assert str(last_complete_month(datetime(2026, 11, 1, tzinfo=UTC))) == "2026-10"


class TestUsageOfOneCustomer:
    def test_the_same_seed_gives_the_same_events(self) -> None:
        assert list(usage_of(PROFILE, OCTOBER, 1)) == list(usage_of(PROFILE, OCTOBER, 1))

    def test_another_seed_gives_others(self) -> None:
        assert list(usage_of(PROFILE, OCTOBER, 1)) != list(usage_of(PROFILE, OCTOBER, 2))

    def test_events_are_ordered_and_lie_in_the_month(self) -> None:
        times = [at(event) for event in usage_of(PROFILE, OCTOBER, 1)]

        assert all(earlier <= later for earlier, later in pairwise(times))
        assert OCTOBER.starts_at <= times[0]
        assert times[-1] < OCTOBER.ends_at

    def test_about_as_many_requests_as_expected(self) -> None:
        assert 700 < len(list(usage_of(PROFILE, OCTOBER, 1))) < 1_100

    def test_weekdays_are_busier_than_weekends(self) -> None:
        days = Counter(at(event).weekday() >= 5 for event in usage_of(PROFILE, OCTOBER, 1))

        # October 2026 has 22 weekdays and 9 days of weekend.
        assert days[False] / 22 > 4 * days[True] / 9

    def test_the_working_day_follows_the_customers_own_clock(self) -> None:
        def busiest_hour(time_zone: str) -> int:
            profile = UsageProfile("user-1", time_zone, 20_000, ("a",), 0.2, 24_000)
            return Counter(at(event).hour for event in usage_of(profile, OCTOBER, 1)).most_common(1)[0][0]

        # Mid-afternoon in Tokyo is early morning in UTC, in Los Angeles late evening.
        assert 4 <= busiest_hour("Asia/Tokyo") <= 8
        assert 20 <= busiest_hour("America/Los_Angeles") <= 24

    def test_most_tokens_are_read_from_the_cache_and_none_is_negative(self) -> None:
        totals: Counter[str] = Counter()
        for event in usage_of(PROFILE, OCTOBER, 1):
            counts = {name: value for name, value in event["data"].items() if name.endswith("_tokens")}
            assert len(counts) == 4
            assert min(counts.values()) >= 0
            totals.update(counts)

        assert totals["cache_read_tokens"] > 0.6 * totals.total()

    def test_members_share_the_work_unevenly(self) -> None:
        members = Counter(event["data"]["member"] for event in usage_of(PROFILE, OCTOBER, 1))

        assert members["a"] > members["b"] > members["c"] > 0


class TestWorld:
    def test_the_same_seed_gives_the_same_world(self) -> None:
        assert build_world(seed=1, customers=60, month=OCTOBER) == build_world(seed=1, customers=60, month=OCTOBER)

    def test_keys_and_addresses_are_unique(self) -> None:
        world = build_world(seed=1, customers=240, month=OCTOBER)

        assert len({customer.customer_key for customer in world}) == 240
        assert len({customer.email for customer in world}) == 240

    def test_every_mix_holds_each_sort_and_one_declining_card(self) -> None:
        world = build_world(seed=1, customers=4 * MIX, month=OCTOBER)

        assert Counter(customer.card for customer in world)[DECLINING_CARD] == 4
        assert {customer.plan_code for customer in world[:MIX]} == {
            "hobby", "pro", "pro_plus", "ultra", "teams", "enterprise",
        }  # fmt: skip
        assert sum(customer.imported for customer in world) == 1

    def test_usage_has_a_heavy_tail(self) -> None:
        requests = sorted(customer.usage.requests for customer in build_world(seed=1, customers=240, month=OCTOBER))

        assert requests[-1] > 12 * median(requests)
        assert sum(requests[-24:]) > sum(requests) / 3

    def test_event_ids_are_unique_over_all_customers(self) -> None:
        world = build_world(seed=1, customers=MIX, month=OCTOBER)
        events = list(usage_of_all([customer.usage for customer in world], OCTOBER, 1))

        assert len({(event["source"], event["id"]) for event in events}) == len(events)
        assert [event["time"] for event in events] == sorted(event["time"] for event in events)
        assert {event["data"]["model"] for event in events} <= set(MODEL_SHARES)

    def test_another_month_gives_other_events(self) -> None:
        september = parse_month("2026-09")

        assert {event["id"] for event in usage_of(PROFILE, OCTOBER, 1)}.isdisjoint(
            event["id"] for event in usage_of(PROFILE, september, 1)
        )
