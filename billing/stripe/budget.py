"""
How many requests Stripe gets from all our processes together, and whose go first.

Stripe allows 100 requests a second in live mode and 25 in test mode, and answers 429 above
(https://support.stripe.com/questions/rate-limit-error-when-creating-bulk-api-requests). One bucket in Valkey is shared
by all processes; one script looks into it and changes it, by the server's own clock.

Money work takes its turn in order: a place is kept for it, up to `PATIENCE` ahead. Bulk work keeps no place: it goes
only while nobody waits, and never faster than its share. After a 429 nobody goes before Stripe's time is up.

When Valkey does not answer, each process keeps to a small share of its own, which is logged once an outage.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from urllib.parse import urlsplit

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from billing.stripe.errors import StripeUnavailable

logger = logging.getLogger(__name__)

# Requests a second, unless STRIPE_REQUESTS_PER_SECOND says what was arranged with Stripe. A stand-in has no limit.
LIVE, TEST, STAND_IN = 100, 25, 10_000
KEY = "stripe:budget:{mode}"
SECOND_US = 1_000_000
MICROSECOND = timedelta(microseconds=1)
# Bulk work gets at most this share of the requests, also when nobody else wants them: its lists are long, and what
# comes meanwhile would find the bucket empty.
BULK_PERCENT = 40
# Longest wait for a turn: a web request and a worker's lease are not to be spent on waiting.
PATIENCE = timedelta(seconds=2)
BULK_PATIENCE = timedelta(seconds=30)
# Without Valkey nobody counts the processes; ten of them stay within the limit together.
LOCAL_PROCESSES = 10
TIMEOUT_SECONDS = 0.2
# A server that did not answer is left alone for so long, so that not every request waits for it.
REST_NS = 2_000_000_000
# Stripe names no time with every 429; the longest one it may impose on us is bounded.
PAUSE_DEFAULT = timedelta(seconds=1)
PAUSE_MAX = timedelta(minutes=10)
# Places reach PATIENCE ahead, pauses PAUSE_MAX. What lies further was written before the server's clock was set back,
# and would stop everybody until that time comes again: it does not count.
AHEAD_MAX = 5 * PATIENCE

# "at" is when the next request may leave at the earliest, were there no burst (a leaky bucket; Stripe describes its own
# as one). All times are whole microseconds, and one that lies too far ahead is forgotten. Returns how long to wait
# before going; below zero: not now, that long.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, bulk_interval = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local patience = tonumber(ARGV[4])
local stored = redis.call('HMGET', KEYS[1], 'at', 'bulk_at', 'paused_until')
local ahead = (burst - 1) * interval
local function plausible(text, most)
    local moment = tonumber(text or 0)
    return moment <= now + most and moment or 0
end
local at = math.max(plausible(stored[1], ahead + tonumber(ARGV[6])), now)
local paused_until = plausible(stored[3], tonumber(ARGV[7]))
if ARGV[5] == 'kept' then
    return math.min(now - paused_until, 0)
end
if paused_until > now then
    at = math.max(at, paused_until + ahead)
end
if ARGV[5] == 'bulk' then
    local bulk_at = math.max(plausible(stored[2], bulk_interval), now)
    local wait = math.max(bulk_at - now, at - math.floor(ahead / 2) - now, paused_until - now, 0)
    if wait > 0 then
        return -wait
    end
    redis.call('HSET', KEYS[1], 'bulk_at', string.format('%.0f', bulk_at + bulk_interval))
else
    local wait = math.max(at - ahead - now, 0)
    if wait > patience then
        return -wait
    end
    now = now + wait
end
redis.call('HSET', KEYS[1], 'at', string.format('%.0f', at + interval))
redis.call('PEXPIRE', KEYS[1], 3600000)
return math.floor(now - (time[1] * 1000000 + time[2]))
"""
_PAUSE = """
local time = redis.call('TIME')
local until_us = time[1] * 1000000 + time[2] + tonumber(ARGV[1])
local known = tonumber(redis.call('HGET', KEYS[1], 'paused_until') or 0)
if until_us > known or known > time[1] * 1000000 + time[2] + tonumber(ARGV[2]) then
    redis.call('HSET', KEYS[1], 'paused_until', string.format('%.0f', until_us))
    redis.call('PEXPIRE', KEYS[1], 3600000)
end
return 0
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """A limit of requests in any one second, as a steady flow and what may go at once on top of it."""

    interval_us: int
    burst: int
    bulk_interval_us: int


def rates_of(per_second: int) -> Rates:
    """A tenth at once and the rest steadily: together never more than `per_second`, of 2 and more, in any second."""
    burst = max(1, per_second // 10)
    steady = max(1, per_second - burst)
    bulk = max(1, steady * BULK_PERCENT // 100)
    return Rates(interval_us=-(-SECOND_US // steady), burst=burst, bulk_interval_us=-(-SECOND_US // bulk))


class Budget:
    """The bucket on one server, and this process's own for when the server is away. Serves all threads of a process."""

    def __init__(self, address: str) -> None:
        self._client = redis.Redis.from_url(
            address,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            # Once more at once, for a connection that the server closed while nobody used it.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._take = self._client.register_script(_TAKE)
        self._pause = self._client.register_script(_PAUSE)
        self._lock = Lock()
        self._rests_until_ns = 0
        self._is_away = False
        self._local_at_ns = 0

    def take(self, *, key: str, per_second: int, kind: str, patience: timedelta) -> int:
        """
        Microseconds until this request may go, its place being kept; below zero: not now, and wait that long.

        `kind` is money, bulk, or kept: who waited for a place asks whether Stripe has told us to wait meanwhile.
        """
        rates, most_us = rates_of(per_second), patience // timedelta(microseconds=1)
        values: list[str | int] = [rates.interval_us, rates.burst, rates.bulk_interval_us, most_us, kind]
        values += [max(most_us, AHEAD_MAX // MICROSECOND), PAUSE_MAX // MICROSECOND]
        answer = self._ask(lambda: int(self._take(keys=[key], args=values)))
        if answer is not None:
            return answer
        return 0 if kind == "kept" else self._take_locally(per_second, most_us)

    def pause(self, *, key: str, wait: timedelta) -> None:
        """Let nobody go for so long; a pause that lasts longer already stays."""
        wait_us = wait // timedelta(microseconds=1)
        if self._ask(lambda: int(self._pause(keys=[key], args=[wait_us, PAUSE_MAX // MICROSECOND]))) is None:
            with self._lock:
                self._local_at_ns = max(self._local_at_ns, time.monotonic_ns() + wait_us * 1000)

    def _ask(self, question: Callable[[], int]) -> int | None:
        """The server's answer, or None when it has none. Said once an outage, not once a request."""
        if time.monotonic_ns() < self._rests_until_ns:
            return None
        try:
            answer = question()
        except redis.RedisError as error:
            with self._lock:
                self._rests_until_ns = time.monotonic_ns() + REST_NS
                is_first, self._is_away = not self._is_away, True
            if is_first:
                name = type(error).__name__
                logger.warning("the budget of requests to Stripe is kept by each process alone: %s", name)
            return None
        if self._is_away:
            self._is_away = False
            logger.warning("the budget of requests to Stripe is shared again")
        return answer

    def _take_locally(self, per_second: int, most_us: int) -> int:
        interval_ns = 1000 * SECOND_US // max(1, per_second // LOCAL_PROCESSES)
        with self._lock:
            now = time.monotonic_ns()
            at = max(self._local_at_ns, now)
            wait_us = (at - now) // 1000
            if wait_us > most_us:
                return -wait_us
            self._local_at_ns = at + interval_ns
            return wait_us


_budgets: dict[str, Budget] = {}


def _budget() -> Budget:
    address = settings.REDIS_URL
    return _budgets.get(address) or _budgets.setdefault(address, Budget(address))


def per_second() -> int:
    """The limit in force: of the settings, or what Stripe allows everybody."""
    if settings.STRIPE_REQUESTS_PER_SECOND:
        return int(settings.STRIPE_REQUESTS_PER_SECOND)
    if urlsplit(settings.STRIPE_API_BASE).hostname not in (None, "api.stripe.com"):
        return STAND_IN
    return LIVE if settings.STRIPE_LIVE_MODE else TEST


def _key() -> str:
    """Stripe counts each mode of an account on its own. A stand-in, too, is not to be slowed by what Stripe said."""
    return KEY.format(mode=settings.STRIPE_API_BASE or ("live" if settings.STRIPE_LIVE_MODE else "test"))


def wait_for_turn(*, is_bulk: bool) -> None:
    """Return when a request may go. Raises StripeUnavailable, with `retry_after`, where that would take too long."""
    patience_us = (BULK_PATIENCE if is_bulk else PATIENCE) // timedelta(microseconds=1)
    ends_ns = time.monotonic_ns() + patience_us * 1000
    kind = "bulk" if is_bulk else "money"
    while True:
        left_us = max(0, (ends_ns - time.monotonic_ns()) // 1000)
        wait_us = _budget().take(
            key=_key(),
            per_second=per_second(),
            kind=kind,
            patience=timedelta(microseconds=left_us),
        )
        if wait_us == 0:
            return
        if -wait_us > left_us:
            raise StripeUnavailable(
                "The budget of requests to Stripe is spent, or Stripe asked to wait.",
                retry_after=timedelta(microseconds=-wait_us),
            )
        sleep(timedelta(microseconds=abs(wait_us)))
        kind = "kept" if wait_us > 0 else ("bulk" if is_bulk else "money")


def pause(wait: timedelta) -> None:
    """Stripe limits our rate: nobody who shares the budget asks it again before `wait` is over."""
    _budget().pause(key=_key(), wait=min(wait, PAUSE_MAX))


def sleep(wait: timedelta) -> None:
    """Wait, if there is anything to wait for."""
    if wait > timedelta(0):
        time.sleep(wait / timedelta(seconds=1))
