"""How many requests Stripe gets, and whose go first. Real Valkey; where time passes, it is parts of a second."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from billing.stripe import budget, gateway
from billing.stripe.budget import Budget
from billing.stripe.errors import StripeUnavailable
from config.stack.ports import free_port

KEY = "stripe:budget:tests"
NEVER = timedelta(0)
LONG = timedelta(seconds=60)


@pytest.fixture
def bucket() -> Budget:
    return Budget(django_settings.REDIS_URL)


def waits(
    bucket: Budget, number: int, *, kind: str = "money", patience: timedelta = LONG, rate: int = 100
) -> list[int]:
    """The places of so many requests that come at once: microseconds from now; below zero where there was none."""
    return [bucket.take(key=KEY, per_second=rate, kind=kind, patience=patience) for _ in range(number)]


@pytest.mark.parametrize("rate", [2, 25, 100, 999])
def test_no_second_has_more_requests_than_the_limit(bucket: Budget, rate: int) -> None:
    begun_ns = time.monotonic_ns()
    places = []
    for _ in range(2 * rate + 2):
        since_us = (time.monotonic_ns() - begun_ns) // 1000
        places.append(since_us + waits(bucket, 1, rate=rate)[0])

    tolerance_us = 20_000  # between our clock and the server's
    for first, place in enumerate(places):
        within = [one for one in places[first:] if one < place + budget.SECOND_US - tolerance_us]
        assert len(within) <= rate


def test_the_processes_share_it(bucket: Budget) -> None:
    others = [Budget(django_settings.REDIS_URL) for _ in range(4)]

    with ThreadPoolExecutor(4) as threads:
        places = [place for found in threads.map(lambda one: waits(one, 20), others) for place in found]

    assert sum(place == 0 for place in places) <= 14  # ten at once, and what flows in meanwhile
    assert max(places) > 500_000  # 80 requests at 100 a second


def test_who_will_not_wait_gets_no_place(bucket: Budget) -> None:
    found = waits(bucket, 15, patience=NEVER)

    assert found[0] == 0
    assert min(found) < 0
    assert waits(bucket, 1)[0] < 100_000  # the refused ones took nothing


def test_bulk_work_gets_its_share_and_yields_to_money(bucket: Budget) -> None:
    alone = waits(bucket, 3, kind="bulk")
    assert alone[0] == 0
    assert alone[1] < 0  # not two at once: its share is 36 a second
    assert alone[1] >= -28_000

    waits(bucket, 30)  # money work waits for its turn

    assert waits(bucket, 1, kind="bulk")[0] < -100_000
    assert 0 < waits(bucket, 1)[0] < 300_000  # money still gets the next place


def test_after_a_rate_limit_nobody_goes(bucket: Budget) -> None:
    bucket.pause(key=KEY, wait=timedelta(seconds=5))
    bucket.pause(key=KEY, wait=timedelta(seconds=1))  # a shorter one does not end it

    other = Budget(django_settings.REDIS_URL)
    assert waits(other, 1, patience=NEVER)[0] < -4_500_000
    assert waits(other, 1, kind="bulk")[0] < -4_500_000
    assert waits(other, 1, kind="kept")[0] < -4_500_000  # also not who had its place already
    first, second = waits(other, 2, patience=LONG)
    assert first > 4_500_000
    assert second > first  # afterwards one by one, not all at once


def test_a_call_tells_how_long_to_wait(settings: Settings) -> None:
    budget.pause(timedelta(seconds=90))

    for is_bulk in (False, True):
        with pytest.raises(StripeUnavailable) as refused:
            budget.wait_for_turn(is_bulk=is_bulk)
        assert refused.value.retry_after is not None
        assert timedelta(seconds=80) < refused.value.retry_after <= timedelta(seconds=91)


def test_a_pause_is_bounded() -> None:
    budget.pause(timedelta(days=3))

    with pytest.raises(StripeUnavailable) as refused:
        budget.wait_for_turn(is_bulk=False)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after <= budget.PAUSE_MAX


def test_what_was_written_before_the_servers_clock_was_set_back_stops_nobody(bucket: Budget) -> None:
    server = redis.Redis.from_url(django_settings.REDIS_URL)
    second, microsecond = server.time()
    tomorrow = (second + 86_400) * budget.SECOND_US + microsecond
    for name in ("at", "bulk_at", "paused_until"):
        server.delete(KEY)
        server.hset(KEY, name, tomorrow)
        assert bucket.take(key=KEY, per_second=100, kind="kept", patience=NEVER) == 0
        assert waits(bucket, 1, kind="bulk") == [0], name
        server.hset(KEY, name, tomorrow)
        assert waits(bucket, 1, patience=NEVER) == [0], name

    server.hset(KEY, "paused_until", tomorrow)
    bucket.pause(key=KEY, wait=timedelta(seconds=5))  # nor does it hide what Stripe asks now
    assert -5_000_000 <= waits(bucket, 1, patience=NEVER)[0] < -4_500_000


def test_the_limit_is_stripes_unless_another_was_arranged(settings: Settings) -> None:
    settings.STRIPE_API_BASE, settings.STRIPE_REQUESTS_PER_SECOND = "", 0
    settings.STRIPE_LIVE_MODE = True
    assert budget.per_second() == 100
    settings.STRIPE_LIVE_MODE = False
    assert budget.per_second() == 25
    settings.STRIPE_API_BASE = "https://api.stripe.com"
    assert budget.per_second() == 25
    settings.STRIPE_API_BASE = "http://127.0.0.1:4010"
    assert budget.per_second() == 10_000
    settings.STRIPE_REQUESTS_PER_SECOND = 500
    assert budget.per_second() == 500


class TestWithoutValkey:
    @pytest.fixture
    def away(self, settings: Settings) -> Iterator[None]:
        settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
        yield
        budget._budgets.pop(settings.REDIS_URL, None)

    def test_each_process_keeps_to_a_share_and_says_so_once(
        self, away: None, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.STRIPE_API_BASE, settings.STRIPE_REQUESTS_PER_SECOND = "", 100
        with caplog.at_level(logging.WARNING, logger="billing.stripe.budget"):
            begun_ns = time.monotonic_ns()
            for _ in range(4):
                budget.wait_for_turn(is_bulk=False)

        assert time.monotonic_ns() - begun_ns >= 3 * 100_000_000  # ten a second, the first at once
        assert len(caplog.records) == 1
        assert "kept by each process alone" in caplog.text

    def test_a_rate_limit_still_stops_this_process(self, away: None, settings: Settings) -> None:
        budget.pause(timedelta(seconds=30))

        with pytest.raises(StripeUnavailable):
            budget.wait_for_turn(is_bulk=False)

    def test_sharing_begins_again_when_it_is_back(self, bucket: Budget, caplog: pytest.LogCaptureFixture) -> None:
        working = bucket._take

        def broken(**_: object) -> int:
            raise redis.ConnectionError

        bucket._take = broken  # type: ignore[assignment]
        waits(bucket, 1, patience=LONG)
        bucket._take, bucket._rests_until_ns = working, 0
        waits(bucket, 1)

        assert "shared again" in caplog.text


def test_bulk_work_is_said_by_the_caller() -> None:
    assert not gateway._is_bulk.get()
    with gateway.bulk_work():
        assert gateway._is_bulk.get()
        with gateway.bulk_work():
            pass
        assert gateway._is_bulk.get()
    assert not gateway._is_bulk.get()
