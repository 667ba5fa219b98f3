"""
A backfill in a real browser, narrow and wide: uploaded, previewed, approved by a second person, applied by the worker,
and reverted to the same figures.

No page is wider than the screen, and the content security policy has nothing to refuse.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from metering import operations, queries
from metering.models import AggregationWindow
from tests.browser import PASSWORD, Visitor, visiting
from tests.metering import usage
from tests.metering.usage import event
from tests.processes import CeleryWorker, WebServer

# Large enough for a second person, and for the worker.
EVENTS = 2_500
THEN = datetime.now(tz=UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=3)


@pytest.fixture
def _usage(committed_db: None) -> None:
    usage.prepare()
    for name in ("emre", "eva"):
        user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="metering", codename__endswith="correction")
        )
    now = datetime.now(tz=UTC)
    usage.ingest(*(event(f"e{number}", time=THEN) for number in range(20)), received_at=now)
    operations.catch_up_windows(now=now)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = ["when,customer,model,tokens"]
    for number in range(EVENTS):
        at = THEN + timedelta(seconds=number * 20)
        lines.append(f"{at.isoformat()},{'acme' if number % 3 else 'beta'},claude-sonnet-5,{number}")
    path = tmp_path / "a collector that was down for a night.csv"
    path.write_text("\n".join([*lines, "yesterday,acme,claude-sonnet-5,1"]) + "\n")
    return path


def draft(visitor: Visitor, file: Path) -> str:
    visitor.go(reverse("admin:metering_correction_changelist"))
    visitor.look("empty list")
    visitor.follow("text=Backfill from a file")
    visitor.look("form")
    visitor.follow("button:has-text('Preview')")
    visitor.look("refused")
    visitor.page.set_input_files("#id_file", str(file))
    visitor.page.fill("#id_columns", "time=when\nsubject=customer\ndata.model=model\ndata.input_tokens=tokens")
    visitor.page.fill("#id_constants", "type=llm.request")
    visitor.page.select_option("#id_reason_code", "missing")
    visitor.page.fill("#id_reason", "The collector in us-east-1 was down for a night")
    visitor.follow("button:has-text('Preview')")
    visitor.look("preview")
    assert "A second person has to approve it" in visitor.page.content()
    visitor.page.click("text=Hour by hour")
    visitor.look("hour by hour")
    return path_of(visitor)


def approve_and_apply(visitor: Visitor, address: str) -> None:
    visitor.go(address)
    visitor.follow("a:has-text('Approve')")
    visitor.look("approve")
    visitor.page.fill("#id_words", "Seen the incident report")
    visitor.follow("button:has-text('Approve')")
    visitor.look("approved")
    visitor.follow("button:has-text('Apply as previewed')")
    visitor.look("applying")
    visitor.page.locator(".bb-badge:has-text('Applied')").first.wait_for(timeout=60_000)
    visitor.look("applied")


def undo(visitor: Visitor, address: str) -> str:
    visitor.go(address)
    visitor.follow("a:has-text('Revert')")
    visitor.look("revert")
    visitor.page.fill("#id_reason", "The collector had kept them after all")
    visitor.follow("button:has-text('Preview')")
    visitor.look("revert previewed")
    return path_of(visitor)


def path_of(visitor: Visitor) -> str:
    """The address it stands on, without the server's."""
    return urlsplit(visitor.page.url).path


def figures() -> dict[tuple[Any, ...], tuple[Any, ...]]:
    operations.catch_up_windows(now=datetime.now(tz=UTC))
    rows = AggregationWindow.objects.filter(event_count__gt=0)
    return {
        (row.window_start, row.customer_key, row.meter_id): (row.quantity, row.event_count, row.fingerprint)
        for row in rows
    }


@pytest.mark.usefixtures("_usage")
def test_a_backfill_is_previewed_applied_and_reverted_to_the_same_figures(
    web_process: WebServer, celery_worker_process: CeleryWorker, file: Path
) -> None:
    before = figures()
    with visiting(web_process.address) as visitor:
        backfilled_and_reverted(visitor, file)

    # The browser itself reports a form that is refused, with 422; nothing else is complained of.
    assert [said for said in visitor.complaints if "422" not in said] == []
    assert visitor.too_wide == {}
    assert figures() == before
    assert list(queries.verify_windows(THEN - timedelta(hours=1), THEN + timedelta(days=3))) == []


def backfilled_and_reverted(visitor: Visitor, file: Path) -> None:
    visitor.sign_in("emre")
    backfill = draft(visitor, file)
    visitor.sign_in("eva")
    approve_and_apply(visitor, backfill)
    revert = undo(visitor, backfill)
    visitor.sign_in("emre")
    approve_and_apply(visitor, revert)
    visitor.go(reverse("admin:metering_correction_changelist"))
    visitor.look("list")
    visitor.go(backfill)
    visitor.look("reverted")
