"""Raw events cannot be changed: attacked by SQL, as the application and as the owner of the tables."""

import psycopg
import pytest
from psycopg import errors

from metering.models import UsageEvent
from tests.metering.usage import event, ingest

CHANGES = [
    "UPDATE metering_event SET data = '{}'",
    "DELETE FROM metering_event",
    "TRUNCATE metering_event",
    "UPDATE metering_event_2026_10 SET data = '{}'",
    "DELETE FROM metering_event_2026_10",
    "TRUNCATE metering_event_2026_10",
    "UPDATE metering_event_key SET digest = key",
    "DELETE FROM metering_event_key",
    "TRUNCATE metering_event_key",
    "UPDATE metering_eventconflict SET data = '{}'",
    "DELETE FROM metering_eventconflict",
    "TRUNCATE metering_eventconflict",
]


@pytest.fixture(autouse=True)
def _stored(metered: None) -> None:
    ingest(event("e1"))
    ingest(event("e1", data={"input_tokens": 999}))


@pytest.mark.parametrize("statement", CHANGES)
def test_the_application_may_not_change_what_was_received(app_connection: psycopg.Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        app_connection.execute(statement)


@pytest.mark.parametrize("statement", CHANGES)
def test_the_owner_is_refused_by_a_named_rule(owner_connection: psycopg.Connection, statement: str) -> None:
    with pytest.raises(errors.RestrictViolation) as refusal:
        owner_connection.execute(statement)

    assert refusal.value.diag.constraint_name == "metering_events_are_immutable"
    assert UsageEvent.objects.get().data["input_tokens"] == 100


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE metering_event_mine PARTITION OF metering_event FOR VALUES FROM ('2031-01-01') TO ('2031-02-01')",
        "ALTER TABLE metering_event DISABLE TRIGGER ALL",
        "ALTER TABLE metering_event DETACH PARTITION metering_event_2026_10",
        "DROP TABLE metering_event_2026_10",
        "INSERT INTO metering_event_2026_10 SELECT * FROM metering_event",
        "SET session_replication_role = replica",
        "DELETE FROM metering_window",
        "DELETE FROM metering_quarantinedevent",
        "UPDATE metering_quarantinedevent SET data = '{}'",
        # An event that claims to be recorded by an old transaction would never be aggregated.
        """INSERT INTO metering_event
                  (event_time, received_at, recorded_xid, key, source, event_id, event_type, customer_key, data)
           SELECT event_time + interval '1 s', received_at, 3, key, source, event_id, event_type, customer_key, data
             FROM metering_event""",
    ],
)
def test_the_application_owns_nothing_to_get_around_it(app_connection: psycopg.Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        app_connection.execute(statement)


def test_partitions_can_be_made_by_the_application_only_for_plausible_months(
    app_connection: psycopg.Connection,
) -> None:
    made = app_connection.execute("SELECT metering_ensure_partitions('2041-01-31', '2041-02-01')").fetchone()
    again = app_connection.execute("SELECT metering_ensure_partitions('2041-01-01', '2041-02-01')").fetchone()

    assert (made, again) == ((1,), (0,))
    for start, end in [("1999-12-31", "2000-02-01"), ("2026-01-01", "2199-01-01"), ("2026-02-01", "2026-01-01")]:
        with pytest.raises(errors.InvalidParameterValue):
            app_connection.execute("SELECT metering_ensure_partitions(%s, %s)", [start, end])
