"""The ways in which CloudEvents travel over HTTP, and what of them cannot be taken."""

import json
from typing import Any

import pytest
from django.test import Client

from config import clock
from config.api_keys.models import ApiKey
from metering.models import EventConflict, UsageEvent
from tests.metering.usage import MORNING, NOW, hours

pytestmark = pytest.mark.usefixtures("metered")
ADDRESS = "/api/v1/events"
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e1",
    "source": "edge/us-east-1",
    "type": "llm.request",
    "subject": "acme",
    "time": "2026-10-03T10:00:00Z",
    "data": {"model": "claude-sonnet-5", "input_tokens": 7},
}


@pytest.fixture
def key() -> str:
    _, key = ApiKey.objects.create_key(name="edge", scopes=["usage:write"])
    return str(key)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


def post(key: str, body: object, *, content_type: str = STRUCTURED, **headers: str) -> Any:
    return Client().post(
        ADDRESS,
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        content_type=content_type,
        headers={"Authorization": f"Bearer {key}", **headers},
        secure=True,
    )


def binary(**changes: str) -> dict[str, str]:
    return {f"ce-{name}": str(value) for name, value in {**EVENT, **changes}.items() if name != "data"}


@pytest.mark.parametrize("content_type", [STRUCTURED, f"{STRUCTURED}; charset=UTF-8", "application/json"])
def test_one_structured_event(key: str, content_type: str) -> None:
    assert post(key, EVENT, content_type=content_type).json()["accepted"] == 1


def test_a_batch(key: str) -> None:
    assert post(key, [EVENT, {**EVENT, "id": "e2"}], content_type=BATCH).json()["accepted"] == 2


def test_one_binary_event_is_the_same_event_as_its_structured_form(key: str) -> None:
    answer = post(key, EVENT["data"], content_type="application/json", **binary())

    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
    stored = UsageEvent.objects.get()
    assert (stored.event_id, stored.source, stored.customer_key) == ("e1", "edge/us-east-1", "acme")
    assert (stored.event_time, stored.data) == (MORNING, EVENT["data"])
    assert post(key, EVENT).json()["duplicates"] == 1


def test_a_binary_event_without_data_has_none(key: str) -> None:
    assert post(key, b"", **binary(), content_type="application/json").json()["accepted"] == 1
    assert UsageEvent.objects.get().data == {}


@pytest.mark.parametrize(
    "written",
    ["caf%C3%A9 %2250%25%22", '"caf%C3%A9 \\"50%25\\""', "caf\u00c3\u00a9%20%2250%25%22"],
    ids=["percent-encoded", "quoted", "raw UTF-8"],
)
def test_the_attributes_of_a_binary_event_are_decoded_as_the_binding_says(key: str, written: str) -> None:
    post(key, EVENT["data"], content_type="application/json", **binary(id=written))

    assert UsageEvent.objects.get().event_id == 'caf\u00e9 "50%"'


def test_an_attribute_that_is_no_text_is_refused_by_its_name(key: str) -> None:
    answer = post(key, EVENT["data"], content_type="application/json", **binary(subject="acm%E9"))

    [result] = answer.json()["results"]
    assert (result["status"], result["field"], result["id"]) == ("refused", "subject", "e1")


def test_a_binary_body_that_goes_on_after_its_value_adds_no_attributes(key: str) -> None:
    answer = post(key, b'{}, "id": "e2", "subject": "beta"', content_type="application/json", **binary())

    assert (answer.status_code, answer.json()["title"]) == (400, "Not JSON")
    assert not UsageEvent.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"specversion": "2.0"}, "specversion"),
        ({"specversion": 1.0}, "specversion"),
        ({"datacontenttype": "text/csv"}, "datacontenttype"),
        ({"datacontenttype": "application/jsonlines"}, "datacontenttype"),
        ({"datacontenttype": 7}, "datacontenttype"),
        ({"data_base64": "e30="}, "data_base64"),
        ({"data": "text"}, "data"),
        ({"subject": None}, "subject"),
        ({"time": ""}, "time"),
        ({"time": "2026-10-03T10:00:00"}, "time"),
    ],
)
def test_what_cannot_be_counted_is_refused_by_field(key: str, changes: dict[str, Any], field: str) -> None:
    answer = post(key, [{**EVENT, **changes}, {**EVENT, "id": "e2"}], content_type=BATCH)

    assert (answer.json()["accepted"], answer.json()["refused"]) == (1, 1)
    [result] = answer.json()["results"]
    assert (result["index"], result["field"], bool(result["reason"]), bool(result["remedy"])) == (0, field, True, True)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x.v1+json"])
def test_every_kind_of_json_is_data(key: str, kind: str) -> None:
    assert post(key, {**EVENT, "datacontenttype": kind}).json()["accepted"] == 1


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream"])
def test_binary_data_of_another_kind_is_refused(key: str, kind: str) -> None:
    [result] = post(key, b'"hello"', content_type=kind, **binary()).json()["results"]
    assert (result["status"], result["field"]) == ("refused", "datacontenttype")


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents+xml", "application/cloudevents", f"{STRUCTURED}; charset=latin-1"]
)
def test_a_format_that_is_not_read_is_a_problem(key: str, content_type: str) -> None:
    answer = post(key, EVENT, content_type=content_type)

    assert (answer.status_code, answer["Content-Type"]) == (415, "application/problem+json")
    assert not UsageEvent.objects.exists()


class TestAnEventWithoutATime:
    """The attribute is optional: the usage happened when it was received."""

    timeless = {name: value for name, value in EVENT.items() if name != "time"}

    def test_happened_when_it_was_received(self, key: str) -> None:
        assert post(key, self.timeless).json()["accepted"] == 1
        assert UsageEvent.objects.get().event_time == NOW

    def test_is_a_duplicate_when_it_comes_again_later(self, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        post(key, self.timeless)
        monkeypatch.setattr(clock, "now", lambda: NOW + hours(3))

        answer = post(key, {**self.timeless, "time": None})

        assert (answer.json()["duplicates"], answer.json()["conflicts"]) == (1, 0)
        assert UsageEvent.objects.get().event_time == NOW

    def test_is_a_conflict_when_it_comes_again_with_another_body_or_with_a_time(self, key: str) -> None:
        post(key, self.timeless)

        assert post(key, {**self.timeless, "data": {"input_tokens": 8}}).json()["conflicts"] == 1
        assert post(key, {**self.timeless, "time": NOW.isoformat()}).json()["conflicts"] == 1
        assert EventConflict.objects.count() == 2
