"""
A backfill in a real browser, narrow and wide: uploaded, previewed, approved by a second person, applied by the worker,
and reverted to the same figures.

No page is wider than the screen, and the content security policy has nothing to refuse.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from metering import operations, queries
from metering.models import AggregationWindow
from tests.browser import ARGUMENTS, WIDTHS, find_chromium
from tests.metering import usage
from tests.metering.usage import event
from tests.processes import CeleryWorker, WebServer

PASSWORD = "a long password of everybody"
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


class Story:
    """A browser that signs people in, and notes what a page complains of and how much too wide it is."""

    def __init__(self, browser: Any, server: str, width: str) -> None:
        self._browser, self._server, self._width = browser, server, width
        self.complaints: list[str] = []
        self.too_wide: dict[str, int] = {}

    @contextmanager
    def signed_in(self, username: str) -> Iterator[Any]:
        across, down = WIDTHS[self._width]
        context = self._browser.new_context(viewport={"width": across, "height": down})
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{self._server}{reverse('admin:login')}")
        page.fill("#id_username", username)
        page.fill("#id_password", PASSWORD)
        page.click("button[type=submit]")
        yield page
        context.close()

    def go(self, page: Any, address: str) -> None:
        page.goto(f"{self._server}{address}", wait_until="networkidle")

    def look(self, page: Any, name: str) -> None:
        page.wait_for_load_state("networkidle")
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if overflow > 0:
            self.too_wide[name] = overflow

    def _note(self, said: Any) -> None:
        # A refused form answers 422, which the browser calls an error of the network.
        if said.type == "error" and "422" not in said.text:
            self.complaints.append(said.text)


def draft(story: Story, page: Any, file: Path) -> str:
    story.go(page, reverse("admin:metering_correction_changelist"))
    story.look(page, "empty list")
    page.click("text=Backfill from a file")
    story.look(page, "form")
    page.click("button:has-text('Preview')")
    story.look(page, "refused")
    page.set_input_files("#id_file", str(file))
    page.fill("#id_columns", "time=when\nsubject=customer\ndata.model=model\ndata.input_tokens=tokens")
    page.fill("#id_constants", "type=llm.request")
    page.select_option("#id_reason_code", "missing")
    page.fill("#id_reason", "The collector in us-east-1 was down for a night")
    page.click("button:has-text('Preview')")
    story.look(page, "preview")
    assert "A second person has to approve it" in page.content()
    page.click("text=Hour by hour")
    story.look(page, "hour by hour")
    return path_of(page)


def approve_and_apply(story: Story, page: Any, address: str) -> None:
    story.go(page, address)
    page.click("a:has-text('Approve')")
    story.look(page, "approve")
    page.fill("#id_words", "Seen the incident report")
    page.click("button:has-text('Approve')")
    story.look(page, "approved")
    page.click("button:has-text('Apply as previewed')")
    story.look(page, "applying")
    page.locator(".bb-badge:has-text('Applied')").first.wait_for(timeout=60_000)
    story.look(page, "applied")


def undo(story: Story, page: Any, address: str) -> str:
    story.go(page, address)
    page.click("a:has-text('Revert')")
    story.look(page, "revert")
    page.fill("#id_reason", "The collector had kept them after all")
    page.click("button:has-text('Preview')")
    story.look(page, "revert previewed")
    return path_of(page)


def path_of(page: Any) -> str:
    """The address it stands on, without the server's."""
    return urlsplit(page.url).path


def figures() -> dict[tuple[Any, ...], tuple[Any, ...]]:
    operations.catch_up_windows(now=datetime.now(tz=UTC))
    rows = AggregationWindow.objects.filter(event_count__gt=0)
    return {
        (row.window_start, row.customer_key, row.meter_id): (row.quantity, row.event_count, row.fingerprint)
        for row in rows
    }


@pytest.mark.usefixtures("_usage")
@pytest.mark.parametrize("width", WIDTHS)
def test_a_backfill_is_previewed_applied_and_reverted_to_the_same_figures(
    web_process: WebServer, celery_worker_process: CeleryWorker, file: Path, width: str
) -> None:
    from playwright.sync_api import sync_playwright

    before = figures()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        story = Story(browser, web_process.address, width)
        in_browser(story, file)
        browser.close()

    assert (story.complaints, story.too_wide) == ([], {})
    assert figures() == before
    assert list(queries.verify_windows(THEN - timedelta(hours=1), THEN + timedelta(days=3))) == []


def in_browser(story: Story, file: Path) -> None:
    with story.signed_in("emre") as page:
        backfill = draft(story, page, file)
    with story.signed_in("eva") as page:
        approve_and_apply(story, page, backfill)
        revert = undo(story, page, backfill)
    with story.signed_in("emre") as page:
        approve_and_apply(story, page, revert)
        story.go(page, reverse("admin:metering_correction_changelist"))
        story.look(page, "list")
        story.go(page, backfill)
        story.look(page, "reverted")
