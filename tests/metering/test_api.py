"""POST /api/v1/events: what a service sends and what it is told."""

import gzip
import http.client
import urllib.request
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from django.test import Client, override_settings

from config import clock
from config.api_keys.models import ApiKey
from metering.models import UsageEvent
from tests.metering.usage import NOW, as_json, event
from tests.processes import WebServer

pytestmark = pytest.mark.usefixtures("metered")
ADDRESS = "/api/v1/events"


@pytest.fixture
def key() -> str:
    _, key = ApiKey.objects.create_key(name="edge", scopes=["usage:write"])
    return str(key)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The events of these tests lie in October 2026; requests arrive then."""
    monkeypatch.setattr(clock, "now", lambda: NOW)


def post(key: str, body: bytes, *, content_type: str = "application/cloudevents-batch+json", **headers: str) -> Any:
    return Client().post(
        ADDRESS, body, content_type=content_type, headers={"Authorization": f"Api-Key {key}", **headers}, secure=True
    )


@pytest.mark.parametrize("content_type", ["application/cloudevents-batch+json", "application/json"])
def test_a_batch_is_answered_with_counts_and_every_event_that_was_not_accepted(key: str, content_type: str) -> None:
    body = as_json(event("e1"), event("e2", time="2026-10-03 10:00"), event("e1"), event("e3", subject="nobody"))

    answer = post(key, body, content_type=content_type)

    assert answer.status_code == 200
    assert answer.json() == {
        "accepted": 1,
        "duplicates": 1,
        "conflicts": 0,
        "quarantined": 1,
        "refused": 1,
        "results": [
            {
                "index": 1,
                "id": "e2",
                "status": "refused",
                "reason": "the time is not RFC 3339",
                "field": "time",
                "remedy": "send RFC 3339, such as 2026-10-03T10:00:00.123456Z",
            },
            {
                "index": 2,
                "id": "e1",
                "status": "duplicate",
                "reason": "the same event was accepted before",
                "field": "id",
                "remedy": "",
            },
            {
                "index": 3,
                "id": "e3",
                "status": "quarantined",
                "reason": "the subject is not known",
                "field": "subject",
                "remedy": "it is kept and can be replayed once it is",
            },
        ],
    }


def test_one_event_may_come_without_a_list(key: str) -> None:
    answer = post(key, msgspec.json.encode(event("e1")), content_type="application/cloudevents+json")

    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)


def test_a_packed_body_is_unpacked(key: str) -> None:
    answer = post(key, gzip.compress(as_json(event("e1"), event("e2"))), **{"Content-Encoding": "gzip"})

    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)


@override_settings(METERING_MAX_BODY_BYTES=10_000)
@pytest.mark.parametrize(
    ("body", "headers", "status", "title"),
    [
        (b"hello", {}, 400, "Not JSON"),
        (b"", {}, 400, "Not JSON"),
        (b'[{"id":', {}, 400, "Not JSON"),
        (b"[" + b" " * 10_000 + b"]", {}, 413, "Body too large"),
        (b"[" + b",".join([b"1"] * 5_001) + b"]", {}, 413, "Body too large"),
        # Without the time of writing: workers name the tests by these bytes, and have to agree.
        (gzip.compress(b" " * 10_000_000, mtime=0), {"Content-Encoding": "gzip"}, 413, "Body too large"),
        (b"[]", {"Content-Encoding": "gzip"}, 400, "Not gzip"),
        (gzip.compress(b"[]", mtime=0)[:-4], {"Content-Encoding": "gzip"}, 400, "Not gzip"),
        (gzip.compress(b"[]", mtime=0) + b"more", {"Content-Encoding": "gzip"}, 400, "Not gzip"),
        (b"[]", {"Content-Encoding": "br"}, 415, "Unknown content encoding"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_problem(
    key: str, body: bytes, headers: dict[str, str], status: int, title: str
) -> None:
    answer = post(key, body, **headers)

    assert (answer.status_code, answer.json()["title"]) == (status, title)
    assert answer["Content-Type"] == "application/problem+json"
    assert UsageEvent.objects.count() == 0


def test_more_events_than_a_batch_holds_are_a_problem(key: str) -> None:
    answer = post(key, b"[" + b",".join([b"{}"] * 5_001) + b"]")

    assert (answer.status_code, answer.json()["title"]) == (413, "Too many events")


def test_an_empty_batch_is_no_mistake(key: str) -> None:
    assert post(key, b"[]").json()["accepted"] == 0


def test_only_post_and_only_with_a_key_that_may(key: str) -> None:
    _, other = ApiKey.objects.create_key(name="reader", scopes=["usage:read"])

    assert Client().get(ADDRESS, headers={"Authorization": f"Api-Key {key}"}, secure=True).status_code == 405
    assert Client().post(ADDRESS, b"[]", content_type="application/json", secure=True).status_code == 401
    assert post(str(other), b"[]").status_code == 403


def test_over_a_live_server_what_was_answered_is_durable(key: str, web_process: WebServer) -> None:
    """The server's clock is the real one, so the event is of this moment."""
    body = as_json(event("e1", time=datetime.now(tz=UTC)), event("e2", time="never"))
    request = urllib.request.Request(
        web_process.address + ADDRESS,
        data=gzip.compress(body),
        headers={
            "Authorization": f"Api-Key {key}",
            "Content-Type": "application/cloudevents-batch+json",
            "Content-Encoding": "gzip",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        told = msgspec.json.decode(answer.read())

    assert (told["accepted"], told["refused"]) == (1, 1)
    assert UsageEvent.objects.get().event_id == "e1"


def test_over_a_live_server_a_body_may_come_in_chunks(key: str, web_process: WebServer) -> None:
    """As it does from whoever streams and does not know the length beforehand."""
    body = as_json(*(event(f"e{number}", time=datetime.now(tz=UTC)) for number in range(1_000)))
    connection = http.client.HTTPConnection("127.0.0.1", web_process.port, timeout=60)
    chunks = (body[start : start + 10_000] for start in range(0, len(body), 10_000))
    headers = {"Authorization": f"Api-Key {key}", "Content-Type": "application/json"}

    connection.request("POST", ADDRESS, chunks, headers, encode_chunked=True)
    answer = connection.getresponse()
    told = msgspec.json.decode(answer.read())
    connection.close()

    assert (answer.status, told["accepted"]) == (200, 1_000)
    assert UsageEvent.objects.count() == 1_000
