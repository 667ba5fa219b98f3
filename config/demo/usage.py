"""
A month of one customer's requests: seeded, in order of time, with the rhythm of people at work.

Requests come in sessions. Within one session the context grows, and each request makes several calls of the model that
read it again, so most tokens come from the cache, as in the traffic of code editors. Sessions follow the hours and
weekdays of the customer's own time zone. Only token counts are drawn here; no price is known and no money is computed,
which is why floating point is allowed.
"""

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from config.demo.month import Month

EVENT_TYPE = "llm.request"
SOURCES = ("edge/us-east-1", "edge/us-west-2", "edge/eu-central-1", "edge/ap-south-1")
# How often people choose each model; the codes are those of catalogue.yaml.
MODEL_SHARES = {
    "auto": 30,
    "claude-sonnet-5": 24,
    "gpt-5.2": 12,
    "composer-2.5": 12,
    "gemini-3-pro": 8,
    "claude-opus-4.5": 7,
    "claude-haiku-5": 5,
    "grok-code": 2,
}
# How likely a session starts in each hour of a working day, local time: lunch at noon, a second, smaller evening peak.
WORKING_HOURS = (2, 1, 1, 1, 1, 2, 4, 10, 28, 60, 78, 80, 55, 62, 84, 88, 80, 62, 36, 24, 22, 18, 11, 5)
WEEKEND_HOURS = (3, 2, 1, 1, 1, 1, 2, 4, 9, 16, 22, 25, 22, 22, 25, 26, 25, 22, 20, 20, 22, 20, 14, 7)
REQUESTS_IN_A_SESSION = 7
CALLS_IN_A_REQUEST = 7
# A session keeps at most this much context; then it is summarised and starts small again.
CONTEXT_LIMIT_TOKENS = 180_000


@dataclass(frozen=True, slots=True)
class UsageProfile:
    """What makes one customer's month its own."""

    customer_key: str
    time_zone: str
    # Expected requests in the month, all members together.
    requests: int
    # Who works, the busiest first.
    members: tuple[str, ...]
    # 1 works at weekends as on a weekday evening; 0 not at all.
    weekend_share: float
    # Typical length of a prompt's context; heavier users carry more.
    context_tokens: int


def usage_of(profile: UsageProfile, month: Month, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the customer's events as CloudEvents, ordered by time. The same arguments give the same events."""
    generator = random.Random(f"{seed}/{month}/{profile.customer_key}")
    weights = _hour_weights(profile.time_zone, month, profile.weekend_share)
    sessions_per_weight = profile.requests / REQUESTS_IN_A_SESSION / sum(weights)
    model_codes, model_weights = tuple(MODEL_SHARES), tuple(MODEL_SHARES.values())
    favourite = generator.choices(model_codes, model_weights)[0]
    ahead: list[tuple[datetime, str, dict[str, Any]]] = []
    for hour, weight in enumerate(weights):
        hour_starts_at = month.starts_at + timedelta(hours=hour)
        while ahead and ahead[0][0] < hour_starts_at:
            yield heapq.heappop(ahead)[2]
        for _ in range(_poisson(generator, weight * sessions_per_weight)):
            model = favourite if generator.random() < 0.6 else generator.choices(model_codes, model_weights)[0]
            for event in _session(generator, profile, model, hour_starts_at, month.ends_at):
                heapq.heappush(ahead, event)
    while ahead:
        yield heapq.heappop(ahead)[2]


def usage_of_all(profiles: list[UsageProfile], month: Month, seed: int) -> Iterator[dict[str, Any]]:
    """Yield everybody's events, ordered by time, holding one hour of each customer in memory."""
    return heapq.merge(*(usage_of(profile, month, seed) for profile in profiles), key=lambda event: event["time"])


@cache
def _hour_weights(time_zone: str, month: Month, weekend_share: float) -> tuple[float, ...]:
    """Return, for each UTC hour of the month, how busy it is in the given zone."""
    zone = ZoneInfo(time_zone)
    weights = []
    for hour in range(month.hours):
        local = (month.starts_at + timedelta(hours=hour)).astimezone(zone)
        weekend = local.weekday() >= 5
        weights.append(weekend_share * WEEKEND_HOURS[local.hour] if weekend else float(WORKING_HOURS[local.hour]))
    return tuple(weights)


def _session(
    generator: random.Random, profile: UsageProfile, model: str, hour_starts_at: datetime, ends_at: datetime
) -> Iterator[tuple[datetime, str, dict[str, Any]]]:
    """Yield (time, id, event) of one person's run of requests to one model; what would pass the month's end is left."""
    # The square gives most of the work to the first members of the list.
    member = profile.members[int(len(profile.members) * generator.random() ** 2)]
    source = generator.choice(SOURCES)
    at = hour_starts_at + timedelta(microseconds=generator.randrange(3_600_000_000))
    context = int(profile.context_tokens * generator.lognormvariate(0, 0.5))
    cached = 0
    for _ in range(_geometric(generator, REQUESTS_IN_A_SESSION)):
        if at >= ends_at:
            return
        context = min(context, CONTEXT_LIMIT_TOKENS)
        calls = _geometric(generator, CALLS_IN_A_REQUEST)
        output = 1 + int(calls * generator.lognormvariate(6.2, 0.8))
        data = {
            "model": model,
            "input_tokens": 1 + int(generator.lognormvariate(5.5, 1.0)),
            "output_tokens": output,
            "cache_write_tokens": context - cached,
            "cache_read_tokens": cached + (calls - 1) * context,
            "member": member,
        }
        event_id = f"req_{generator.getrandbits(96):024x}"
        yield at, event_id, _event(profile.customer_key, source, event_id, at, data)
        cached = context
        context += output + int(generator.lognormvariate(7.3, 0.9))
        if context > CONTEXT_LIMIT_TOKENS:
            context, cached = profile.context_tokens, 0
        at += timedelta(microseconds=int(generator.expovariate(1 / 70e6)) + 2_000_000)


def _event(customer_key: str, source: str, event_id: str, at: datetime, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": EVENT_TYPE,
        "subject": customer_key,
        "time": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z",
        "data": data,
    }


def _geometric(generator: random.Random, mean: int) -> int:
    """Return 1, 2, 3 … with the given mean."""
    return 1 + int(math.log(1 - generator.random()) / math.log(1 - 1 / mean))


def _poisson(generator: random.Random, expected: float) -> int:
    """Return a count with the given mean, by multiplying uniform draws (Knuth); meant for small means."""
    limit, product, count = math.exp(-expected), generator.random(), 0
    while product > limit:
        product *= generator.random()
        count += 1
    return count
