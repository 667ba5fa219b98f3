"""How many usage events a key may send, against a real Valkey: one that is well, one that hangs, and none."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client, override_settings

from config.api_keys.models import ApiKey
from config.api_keys.rate_limits import Limit, RateLimiter, limit_of, rate_limiter
from config.stack import ProcessSupervisor, valkey
from metering.models import UsageEvent
from tests.metering import usage

ADDRESS = "/api/v1/events"
OVERDRAFT = 60  # events at one a second: for the next minute the key is refused, however slow the machine is


@pytest.fixture
def metered(committed_db: None) -> None:
    usage.prepare()


def make_key(per_second: int | None, burst: int | None) -> tuple[ApiKey, str]:
    row, key = ApiKey.objects.create_key(
        name="edge", scopes=["usage:write"], events_per_second=per_second, events_burst=burst
    )
    assert isinstance(row, ApiKey)
    return row, key


def let_pass(key: ApiKey, seconds: int) -> None:
    """As if the bucket had been looked at so much earlier."""
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.hincrby(f"api-keys:bucket:{key.prefix}", "at", -seconds * 1_000_000)


def post(key: str, events: int) -> Any:
    body = usage.as_json(*(usage.event(f"e{number}", time=None) for number in range(events)))
    headers = {"Authorization": f"Bearer {key}"}
    return Client().post(ADDRESS, body, content_type="application/json", headers=headers, secure=True)


@pytest.fixture
def limiter() -> RateLimiter:
    return RateLimiter(settings.REDIS_URL)


@pytest.mark.django_db
class TestABucket:
    def test_gives_its_burst_at_once_and_then_its_rate(self, limiter: RateLimiter) -> None:
        key, _ = make_key(10, 100)
        assert limiter.wait_seconds(key, 60) == 0
        assert limiter.wait_seconds(key, 40) == 0
        assert limiter.wait_seconds(key, 20) == 2
        let_pass(key, 2)
        assert limiter.wait_seconds(key, 20) == 0

    def test_waiting_as_long_as_it_says_is_enough_and_a_second_less_is_not(self, limiter: RateLimiter) -> None:
        key, _ = make_key(7, 50)
        assert limiter.wait_seconds(key, 50) == 0
        seconds = limiter.wait_seconds(key, 40)
        let_pass(key, seconds - 1)
        assert limiter.wait_seconds(key, 40) == 1
        let_pass(key, 1)
        assert limiter.wait_seconds(key, 40) == 0

    def test_a_refusal_takes_nothing(self, limiter: RateLimiter) -> None:
        key, _ = make_key(1, 10)
        assert limiter.wait_seconds(key, 5) == 0
        for _ in range(20):
            assert limiter.wait_seconds(key, 6) > 0
        assert limiter.wait_seconds(key, 5) == 0

    def test_never_holds_more_than_its_burst(self, limiter: RateLimiter) -> None:
        key, _ = make_key(10, 20)
        assert limiter.wait_seconds(key, 20) == 0
        let_pass(key, 1_000)
        assert limiter.wait_seconds(key, 20) == 0
        assert limiter.wait_seconds(key, 20) == 2

    def test_a_batch_larger_than_the_burst_is_taken_when_full_and_paid_for_afterwards(
        self, limiter: RateLimiter
    ) -> None:
        """No batch that the endpoint takes may be one that the limiter never lets in."""
        key, _ = make_key(10, 20)
        assert limiter.wait_seconds(key, 120) == 0
        assert limiter.wait_seconds(key, 1) == 11
        let_pass(key, 11)
        assert limiter.wait_seconds(key, 1) == 0

    def test_a_request_without_events_costs_as_much_as_one(self, limiter: RateLimiter) -> None:
        key, _ = make_key(1, 2)
        assert [limiter.wait_seconds(key, 0) for _ in range(3)] == [0, 0, 1]

    def test_is_the_keys_own(self, limiter: RateLimiter) -> None:
        (first, _), (second, _) = make_key(1, 5), make_key(1, 5)
        assert limiter.wait_seconds(first, 5) == 0
        assert limiter.wait_seconds(first, 5) == 5
        assert limiter.wait_seconds(second, 5) == 0

    def test_outlives_the_process_and_not_its_use(self, limiter: RateLimiter) -> None:
        key, _ = make_key(10, 100)
        limiter.wait_seconds(key, 50)
        assert RateLimiter(settings.REDIS_URL).wait_seconds(key, 60) == 1
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            assert 0 < client.pttl(f"api-keys:bucket:{key.prefix}") <= 6_000

    def test_many_at_once_get_no_more_than_one_after_another(self) -> None:
        key, _ = make_key(1, 1_000)
        admitted: list[int] = []
        together = threading.Barrier(8)

        def take() -> None:
            limiter = RateLimiter(settings.REDIS_URL)
            together.wait()
            admitted.extend(7 for _ in range(100) if limiter.wait_seconds(key, 7) == 0)

        started = time.monotonic()
        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 994 <= sum(admitted) <= 1_000 + (time.monotonic() - started)


@pytest.mark.django_db
class TestTheLimit:
    @override_settings(API_KEY_EVENTS_PER_SECOND=3, API_KEY_EVENTS_BURST=9)
    def test_is_the_settings_where_the_key_has_none(self) -> None:
        assert limit_of(make_key(None, None)[0]) == Limit(3, 9)
        assert limit_of(make_key(5, None)[0]) == Limit(5, 9)
        assert limit_of(make_key(None, 1)[0]) == Limit(3, 1)

    @pytest.mark.parametrize(("per_second", "burst"), [(0, None), (None, 0), (10_000_001, 1), (-1, 1)])
    def test_cannot_be_impossible(self, per_second: int | None, burst: int | None) -> None:
        with pytest.raises(IntegrityError, match=r"api_key_limits_are_possible|_check"), transaction.atomic():
            make_key(per_second, burst)

    def test_may_be_given_when_the_key_is_made(self) -> None:
        call_command("create_api_key", "edge", "usage:write", "--events-per-second", "5", "--events-burst", "50")
        assert limit_of(ApiKey.objects.get()) == Limit(5, 50)
        with pytest.raises(CommandError, match="from 1 to 10,000,000"):
            call_command("create_api_key", "edge", "usage:write", "--events-per-second", "0")


class TestTheEndpoint:
    def test_takes_a_batch_whole_or_not_at_all(self, metered: None) -> None:
        row, key = make_key(1, 10)

        assert post(key, 6).status_code == 200
        answer = post(key, 8)

        assert (answer.status_code, answer["Content-Type"]) == (429, "application/problem+json")
        assert 1 <= int(answer["Retry-After"]) <= 4  # a second less for each that the machine took
        told = answer.json()
        assert (told["title"], told["events_per_second"], told["events_burst"]) == ("Rate limit exceeded", 1, 10)
        assert "1 events a second" in told["detail"]
        assert UsageEvent.objects.count() == 6
        let_pass(row, 4)
        assert post(key, 8).json()["accepted"] == 2
        assert UsageEvent.objects.count() == 8

    def test_is_the_same_for_openmeters_address(self, metered: None) -> None:
        _, key = make_key(1, 1)
        headers = {"Authorization": f"Bearer {key}"}
        batch = usage.as_json(*(usage.event(f"e{number}", time=None) for number in range(OVERDRAFT)))
        statuses = [
            Client().post(
                "/openmeter/api/v1/events", body, content_type="application/json", headers=headers, secure=True
            )
            for body in (batch, b"[]")
        ]
        assert [answer.status_code for answer in statuses] == [204, 429]

    def test_does_not_write_keys_into_logs(self, metered: None, caplog: pytest.LogCaptureFixture) -> None:
        _, key = make_key(1, 1)
        with caplog.at_level(logging.DEBUG):
            answers = [post(key, OVERDRAFT), post(key, 1), post(f"{key}x", 1)]
            assert [answer.status_code for answer in answers] == [200, 429, 401]
        assert key.partition(".")[2] not in caplog.text


class TestAServerThatDoesNotAnswer:
    """Usage is never dropped because of the limiter."""

    @pytest.fixture
    def address(self, processes: ProcessSupervisor, tmp_path: Path) -> str:
        return f"{valkey.start_server(processes, tmp_path / 'valkey', durable=False)}/0"

    @pytest.fixture
    def stopped(self, processes: ProcessSupervisor, address: str) -> Iterator[Callable[[], None]]:
        """The server takes connections and answers nothing; the function lets it go on."""
        process = processes.process("valkey").popen
        process.send_signal(signal.SIGSTOP)
        yield lambda: process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGCONT)

    def test_that_is_gone_lets_every_request_through_and_is_named_once(
        self, metered: None, processes: ProcessSupervisor, address: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, key = make_key(1, 1)
        with override_settings(REDIS_URL=address):
            assert [post(key, events).status_code for events in (OVERDRAFT, 1)] == [200, 429]
            processes.kill("valkey")
            started = time.monotonic()
            assert {post(key, 5).status_code for _ in range(20)} == {200}
        assert time.monotonic() - started < 60
        warnings = [record.getMessage() for record in caplog.records if record.name == "config.api_keys.rate_limits"]
        assert warnings == ["rate limits are not applied: the server does not answer (ConnectionError)"]

    @pytest.mark.django_db
    def test_that_hangs_is_asked_once_a_second_and_what_it_let_through_is_counted(
        self, address: str, stopped: Callable[[], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        key, _ = make_key(1, 1)
        limiter = RateLimiter(address)
        started = time.monotonic()
        assert {limiter.wait_seconds(key, 1) for _ in range(500)} == {0}
        assert time.monotonic() - started < 20, "only one of them may wait for it"
        stopped()
        deadline = time.monotonic() + 60
        while not (to_wait := limiter.wait_seconds(key, 1)) and time.monotonic() < deadline:
            time.sleep(0.05)

        assert to_wait > 0, "it is asked again"
        assert limiter.let_through() >= 500
        assert [record.getMessage().partition(":")[0].partition(";")[0] for record in caplog.records] == [
            "rate limits are not applied",
            "rate limits are applied again",
        ]

    @pytest.mark.django_db
    def test_that_refuses_us_lets_through_too(self, address: str) -> None:
        key, _ = make_key(1, 1)
        wrong = address.replace("redis://:", "redis://:not-")
        limiter = RateLimiter(wrong)
        assert [limiter.wait_seconds(key, 1) for _ in range(3)] == [0, 0, 0]


def test_one_process_has_one_limiter_for_a_server() -> None:
    assert rate_limiter() is rate_limiter()
