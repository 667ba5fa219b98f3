"""Windows that were broken by hand are found, set right from their events, and the correction is on record."""

import io
import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from psycopg import errors

from metering import operations, queries
from metering.models import AggregationWindow, WindowRepair
from metering.models.meters import AGGREGATION_CODES
from tests.metering.test_usage import LATER, NIGHT, sampled, send
from tests.metering.usage_model import Sent

__all__ = ["sampled"]
END = NIGHT + timedelta(hours=8)
CUSTOMER = "model-repair"
BREAKS = {
    "quantity": "UPDATE metering_window SET quantity = quantity + 1",
    "events": "UPDATE metering_window SET event_count = event_count + 1",
    "fingerprint": "UPDATE metering_window SET fingerprint = fingerprint + 1",
    "moved": "UPDATE metering_window SET window_start = window_start + interval '3 hours'",
    "emptied": "UPDATE metering_window SET quantity = 0, event_count = 0, fingerprint = 0",
    "values lost": "DELETE FROM metering_window_value",
    "values told twice": "UPDATE metering_window_value SET events = events + 1",
    "gauges lost": "DELETE FROM metering_window_gauge",
    "gauges changed": "UPDATE metering_window_gauge SET last_value = last_value + 1, integral = integral + 1",
}


@pytest.fixture(autouse=True)
def _aggregated(sampled: None) -> None:
    operations.register_subjects([CUSTOMER])
    values = [("a", 0, "3"), ("b", 20, "5"), ("c", 40, "3"), ("d", 70, "1.5")]
    send(CUSTOMER, [Sent(NIGHT + timedelta(minutes=minute), name, "s", value, "ax") for name, minute, value in values])
    operations.catch_up_windows(now=LATER)


def found() -> list[queries.WindowMismatch]:
    return list(queries.verify_windows(NIGHT, END))


def repair(reason: str = "a disk lost a page") -> list[operations.RepairedWindow]:
    return list(operations.repair_windows(start=NIGHT, end=END, reason=reason, actor="user:emre", now=LATER))


def figures() -> list[tuple[Any, ...]]:
    windows = AggregationWindow.objects.exclude(event_count=0).order_by("window_start", "meter_id")
    return list(windows.values_list("window_start", "meter__code", "quantity", "event_count", "fingerprint"))


@pytest.mark.parametrize("broken", BREAKS)
def test_whatever_was_broken_is_found_repaired_and_recorded(owner_connection: psycopg.Connection, broken: str) -> None:
    before, usage = figures(), _usage()
    conserved = queries.conservation()
    _, cursor = queries.customers_with_changes_since(0)
    assert found() == []
    owner_connection.execute(BREAKS[broken])
    wrong = found()
    assert wrong

    repaired = repair()

    assert [each.mismatch for each in repaired] == wrong
    assert found() == []
    assert (figures(), _usage(), queries.conservation()) == (before, usage, conserved)
    assert queries.customers_with_changes_since(cursor)[0] == [CUSTOMER]
    records = WindowRepair.objects.all()
    assert {(record.actor, record.reason, record.repaired_at) for record in records} == {
        ("user:emre", "a disk lost a page", LATER)
    }
    assert records.count() == len(wrong)
    assert repair() == []


def test_a_repair_records_what_the_window_said_and_says(owner_connection: psycopg.Connection) -> None:
    owner_connection.execute(
        "UPDATE metering_window SET quantity = 12 WHERE window_start = %s AND meter_id ="
        " (SELECT id FROM metering_meter WHERE code = 'sum')",
        [NIGHT],
    )

    repair()

    record = WindowRepair.objects.get()
    assert (record.quantity_before, record.quantity_after, record.events_before, record.events_after) == (12, 11, 3, 3)
    assert record.meter.code == "sum"


@pytest.mark.parametrize(
    "statement", ["UPDATE metering_window_repair SET reason = 'x'", "DELETE FROM {}", "TRUNCATE {}"]
)
def test_a_repair_stays_on_record(
    owner_connection: psycopg.Connection, app_connection: psycopg.Connection, statement: str
) -> None:
    owner_connection.execute(BREAKS["quantity"])
    repair()
    attack = statement.format("metering_window_repair")

    with pytest.raises(errors.RestrictViolation) as refusal:
        owner_connection.execute(attack)
    with pytest.raises(errors.InsufficientPrivilege):
        app_connection.execute(attack)

    assert refusal.value.diag.constraint_name == "metering_repairs_are_immutable"


def test_a_repair_needs_a_reason_an_actor_and_whole_hours() -> None:
    for wrong in ({"reason": " "}, {"actor": ""}, {"end": END + timedelta(minutes=1)}, {"end": NIGHT}):
        with pytest.raises(ValueError, match=r"reason|hour|after"):
            operations.repair_windows(
                **{"start": NIGHT, "end": END, "reason": "r", "actor": "user:emre", "now": LATER, **wrong}  # type: ignore[arg-type]
            )


def test_the_command_names_repairs_and_then_finds_nothing(owner_connection: psycopg.Connection) -> None:
    owner_connection.execute(BREAKS["quantity"])
    options = {"start": NIGHT.isoformat(), "end": END.isoformat()}
    with pytest.raises(SystemExit) as stopped:
        call_command("verify_windows", stdout=io.StringIO(), **options)
    assert stopped.value.code == 1

    output = io.StringIO()
    call_command("verify_windows", stdout=output, **options, repair=True, reason="a test", actor="user:emre")
    *named, summary = [json.loads(line) for line in output.getvalue().splitlines()]
    assert summary == {"windows": len(named), "mismatches": len(named), "repaired": len(named)}
    assert {line["meter_code"] for line in named} == set(AGGREGATION_CODES)

    output = io.StringIO()
    call_command("verify_windows", stdout=output, **options)
    assert json.loads(output.getvalue())["mismatches"] == 0


@pytest.mark.parametrize(
    "options",
    [{"repair": True}, {"reason": "x"}, {"end": "2026-10-24"}, {"start": "yesterday"}, {"end": "2026-10-25T01:30"}],
)
def test_a_mistake_in_the_options_is_one_line_and_exit_code_2(options: dict[str, Any]) -> None:
    good = {"start": "2026-10-24", "end": "2026-10-25"}
    with pytest.raises(CommandError) as refused:
        call_command("verify_windows", stdout=io.StringIO(), **{**good, **options})
    assert refused.value.returncode == 2


def _usage() -> list[queries.UsageRow]:
    return [row for kind in AGGREGATION_CODES for row in queries.usage(CUSTOMER, kind, NIGHT, END, window_size="total")]
