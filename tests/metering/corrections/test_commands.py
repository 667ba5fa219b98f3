"""`backfill_usage` and `revert_correction`: a preview by default, one line of error, and exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from metering.models import Correction, UsageEvent
from tests.metering.corrections.making import windows
from tests.metering.usage import event, ingest

pytestmark = pytest.mark.usefixtures("metered")
CSV = "when,customer,tokens\n2026-10-03T10:00:00Z,acme,7\n2026-10-03T11:00:00Z,acme,8\n"
MAPPED = ["--map=time=when", "--map=subject=customer", "--map=data.input_tokens=tokens", "--set=type=llm.request"]


@pytest.fixture(autouse=True)
def _old_usage_is_taken(settings: Settings) -> None:
    # The commands go by the real clock, and this usage stays in October 2026 whenever the test is run.
    settings.METERING_DEDUPE_HORIZON_DAYS = 36_600


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "missing.csv"
    path.write_text(CSV)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    call_command(*map(str, arguments))
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_a_backfill_is_previewed_applied_and_reverted_to_the_same_figures(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    ingest(event("e1"))
    before = windows()
    command = ("backfill_usage", file, "--reason", "The collector was down", *MAPPED)

    told = run(capsys, *command)
    assert (told["state"], told["counts"]) == ("drafted", {"backfilled": 2})
    assert [(day["meter"], day["before"], day["after"]) for day in told["days"]] == [("input_tokens", "0", "15")]
    assert windows() == before

    assert run(capsys, *command, "--apply")["state"] == "applied"
    assert run(capsys, *command, "--apply")["state"] == "applied"
    assert (Correction.objects.count(), UsageEvent.objects.count()) == (1, 3)
    assert windows() != before

    number = told["correction"]
    assert run(capsys, "revert_correction", number, "--reason", "It was up after all", "--apply")["state"] == "applied"
    assert windows() == before


def test_lines_that_bring_nothing_end_with_code_1(file: Path) -> None:
    file.write_text(CSV + "yesterday,acme,7\n")

    with pytest.raises(SystemExit) as ended:
        call_command("backfill_usage", str(file), "--reason", "Why", *MAPPED)

    assert ended.value.code == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["backfill_usage", "no-such.csv", "--reason", "Why", *MAPPED], "no-such.csv: No such file"),
        (["backfill_usage", "FILE", "--reason", "Why", "--map=nonsense"], "write FIELD=VALUE"),
        (["backfill_usage", "FILE", "--reason", "Why", "--map=time=other"], "no column other"),
        (["backfill_usage", "FILE", "--reason", " ", *MAPPED], "Say why"),
        (["revert_correction", "999", "--reason", "Why"], "no correction 999"),
    ],
)
def test_mistakes_are_one_line_and_code_2(file: Path, arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says) as refused:
        call_command(*(str(file) if argument == "FILE" else argument for argument in arguments))

    assert refused.value.returncode == 2
    assert "\n" not in str(refused.value)
    assert Correction.objects.count() == 0


def test_a_large_one_waits_for_a_second_person(file: Path, settings: Settings) -> None:
    settings.METERING_CORRECTION_ALONE_EVENTS = 1

    with pytest.raises(CommandError, match="Somebody else has to approve it first"):
        call_command("backfill_usage", str(file), "--reason", "Why", *MAPPED, "--apply")

    assert Correction.objects.get().steps.count() == 1
