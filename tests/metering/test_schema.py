"""The API's description says what the ingest endpoint really answers."""

from dataclasses import fields
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from metering.api.ingest import outcomes
from metering.api.schema import OPENMETER_PATH, PATH
from metering.operations import UsageEventInput, ingest_events
from tests.factories import OCTOBER


@pytest.fixture
def operation() -> dict[str, Any]:
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    found: dict[str, Any] = document["paths"][PATH]["post"]
    return found


@pytest.mark.django_db
def test_the_answer_has_the_fields_that_are_described(operation: dict[str, Any]) -> None:
    described = operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    event = UsageEventInput(id="1", source="s", type="t", subject="nobody", time=OCTOBER, data={})

    answer = outcomes(ingest_events([event], received_at=OCTOBER))

    assert set(answer) == set(described)
    [outcome] = ingest_events([event], received_at=OCTOBER).outcomes
    assert {field.name for field in fields(outcome)} == set(described["results"]["items"]["properties"])
    assert outcome.status in described["results"]["items"]["properties"]["status"]["enum"]


@pytest.mark.django_db
def test_every_refusal_of_access_is_described(operation: dict[str, Any], client: Client) -> None:
    assert client.post(PATH, data="{}", content_type="application/json").status_code == 401
    assert "401" in operation["responses"]


def test_openmeters_address_is_described_with_its_answers() -> None:
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    responses = document["paths"][OPENMETER_PATH]["post"]["responses"]
    assert list(responses) == ["204", "400", "401", "403", "409", "413", "415", "429", "503"]
    assert [status for status in responses if "Retry-After" in responses[status].get("headers", {})] == ["429", "503"]
