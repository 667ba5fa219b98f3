"""Windows are proved against raw events, and what does not fit is named."""

from datetime import timedelta

import psycopg
import pytest

from metering import operations, queries
from metering.queries import WindowFigures
from tests.metering.usage import MORNING, NOVEMBER, NOW, OCTOBER, event, ingest

pytestmark = pytest.mark.usefixtures("metered")


def catch_up() -> operations.WindowAdvance:
    return operations.catch_up_windows(now=NOW)


def mismatches() -> list[queries.WindowMismatch]:
    return list(queries.verify_windows(OCTOBER, NOVEMBER))


@pytest.mark.parametrize(
    "alteration",
    [
        "SET data = jsonb_set(data, '{input_tokens}', '101')",
        "SET event_time = event_time + interval '1 microsecond'",
        "SET customer_key = 'beta'",
        "SET event_id = 'other'",
        "SET data = jsonb_set(data, '{model}', '\"claude-opus-5\"')",
    ],
)
def test_verification_finds_an_altered_event(owner_connection: psycopg.Connection, alteration: str) -> None:
    ingest(event("e1"), event("e2"))
    catch_up()
    owner_connection.execute("ALTER TABLE metering_event DISABLE TRIGGER metering_immutable_row")
    owner_connection.execute(f"UPDATE metering_event {alteration} WHERE event_id = 'e2'")
    owner_connection.execute("ALTER TABLE metering_event ENABLE TRIGGER metering_immutable_row")

    found = mismatches()

    assert found
    assert {(row.window_start, row.meter_code) for row in found} >= {(MORNING, "input_tokens")}
    assert list(queries.verify_windows(OCTOBER, NOVEMBER, ["acme"]))


def test_verification_names_a_window_without_events_and_events_without_a_window(
    owner_connection: psycopg.Connection,
) -> None:
    ingest(event("e1", data={"input_tokens": 5}))
    catch_up()
    owner_connection.execute(
        "UPDATE metering_window SET window_start = window_start + interval '1 hour'"
        " WHERE meter_id = (SELECT id FROM metering_meter WHERE code = 'input_tokens')"
    )

    without_window, without_events = mismatches()

    assert (without_window.window_start, without_window.stored) == (MORNING, None)
    assert without_window.recomputed is not None
    assert without_window.recomputed.quantity == 5
    assert (without_events.window_start, without_events.recomputed) == (MORNING + timedelta(hours=1), None)
    assert isinstance(without_events.stored, WindowFigures)


def test_verification_wants_whole_hours() -> None:
    with pytest.raises(ValueError, match="not on the hour"):
        queries.verify_windows(OCTOBER, OCTOBER + timedelta(minutes=30))
