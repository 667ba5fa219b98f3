"""No address of usage, page or API, breaks on what no page of ours links to: it is refused, or shows nothing."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from config import roles
from config.api_keys.models import ApiKey
from metering import operations
from metering.event_keys import event_key
from tests.metering.usage import NOW, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
VALUES = (
    "\x00",
    "a\x00b",
    "\ud800",
    "\uffff\u202e",
    "9" * 5_000,
    "-1",
    "²",
    "٣" * 30,
    "infinity",
    "0001-01-01T00:00:00+05:00",
    "9999-12-31T23:59:59-05:00",
    "../../etc/passwd",
    "' OR 1=1 --",
    "%s%(x)s",
    "{}",
    '<script>alert("x")</script>',
    "",
)
PAGE_NAMES = (
    *("customer", "source", "id", "type", "meter", "state", "from", "before", "to", "zone", "window", "after"),
    *("by", "group", "q", "nonsense"),
)
API_NAMES = (
    *("customer", "source", "id", "type", "meter", "state", "from", "to", "time_zone", "window", "limit", "cursor"),
    *("group_by", "where.model", "where.", "nonsense"),
)
WORST = VALUES[:1] + VALUES[2:3] + VALUES[4:5]
KEY = event_key("edge/us-east-1", "e1")


@pytest.fixture(autouse=True)
def _usage(metered: None) -> None:
    ingest(event("e1"))
    operations.catch_up_windows(now=NOW)


def queries_of(names: Sequence[str]) -> list[dict[str, str]]:
    """Each value under every name at once, and the worst of them under each name alone."""
    together = [dict.fromkeys(names, value) for value in VALUES]
    return [*together, *({name: value} for name, value in itertools.product(names, WORST))]


def status_of(client: Client, address: str, query: dict[str, str], **headers: str) -> int:
    """Of the whole answer: what is streamed may break after its status is sent."""
    wanted = {name: value.encode("utf-8", "surrogatepass") for name, value in query.items()}
    answer: Any = client.get(address, wanted, headers=headers)
    if answer.streaming:
        b"".join(answer.streaming_content)
    assert '<script>alert("x")' not in (b"" if answer.streaming else answer.content).decode()
    return int(answer.status_code)


PAGES: tuple[tuple[str, list[Any]], ...] = (
    ("metering_usageevent_changelist", []),
    ("metering_usageevent_change", [KEY]),
    ("metering_aggregationwindow_changelist", []),
    ("metering_usage", []),
    ("metering_usage_file", []),
    ("metering_customer_usage", ["acme"]),
    ("metering_customer_usage_file", ["acme"]),
    ("metering_conservation", []),
)


@pytest.mark.usefixtures("without_menu")
@pytest.mark.parametrize(("name", "arguments"), PAGES)
def test_no_page_breaks_on_a_value(staff: Client, name: str, arguments: list[str]) -> None:
    address = reverse(f"admin:{name}", args=arguments)

    seen = {status_of(staff, address, query) for query in queries_of(PAGE_NAMES)}

    assert seen <= {200, 302, 400, 422}


@pytest.mark.parametrize("path", ["customers/acme/usage", "meters", "usage/events", f"usage/events/{KEY}"])
def test_no_answer_breaks_on_a_value(client: Client, path: str) -> None:
    _, key = ApiKey.objects.create_key(name="service", scopes=["usage:read"])
    whole = {"meter": "input_tokens", "from": "2026-10-01", "to": "2026-11-01"} if "acme" in path else {}

    seen = {
        status_of(client, f"/api/v1/{path}", {**whole, name: value}, Authorization=f"Api-Key {key}")
        for name, value in itertools.product(API_NAMES, VALUES)
    }

    assert seen <= {200, 400, 404}


@pytest.mark.parametrize("part", ["%00", "a%00b", "%ED%A0%80", "9" * 2_000, "..%2F", "%25s", "%3Cscript%3E", "%F0%9F"])
def test_no_part_of_an_address_breaks_it(client: Client, staff: Client, part: str) -> None:
    _, key = ApiKey.objects.create_key(name="service", scopes=["usage:read"])
    query = "meter=input_tokens&from=2026-10-01&to=2026-11-01"
    for path in (f"customers/{part}/usage?{query}", f"usage/events/{part}"):
        assert status_of(client, f"/api/v1/{path}", {}, Authorization=f"Api-Key {key}") == 404
    windows = reverse("admin:metering_aggregationwindow_changelist")
    for address in (f"{windows}customers/{part}/usage/", f"{windows}customers/{part}/usage.csv"):
        assert status_of(staff, address, {}) in (200, 404)
    assert status_of(staff, f"{reverse('admin:metering_usageevent_changelist')}{part}/change/", {}) in (302, 404)


@pytest.mark.parametrize(
    ("role", "closed"),
    [
        (roles.CUSTOMER_SUCCESS, {"metering_conservation", "metering_quarantinedevent_changelist"}),
        (roles.FINANCE, {"metering_quarantinedevent_changelist"}),
        (roles.ENGINEERING, set()),
    ],
)
def test_each_role_opens_what_its_work_needs(as_role: Any, role: str, closed: set[str]) -> None:
    reader = as_role(role)
    pages = [*PAGES, ("metering_quarantinedevent_changelist", [])]

    statuses = {name: reader.get(reverse(f"admin:{name}", args=arguments)).status_code for name, arguments in pages}

    assert {name for name, status in statuses.items() if status == 403} == closed
    assert set(statuses.values()) <= {200, 403}
