"""/metrics: for a key with its scope, in Prometheus' own format, at a cost that does not grow."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from config import clock
from config.api_keys.models import ApiKey
from metering import operations
from metering.alarms import Finding
from metering.metrics import exposition
from metering.operations.alarms import keep_alarms
from tests.metering.usage import event, ingest

pytestmark = pytest.mark.usefixtures("metered")


def read(scope: str = "metrics:read", method: str = "get") -> "object":
    _, key = ApiKey.objects.create_key(name="watcher", scopes=[scope])
    headers = {"Authorization": f"Api-Key {key}", "X-Forwarded-Proto": "https"}
    return getattr(Client(headers=headers), method)("/metrics", secure=True)


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def usage() -> None:
    now = clock.now()
    recent = now - timedelta(minutes=30)
    ingest(event("e1", time=recent), event("e1", time=recent), event("e2", subject="x", time=recent), received_at=now)
    ingest(event("e1", time=recent, data={"input_tokens": 3}), event("e9", time="nonsense"), received_at=now)
    operations.catch_up_windows(now=clock.now())
    keep_alarms([Finding("conflicts", "edge", "none", "1")], now=now)


def test_says_what_there_is() -> None:
    usage()
    answer = read()
    found = samples(answer.content.decode())  # type: ignore[attr-defined]

    outcomes = ("accepted", "duplicate", "conflict", "quarantined", "refused")
    assert [found[("usage_events_total", outcome)] for outcome in outcomes] == [1, 1, 1, 1, 1]
    assert found[("usage_conservation_ratio",)] == 1
    assert (found[("usage_pairs_total", "counted")], found[("usage_pairs_total", "excluded_value_absent")]) == (3, 1)
    assert found[("usage_alarms_open", "conflicts")] == 1
    assert found[("usage_alarms_open", "source_silent")] == 0
    assert found[("usage_freshness_events", "windowed")] == 1
    assert ("usage_freshness_seconds", "0.99", "windowed") in found
    assert found[("usage_months_ahead",)] >= 1
    assert 0 <= found[("usage_lag_seconds",)] < 60


@pytest.mark.parametrize("scope", ["usage:read", "usage:write", "billing:read"])
def test_no_other_scope_reads_it(scope: str) -> None:
    assert read(scope).status_code == 403  # type: ignore[attr-defined]


def test_nobody_reads_it_without_a_key() -> None:
    answer = Client(headers={"X-Forwarded-Proto": "https"}).get("/metrics", secure=True)
    assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")


def test_it_is_read_only() -> None:
    assert read(method="post").status_code == 405  # type: ignore[attr-defined]


def test_the_number_of_questions_does_not_grow() -> None:
    def questions() -> int:
        with CaptureQueriesContext(
            connection,
        ) as asked:
            exposition(clock.now())
        return len(asked)

    empty = questions()
    usage()
    assert questions() == empty <= 20
