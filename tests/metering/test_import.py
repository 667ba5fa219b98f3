"""manage.py import_usage: files of usage, row by row, as often as one likes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from metering import operations, queries
from metering.import_rules import ImportRules
from metering.imports import ImportedTwiceAtOnce, ImportPlan, run_import
from metering.models import ImportRun, UsageEvent
from tests.metering.usage import MORNING, NOVEMBER, NOW, OCTOBER

pytestmark = pytest.mark.usefixtures("metered")

TRACE = Path(__file__).resolve().parents[3] / "shared/data/traces/AzureLLMInferenceTrace_code.csv"
MAPPING = (
    "--map",
    "time=TIMESTAMP",
    "--map",
    "data.input_tokens=ContextTokens",
    "--map",
    "data.output_tokens=GeneratedTokens",
    "--set",
    "type=llm.request",
    "--subject-rule",
    "round-robin:acme,beta",
    "--model-rule",
    "fixed:claude-sonnet-5",
)


def run(path: Path, *options: str) -> tuple[int, dict[str, int], list[str]]:
    """Exit code, the summary of the last line, and the lines before it."""
    out = StringIO()
    code = 0
    try:
        call_command("import_usage", str(path), *options, stdout=out)
    except SystemExit as exit_:
        code = int(str(exit_.code))
    *lines, last = out.getvalue().splitlines()
    return code, json.loads(last), lines


def csv_file(tmp_path: Path, *rows: str, header: str = "TIMESTAMP,ContextTokens,GeneratedTokens") -> Path:
    path = tmp_path / "usage.csv"
    path.write_bytes("\n".join((header, *rows, "")).encode(errors="surrogateescape"))
    return path


def rejects(path: Path) -> list[str]:
    return path.with_name(path.name + ".rejects.csv").read_text().splitlines()


def recent(seconds: int) -> str:
    return (datetime.now(tz=UTC).replace(microsecond=0) - timedelta(days=2) + timedelta(seconds=seconds)).isoformat()


def test_a_csv_file_is_imported_once_by_stated_rules(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"{recent(0)},100,10", f"{recent(1)},0.5,20", f"{recent(2)},,30")

    code, summary, lines = run(path, *MAPPING)
    again = run(path, *MAPPING)

    assert (code, summary) == (
        0,
        {"read": 3, "accepted": 3, "duplicates": 0, "conflicts": 0, "quarantined": 0, "rejected": 0},
    )
    assert again[0] == 0
    assert (again[1]["accepted"], again[1]["duplicates"]) == (0, 3)
    assert "subject: round-robin:acme,beta" in lines
    assert "id: <line number>:<digest of the row>" in lines
    stored = UsageEvent.objects.order_by("event_time")
    assert [event.customer_key for event in stored] == ["acme", "beta", "acme"]
    assert [event.data.get("input_tokens") for event in stored] == [100, 0.5, None]
    assert {event.source for event in stored} == {"import/usage.csv"}


def test_rows_appended_to_a_file_are_the_only_new_ones(tmp_path: Path) -> None:
    rows = [f"{recent(0)},1,1", f"{recent(1)},2,2"]
    run(csv_file(tmp_path, *rows), *MAPPING)

    _, summary, _ = run(csv_file(tmp_path, *rows, f"{recent(2)},3,3"), *MAPPING)

    assert (summary["accepted"], summary["duplicates"]) == (1, 2)


def test_the_same_file_under_another_rule_conflicts_instead_of_counting_twice(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"{recent(0)},1,1")
    run(path, *MAPPING)

    _, summary, _ = run(path, *MAPPING, "--set", "data.member=u1")

    assert (summary["accepted"], summary["conflicts"]) == (0, 1)


def test_rows_that_cannot_be_taken_are_listed_and_the_rest_is_taken(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        f"{recent(0)},100,10",
        f"{recent(1)},-5,10",
        f"{recent(2)},many,10",
        f"{recent(3)},7",
        "2026-02-30T10:00:00Z,7,7",
        "2026-10-03 10:00:00,7,7",
        f'{recent(5)},"7,7',
        f"{recent(6)},\udcff,7",
        f'{recent(7)},"8",8',
    )

    code, summary, lines = run(path, *MAPPING)

    assert code == 1
    assert (summary["read"], summary["accepted"], summary["rejected"]) == (9, 2, 7)
    listed = [line.split(",")[:3] for line in rejects(path)]
    assert listed[6][2].startswith('"the row is not CSV: ')
    assert listed[:6] + listed[7:] == [
        ["line", "field", "reason"],
        ["3", "data.input_tokens", "the quantity is negative"],
        ["4", "data.input_tokens", "the quantity is not a number"],
        ["5", "", '"the row has 2 columns'],
        ["6", "time", "the time does not exist (day is out of range for month)"],
        ["7", "time", "the time has no offset from UTC and --time-zone was not given"],
        ["9", "data.input_tokens", "the quantity is not a number"],
    ]
    assert f"rejected rows are listed in {path}.rejects.csv" in lines


def test_json_lines_may_be_events_or_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    good = {"id": "e1", "source": "batch", "type": "llm.request", "subject": "acme", "time": recent(0)}
    path.write_text(
        json.dumps({**good, "data": {"model": "m", "input_tokens": "1.25"}}) + "\n\n"
        '{"id": "cut\n' + json.dumps({**good, "id": "e2", "data": 17}) + "\n" + json.dumps(["no", "object"]) + "\n"
    )
    mapped = tmp_path / "mapped.ndjson"
    mapped.write_text(json.dumps({"at": recent(1), "usage": {"in": 0.125}, "customer": "beta", "rid": "r1"}) + "\n")

    code, summary, _ = run(path)
    _, other, _ = run(
        mapped,
        "--map",
        "time=at",
        "--map",
        "data.input_tokens=usage.in",
        "--subject-column",
        "customer",
        "--map",
        "id=rid",
        "--set",
        "type=llm.request",
    )

    assert (code, summary["accepted"], summary["rejected"]) == (1, 1, 3)
    assert [line.split(",")[0] for line in rejects(path)[1:]] == ["3", "4", "5"]
    assert other["accepted"] == 1
    operations.catch_up_windows(now=datetime.now(tz=UTC))
    today = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    totals = queries.totals(today - timedelta(days=5), today + timedelta(days=1))
    assert {total.meter_code: total.quantity for total in totals} == {"input_tokens": Decimal("1.375")}


def test_local_times_take_the_zone_that_is_named_and_no_other(tmp_path: Path) -> None:
    day = datetime.now(tz=UTC).date() - timedelta(days=3)
    path = csv_file(tmp_path, f"{day} 12:00:00.1234567,1,1")

    run(path, *MAPPING, "--time-zone", "Asia/Tokyo")

    assert UsageEvent.objects.get().event_time == datetime(day.year, day.month, day.day, 3, 0, 0, 123_456, tzinfo=UTC)


def test_a_local_time_that_happens_twice_is_rejected(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "2026-10-25 02:30:00,1,1", "2026-03-29 02:30:00,1,1")

    code, summary, _ = run(path, *MAPPING, "--time-zone", "Europe/Berlin")

    assert (code, summary["rejected"]) == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--map", "time"), "write FIELD=VALUE"),
        (("--map", "when=TIMESTAMP"), "is no field of an event"),
        (("--map", "data.input_tokens=ContextTokens"), "needs --map time=COLUMN"),
        ((*MAPPING[:2], "--map", "time=Other"), "given twice"),
        ((*MAPPING[:2], "--map", "data.x=Nothing"), "there is no column Nothing"),
        ((*MAPPING, "--time-zone", "Mars/Olympus"), "is no time zone"),
        ((*MAPPING, "--shift-time-to", "soon"), "is no date"),
        ((*MAPPING[:-4], "--subject-rule", "any"), "is no rule"),
        ((*MAPPING, "--batch", "0"), "from 1 to 5,000"),
    ],
)
def test_a_mistake_in_the_options_is_told_in_one_line(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    path = csv_file(tmp_path, f"{recent(0)},1,1")

    with pytest.raises(CommandError) as error:
        call_command("import_usage", str(path), *options, stdout=StringIO())

    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.returncode == 2
    assert ImportRun.objects.count() == UsageEvent.objects.count() == 0


def test_a_missing_and_an_empty_file_are_told_in_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    for path, message in ((tmp_path / "none.csv", "No such file"), (empty, "must name every column")):
        with pytest.raises(CommandError, match=message):
            call_command("import_usage", str(path), *MAPPING, stdout=StringIO())


def _plan(path: Path, rows_per_batch: int = 10) -> ImportPlan:
    columns = {"time": "TIMESTAMP", "data.input_tokens": "ContextTokens"}
    constants = {"type": "llm.request", "subject": "acme"}
    rules = ImportRules(source="test", columns=columns, constants=constants)
    return ImportPlan(path, "csv", rules, path.with_name("rejects.csv"), rows_per_batch)


def _rows(count: int) -> list[str]:
    """Rows of October; every tenth cannot be taken."""
    return [
        f"{(MORNING + timedelta(seconds=number)).isoformat()},{-1 if number % 10 == 7 else number},1"
        for number in range(count)
    ]


class Crash(Exception):
    """Stands for a process that ended."""


def test_an_import_that_crashed_goes_on_behind_its_last_committed_batch(tmp_path: Path) -> None:
    path = csv_file(tmp_path, *_rows(95))
    batches: Iterator[int] = iter(range(100))

    def crash(_offset: int) -> None:
        if next(batches) == 4:
            raise Crash

    with pytest.raises(Crash):
        run_import(_plan(path), now=lambda: NOW, on_progress=crash)
    interrupted = ImportRun.objects.get()
    # Rejects of a batch that did not commit may have reached the file.
    with _plan(path).rejects_path.open("ab") as file:
        file.write(b"from a batch that did not commit\n")

    summary = run_import(_plan(path), now=lambda: NOW)

    assert (interrupted.read, interrupted.line_number, interrupted.finished_at) == (40, 41, None)
    assert ImportRun.objects.get().finished_at == NOW
    assert summary.counts == {
        "read": 95,
        "accepted": 86,
        "duplicates": 0,
        "conflicts": 0,
        "quarantined": 0,
        "rejected": 9,
    }
    rejected = [line.split(",")[0] for line in _plan(path).rejects_path.read_text().splitlines()]
    assert rejected == ["line", *[str(number) for number in range(9, 96, 10)]]


def test_a_crash_after_the_events_and_before_the_position_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = csv_file(tmp_path, *_rows(20))
    save = ImportRun.save

    def crash(_self: ImportRun, *_arguments: object, **_options: object) -> None:
        raise Crash

    run_import(_plan(path), now=lambda: NOW, should_stop=lambda: True)
    monkeypatch.setattr(ImportRun, "save", crash)
    with pytest.raises(Crash):
        run_import(_plan(path), now=lambda: NOW)
    assert UsageEvent.objects.count() == 9
    monkeypatch.setattr(ImportRun, "save", save)

    summary = run_import(_plan(path), now=lambda: NOW)

    assert (summary.counts["accepted"], summary.counts["duplicates"], summary.counts["rejected"]) == (18, 0, 2)


def test_two_imports_of_one_file_at_once_do_not_count_twice(tmp_path: Path) -> None:
    path = csv_file(tmp_path, *_rows(30))
    started: list[int] = []

    def let_the_other_go_on(_offset: int) -> None:
        if not started:
            started.append(1)
            run_import(_plan(path), now=lambda: NOW, should_stop=lambda: True)

    with pytest.raises(ImportedTwiceAtOnce):
        run_import(_plan(path), now=lambda: NOW, on_progress=let_the_other_go_on)
    assert run_import(_plan(path), now=lambda: NOW).counts["accepted"] == 27


def test_an_interrupt_finishes_the_batch_and_the_same_command_goes_on(tmp_path: Path) -> None:
    start = datetime.now(tz=UTC) - timedelta(days=2)
    path = csv_file(tmp_path, *(f"{(start + timedelta(seconds=n)).isoformat()},1,1" for n in range(20_000)))
    command = [sys.executable, "manage.py", "import_usage", str(path), *MAPPING, "--batch", "20"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    while not ImportRun.objects.filter(read__gt=0).exists():
        assert process.poll() is None

    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)

    last = json.loads(output.splitlines()[-1])
    assert (process.returncode, last["rejected"]) == (130, 0)
    assert 0 < last["read"] < 20_000
    assert last["read"] % 20 == 0
    assert UsageEvent.objects.count() == last["accepted"] == last["read"]
    code, summary, _ = run(path, *MAPPING)
    assert (code, summary["accepted"], summary["duplicates"]) == (0, 20_000, 0)


@pytest.mark.skipif(not TRACE.exists(), reason="the real usage trace is not beside this checkout")
def test_the_real_trace_equals_its_windows_to_the_token(tmp_path: Path) -> None:
    """The trace is of 2023, older than the dedupe horizon: it is moved by whole days to 16 October 2026."""
    path = tmp_path / TRACE.name
    path.write_bytes(TRACE.read_bytes())
    columns = [line.split(",") for line in path.read_text().splitlines()[1:]]
    context, generated = (sum(int(row[place]) for row in columns) for place in (1, 2))
    plan = ImportPlan(
        path,
        "csv",
        ImportRules(
            source="trace",
            time_zone="UTC",
            shift_time_to="2026-10-16",
            subject_rule="hash:acme,beta",
            model_rule="round-robin:claude-sonnet-5,claude-opus-5",
            constants={"type": "llm.request"},
            columns={
                "time": "TIMESTAMP",
                "data.input_tokens": "ContextTokens",
                "data.output_tokens": "GeneratedTokens",
            },
        ),
        path.with_suffix(".rejects"),
    )

    first = run_import(plan, now=lambda: NOW)
    second = run_import(plan, now=lambda: NOW)
    operations.catch_up_windows(now=NOW)

    assert (first.counts["accepted"], first.counts["rejected"], first.shift_days) == (8_819, 0, 1_065)
    assert (second.counts["accepted"], second.counts["duplicates"]) == (0, 8_819)
    expected = {"input_tokens": Decimal(context), "output_tokens": Decimal(generated)}
    for totals in (queries.totals, queries.totals_from_events):
        assert {total.meter_code: total.quantity for total in totals(OCTOBER, NOVEMBER)} == expected
    assert list(queries.verify_windows(OCTOBER, NOVEMBER)) == []
    assert UsageEvent.objects.earliest("event_time").event_time == datetime(
        2026, 10, 16, 18, 17, 3, 979_960, tzinfo=UTC
    )
