"""Every pair is counted or excluded, by meter and day; what no meter takes is flagged, and what holds windows back."""

import re
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import psycopg
import pytest
from django.test import Client
from django.urls import reverse

from config import roles
from metering import operations, queries
from tests.metering.corrections import making
from tests.metering.usage import MORNING, NOW, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
DAYS: dict[str, Any] = {"from": "2026-10-03", "to": "2026-10-04"}
START, END = datetime(2026, 10, 3, tzinfo=UTC), datetime(2026, 10, 5, tzinfo=UTC)


def page(client: Client, status: int = 200, **query: Any) -> Any:
    answer = client.get(reverse("admin:metering_conservation"), query)
    assert answer.status_code == status
    return answer


def text(answer: Any) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", answer.content.decode()).split())


@pytest.fixture
def _usage(metered: None) -> None:
    operations.define_meter(
        code="eu_tokens",
        event_type="llm.request",
        value_path="data.input_tokens",
        aggregation="sum",
        dimensions=[],
        unit="token",
        filters=[{"region": ["eu"]}],
    )
    ingest(
        event("e1", data={"region": "eu"}),
        event("e2", time=MORNING + timedelta(days=1)),
        event("e3", data={"input_tokens": None}),
    )
    operations.catch_up_windows(now=NOW)


@pytest.mark.usefixtures("_usage")
class TestPairs:
    def test_of_each_meter_and_day_are_counted_or_excluded_and_in_windows(self, staff: Client) -> None:
        answer = page(staff, **DAYS)

        told = {
            (row.meter_code, row.day.day): (row.pairs, row.counted, {k: v for k, v in row.excluded.items() if v})
            for row in answer.context["recomputed"].pairs
        }
        assert told["input_tokens", 3] == (2, 1, {"value_absent": 1})
        assert told["input_tokens", 4] == (1, 1, {})
        assert told["eu_tokens", 3] == (2, 1, {"filtered_out": 1})
        assert told["eu_tokens", 4] == (1, 0, {"filtered_out": 1})
        assert all(row.in_windows == row.counted for row in answer.context["recomputed"].pairs)
        assert "All equal" in text(answer)
        assert "100 %" in text(answer)

    def test_that_were_voided_are_taken_from_what_windows_hold(self, staff: Client) -> None:
        making.void(making.of_ids("e1"))
        operations.catch_up_windows(now=NOW)

        rows = {(row.meter_code, row.day.day): row for row in page(staff, **DAYS).context["recomputed"].pairs}

        row = rows["input_tokens", 3]
        assert (row.counted, row.voided, row.in_windows, row.lost) == (1, 1, 0, 0)

    def test_that_a_window_lacks_are_found(self, staff: Client, owner_connection: Any) -> None:
        owner_connection.execute(
            "UPDATE metering_window SET event_count = 2 WHERE window_start = %s AND meter_id ="
            " (SELECT id FROM metering_meter WHERE code = 'input_tokens')",
            [MORNING],
        )

        answer = page(staff, **DAYS)

        assert answer.context["recomputed"].lost == 1
        assert "1 differ" in text(answer)
        assert "1 lost" in text(answer)

    def test_so_far_are_what_each_advance_recorded(self, staff: Client) -> None:
        so_far = {row.meter_code: row for row in page(staff, **DAYS).context["so_far"]}

        assert (so_far["input_tokens"].pairs, so_far["input_tokens"].counted) == (3, 2)
        assert {row.lost for row in so_far.values()} == {0}

    def test_of_too_many_events_are_not_recomputed_and_the_page_says_what_to_do(
        self, staff: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # By the module's name: the package has a function of the same one.
        monkeypatch.setattr(import_module("metering.queries.conservation"), "EVENTS_MAX", 2)

        assert "verify_windows" in text(page(staff, **DAYS))


@pytest.mark.usefixtures("_usage")
def test_events_that_no_meter_takes_are_flagged_with_the_remedy(staff: Client, owner_connection: Any) -> None:
    operations.define_meter(
        code="writes", event_type="disk.write", value_path="", aggregation="count", dimensions=[], unit="write"
    )
    ingest(event("orphan", type="disk.write", source="disk/7"))
    owner_connection.execute("ALTER TABLE metering_meter DISABLE TRIGGER metering_meter_frozen")
    owner_connection.execute("UPDATE metering_meter SET active = false, counts_before_xid = 0 WHERE code = 'writes'")
    owner_connection.execute("ALTER TABLE metering_meter ENABLE TRIGGER metering_meter_frozen")
    operations.catch_up_windows(now=NOW)

    (row,) = queries.unmetered_events(START, END, limit=5)

    assert (row.event_type, row.source, row.events, row.has_meter_now) == ("disk.write", "disk/7", 1, False)
    assert "No meter takes the type. Define one" in text(page(staff, **DAYS))
    operations.define_meter(
        code="writes", event_type="disk.write", value_path="", aggregation="count", dimensions=[], unit="write"
    )
    assert "by a backfill" in text(page(staff, **DAYS))


class TestProgress:
    def test_says_how_many_wait(self, staff: Client) -> None:
        ingest(event("e1"))

        progress = queries.aggregation_progress()

        # Who holds windows back is not said here: other tests have transactions open on the same server.
        assert (progress.waiting, progress.oldest_received_at) == (1, NOW)
        operations.catch_up_windows(now=NOW)
        assert queries.aggregation_progress().waiting == 0
        assert "every event is in its windows" in text(page(staff))

    def test_names_the_transaction_that_holds_windows_back(
        self, staff: Client, app_connection: psycopg.Connection
    ) -> None:
        with app_connection.transaction():
            app_connection.execute("SET LOCAL application_name = 'a forgotten shell'")
            app_connection.execute("SELECT pg_current_xact_id()")
            ingest(event("e1"))
            operations.advance_windows(now=NOW)

            progress = queries.aggregation_progress()

            assert progress.waiting == 1
            assert app_connection.info.backend_pid in {holder.pid for holder in progress.held_by}
            assert "a forgotten shell" in text(page(staff))


def test_without_anything_the_page_says_so(staff: Client) -> None:
    assert "No events on these days." in text(page(staff))


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2026-10-04", "to": "2026-10-03"},
        {"from": "2026-10-04"},
        {"from": "2026-01-01", "to": "2026-12-31"},
        {"from": "0001-01-01", "to": "0001-01-01"},
        {"from": "9999-12-31", "to": "9999-12-31"},
        {"from": "x\x00", "to": "9" * 5_000},
    ],
)
def test_days_that_cannot_be_recomputed_are_said_on_the_form(staff: Client, query: dict[str, str]) -> None:
    assert page(staff, 422, **query).context["form"].errors


@pytest.mark.parametrize(
    ("role", "status"), [(roles.ENGINEERING, 200), (roles.FINANCE, 200), (roles.CUSTOMER_SUCCESS, 403)]
)
def test_the_page_is_for_who_keeps_the_machine_or_the_books(as_role: Any, role: str, status: int) -> None:
    page(as_role(role), status)
