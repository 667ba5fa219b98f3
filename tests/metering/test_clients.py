"""OpenMeter's and CloudEvents' own client libraries, unchanged, at the real server: only address and key differ."""

import asyncio
import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import openmeter
import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent
from corehttp.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError
from openmeter.aio import Client as AsyncClient
from openmeter.models import Event

from config.api_keys.models import ApiKey
from metering import operations
from metering.models import EventConflict, QuarantinedEvent, UsageEvent
from tests.processes import WebServer

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def key(committed_db: None) -> str:
    _, key = ApiKey.objects.create_key(name="edge", scopes=["usage:write"])
    return str(key)


@pytest.fixture
def client(key: str, web_process: WebServer) -> Iterator[openmeter.Client]:
    with openmeter.Client(endpoint=f"{web_process.address}/openmeter", token=key) as client:
        yield client


def usage(event_id: str = "e1", **changes: Any) -> Event:
    fields = {
        "id": event_id,
        "source": "edge/us-east-1",
        "specversion": "1.0",
        "type": "llm.request",
        "subject": "acme",
        "time": datetime.now(tz=UTC),
        "data": {"model": "claude-sonnet-5", "input_tokens": 7},
    }
    return Event(**{**fields, **changes})


def quantity() -> int:
    operations.catch_up_windows(now=datetime.now(tz=UTC))
    return int(sum(event.data["input_tokens"] for event in UsageEvent.objects.all()))


def body_of(error: HttpResponseError) -> Any:
    """What an exception of OpenMeter's client carries."""
    response: Any = error.response
    return response.json()


class TestOpenMeter:
    def test_sends_one_event_and_batches_in_each_of_its_ways(self, client: openmeter.Client) -> None:
        client.events.ingest_event(usage("e1"))
        client.events.ingest_events([usage("e2"), usage("e3")])
        client.events.ingest_events_json(usage("e4"))
        client.events.ingest_events_json([usage("e5"), usage("e6", time=None)])

        assert UsageEvent.objects.count() == 6
        assert quantity() == 42

    def test_sends_from_asyncio(self, key: str, web_process: WebServer) -> None:
        async def send() -> None:
            async with AsyncClient(endpoint=f"{web_process.address}/openmeter", token=key) as client:
                await client.events.ingest_event(usage("e1"))
                await client.events.ingest_events([usage("e1"), usage("e2")])

        with pytest.raises(ResourceExistsError):  # e1 came again with another time
            asyncio.run(send())
        assert UsageEvent.objects.count() == 2

    def test_may_repeat_itself(self, client: openmeter.Client) -> None:
        sent = [usage("e1"), usage("e2", time=None)]
        for _ in range(3):
            client.events.ingest_events(sent)

        assert UsageEvent.objects.count() == 2

    def test_is_not_troubled_by_what_is_kept_for_later(self, client: openmeter.Client) -> None:
        client.events.ingest_event(usage("e1", subject="not-known-yet"))

        assert QuarantinedEvent.objects.count() == 1

    def test_is_told_of_a_conflict_and_of_which_event(self, client: openmeter.Client) -> None:
        client.events.ingest_event(usage("e1"))

        with pytest.raises(ResourceExistsError) as raised:
            client.events.ingest_events([usage("e2"), usage("e1", data={"input_tokens": 999})])

        told = body_of(raised.value)
        assert (told["accepted"], told["conflicts"]) == (1, 1)
        assert [(result["index"], result["id"], result["status"]) for result in told["results"]] == [
            (1, "e1", "conflict")
        ]
        assert (quantity(), EventConflict.objects.count()) == (14, 1)

    def test_is_told_of_a_refusal_and_of_why(self, client: openmeter.Client) -> None:
        with pytest.raises(HttpResponseError, match="Some events were refused") as raised:
            client.events.ingest_events([usage("e1"), usage("e2", data={"input_tokens": -1})])

        assert raised.value.status_code == 400
        [result] = body_of(raised.value)["results"]
        assert (result["index"], result["field"]) == (1, "data.input_tokens")
        assert UsageEvent.objects.count() == 1

    def test_is_told_that_its_key_is_not_good(self, web_process: WebServer) -> None:
        with (
            openmeter.Client(endpoint=f"{web_process.address}/openmeter", token="abcdefgh.wrong") as client,
            pytest.raises(ClientAuthenticationError),
        ):
            client.events.ingest_event(usage())

    def test_finds_nothing_else_of_openmeter_here(self, client: openmeter.Client) -> None:
        with pytest.raises(HttpResponseError) as raised:
            list(client.meters.list())
        assert raised.value.status_code == 404


class TestCloudEvents:
    attributes = {"type": "llm.request", "source": "edge/us-east-1", "subject": "acme"}

    @pytest.mark.parametrize("mode", [to_structured, to_binary])
    def test_sends_in_both_of_its_modes(self, mode: Any, key: str, web_process: WebServer) -> None:
        event = CloudEvent({**self.attributes, "id": "e1"}, {"model": "claude-sonnet-5", "input_tokens": 7})

        answers = [self.send(web_process, key, *mode(event)) for _ in range(2)]

        assert [(answer["accepted"], answer["duplicates"]) for answer in answers] == [(1, 0), (0, 1)]
        assert UsageEvent.objects.get().data["input_tokens"] == 7

    def test_the_modes_are_one_event(self, key: str, web_process: WebServer) -> None:
        event = CloudEvent({**self.attributes, "datacontenttype": "application/json"}, {"input_tokens": 7})

        self.send(web_process, key, *to_structured(event))

        assert self.send(web_process, key, *to_binary(event))["duplicates"] == 1

    def test_bytes_as_data_are_refused_by_name(self, key: str, web_process: WebServer) -> None:
        answer = self.send(web_process, key, *to_structured(CloudEvent(self.attributes, b"{}")))

        assert [(result["status"], result["field"]) for result in answer["results"]] == [("refused", "data_base64")]

    def send(self, server: WebServer, key: str, headers: dict[str, str], body: bytes) -> Any:
        """With exactly the headers the library gives, as it may give no content type."""
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        try:
            connection.request("POST", "/api/v1/events", body, {**headers, "Authorization": f"Bearer {key}"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
