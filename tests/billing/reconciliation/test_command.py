"""manage.py reconcile: what it prints and how it ends."""

from io import StringIO

import pytest
from django.core.management.base import OutputWrapper
from pytest_django.fixtures import Settings

from billing.management.commands.reconcile import Command
from billing.reconciliation.models import ReconciliationRun
from config.stack.ports import free_port
from tests.billing.reconciliation.faults import FAULTS, planted
from tests.billing.reconciliation.month import live_through
from tests.billing.thread import Thread

OCTOBER = ("--from", "2026-10-01", "--to", "2026-11-01T01:00:00Z")


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command as a shell does; return its exit code, output and errors."""
    command, out, err = Command(), StringIO(), StringIO()
    command.stdout, command.stderr = OutputWrapper(out), OutputWrapper(err)
    try:
        command.run_from_argv(["manage.py", "reconcile", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_a_clean_month_ends_with_0_and_a_table(thread: Thread) -> None:
    live_through(thread)

    code, out, _ = run(*OCTOBER)

    assert code == 0
    assert [line for line in out.splitlines() if "events_windows" in line]
    checked = ReconciliationRun.objects.get().checked
    (total,) = (line for line in out.splitlines() if " all " in line)
    assert f"{checked:,}" in total


def test_a_discrepancy_ends_with_1_and_is_named(thread: Thread) -> None:
    live_through(thread)
    with planted(FAULTS[0]):
        code, out, _ = run(*OCTOBER)

    assert code == 1
    assert f"events_windows: {FAULTS[0].subject} (ada)" in out


@pytest.mark.usefixtures("committed_db")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "yesterday"),
        ("--to", "2026-13-01"),
        ("--from", "2026-11-01", "--to", "2026-10-01"),
        ("--from", "2026-10-01", "--to", "2026-10-01"),
    ],
)
def test_bad_arguments_end_with_2_and_leave_no_run(arguments: tuple[str, ...]) -> None:
    code, _, _ = run(*arguments)

    assert code == 2
    assert not ReconciliationRun.objects.exists()


@pytest.mark.usefixtures("committed_db")
def test_a_stripe_that_does_not_answer_proves_nothing(settings: Settings) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test_" + "a" * 24
    settings.STRIPE_API_BASE = f"http://127.0.0.1:{free_port()}"

    code, out, err = run(*OCTOBER)

    assert (code, out) == (1, "")
    assert "nothing is proved" in err
    assert ReconciliationRun.objects.get().finished_at is None
