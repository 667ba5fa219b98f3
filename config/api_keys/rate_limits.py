"""How many usage events a key may send: a token bucket for each key in Redis or Valkey, which every web process shares.

The bucket is looked into and changed by one script, so two requests never spend the same tokens, and by the server's
own clock, so that web servers need not agree on the time. Usage is never dropped for the limiter's sake: when it does
not answer, requests are let through, which is logged once and counted.
"""

import logging
import math
import time
from dataclasses import dataclass
from threading import Lock

import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.api_keys.models import ApiKey
from config.problems import problem

# Longer than any answer of a server that is well; all that a request can lose to one that is not.
TIMEOUT_SECONDS = 0.2
# After a failure it is left alone for so long, so that not every request waits for it.
REST_SECONDS = 1.0
LET_THROUGH_KEY = "api-keys:let-through"

# The bucket holds `burst` tokens and is refilled by `rate` a second. What asks for more than it can ever hold is let in
# when it is full, and is paid for afterwards: the level goes below zero. A refusal changes nothing.
# Returns 0, or how many milliseconds to wait.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local rate, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local stored = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = burst
if stored[1] then
    local passed = math.max(0, now - tonumber(stored[2]))
    level = math.min(burst, tonumber(stored[1]) + passed * rate / 1000000)
end
local needed = math.min(cost, burst)
if level < needed then
    return math.ceil((needed - level) * 1000 / rate)
end
level = level - cost
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - level) * 1000 / rate) + 1000)
return 0
"""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """Events a second in the long run, and at once after a pause."""

    per_second: int
    burst: int


def limit_of(key: ApiKey) -> Limit:
    """The key's own limit where it has one, else the one of the settings."""
    return Limit(
        per_second=key.events_per_second or settings.API_KEY_EVENTS_PER_SECOND,
        burst=key.events_burst or settings.API_KEY_EVENTS_BURST,
    )


class RateLimiter:
    """The buckets of one server. One object serves all threads of a process."""

    def __init__(self, address: str) -> None:
        self._client = redis.Redis.from_url(
            address,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            # Once more at once, for a connection that the server closed while nobody used it.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._take = self._client.register_script(_TAKE)
        self._lock = Lock()
        self._rests_until = 0.0
        self._let_through = 0

    def wait_seconds(self, key: ApiKey, events: int) -> int:
        """Take the events' tokens and return 0, or take none and return how many whole seconds to wait, at least 1.

        Returns 0 as well when the server does not answer.
        """
        if time.monotonic() < self._rests_until:
            self._count_one_let_through()
            return 0
        limit = limit_of(key)
        try:
            milliseconds = self._take(
                keys=[f"api-keys:bucket:{key.prefix}"], args=[limit.per_second, limit.burst, max(1, events)]
            )
            if self._let_through:
                self._report_let_through()
        except redis.RedisError as error:
            self._rest(error)
            return 0
        return math.ceil(int(milliseconds) / 1000)

    def let_through(self) -> int:
        """How many requests were let through unmeasured, ever, on all web processes that have reported theirs."""
        return int(self._client.get(LET_THROUGH_KEY) or 0)

    def _count_one_let_through(self) -> None:
        with self._lock:
            self._let_through += 1

    def _rest(self, error: redis.RedisError) -> None:
        """Let the request through and leave the server alone for a while. Said once an outage, not once a request."""
        with self._lock:
            self._rests_until = time.monotonic() + REST_SECONDS
            self._let_through += 1
            is_first = self._let_through == 1
        if is_first:
            logger.warning("rate limits are not applied: the server does not answer (%s)", type(error).__name__)

    def _report_let_through(self) -> None:
        with self._lock:
            count, self._let_through = self._let_through, 0
        if count:
            logger.warning("rate limits are applied again; %d requests were let through meanwhile", count)
            self._client.incrby(LET_THROUGH_KEY, count)


_limiters: dict[str, RateLimiter] = {}


def rate_limiter() -> RateLimiter:
    """The limiter on the server that the settings name."""
    address = settings.REDIS_URL
    return _limiters.get(address) or _limiters.setdefault(address, RateLimiter(address))


def refuse_above_limit(request: HttpRequest, events: int) -> HttpResponse | None:
    """None when the request's key may send so many events now, and they are charged to it; else the answer 429.

    Needs the key that `require_scope` put into the request.
    """
    key: ApiKey = request.api_key  # type: ignore[attr-defined]
    seconds = rate_limiter().wait_seconds(key, events)
    if not seconds:
        return None
    limit = limit_of(key)
    return problem(
        status=429,
        title="Rate limit exceeded",
        detail=(
            f"This API key may send {limit.per_second:,} events a second, and {limit.burst:,} at once after a pause."
            f" Nothing of this request was taken: send it again in {seconds:,} s."
        ),
        headers={"Retry-After": str(seconds)},
        events_per_second=limit.per_second,
        events_burst=limit.burst,
    )
