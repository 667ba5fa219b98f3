"""
What tests in a real browser share: which browser, how it is started, the widths that matter, and a visitor who waits.

Whoever looks at a page right after a click may see the one that is going away, or none. So a visitor's every step ends
when the page it leads to has loaded; then its charts are drawn, because they are drawn when it has.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

WIDTHS = {"narrow": (390, 844), "wide": (1440, 900)}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
# How long a page may take to arrange itself for another width; only one that stays too wide takes it.
ARRANGE_MILLISECONDS = 15_000
PATIENCE_MILLISECONDS = 60_000  # of everything else: a start of the browser, a page, a click
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"
FITS = f"across => document.readyState === 'complete' && window.innerWidth === across && {OVERFLOW} <= 0"
DRAWN_CHARTS = "[...document.querySelectorAll('canvas.chart')].filter(canvas => Chart.getChart(canvas)).length"
PASSWORD = "a long password of everybody"


def find_chromium() -> Path:
    """CHROMIUM_PATH, else the one on the path. Without one the test is skipped; CI installs one and fails instead."""
    found = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        reason = "no browser: set CHROMIUM_PATH, or put chromium on the path"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(found)


class Visitor:
    """One person at one browser: goes through pages, and notes what they complain of and how much too wide they are.

    Every page is seen at all WIDTHS. SHOTS names a folder in which pictures of them are wanted.
    """

    def __init__(self, browser: Any, server: str, **options: Any) -> None:
        self._server = server
        self._context = browser.new_context(viewport=_size("wide"), **options)
        self._context.set_default_timeout(PATIENCE_MILLISECONDS)
        self.page = self._context.new_page()
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.complaints: list[str] = []
        self.too_wide: dict[str, int] = {}

    def sign_in(self, username: str, password: str = PASSWORD) -> None:
        """Sign in, as another person than before if there was one."""
        self._context.clear_cookies()
        self.go(reverse("admin:login"))
        self.page.fill("#id_username", username)
        self.page.fill("#id_password", password)
        self.follow("button[type=submit]")
        assert "login" not in self.page.url

    def go(self, path: str, *, status: int = 200, until: str = "load") -> None:
        """Open a page, which must answer with this status."""
        answer = self.page.goto(f"{self._server}{path}", wait_until=until)
        assert answer is not None
        assert answer.status == status, path

    def follow(self, selector: str) -> None:
        """Click what leads to another page, or to the same again, and return when that has loaded."""
        with self.page.expect_navigation(wait_until="load"):
            self.page.click(selector)

    def look(self, name: str) -> None:
        """Note by how much the page is too wide, at each width."""
        from playwright.sync_api import TimeoutError as TooLong

        for width, (across, _) in WIDTHS.items():
            self.page.set_viewport_size(_size(width))
            try:  # this question, other than any single one, outlives a page that loads itself again
                self.page.wait_for_function(FITS, arg=across, timeout=ARRANGE_MILLISECONDS)
            except TooLong:
                self.too_wide[f"{name}, {width}"] = self.page.evaluate(OVERFLOW)
            if shots := os.environ.get("SHOTS"):
                self.page.screenshot(path=Path(shots) / f"{name}-{width}.png", full_page=True)

    def tour(self, paths: Mapping[str, str], *, statuses: Mapping[str, int] | None = None) -> dict[str, int]:
        """Open and look at each of these pages, {name: path}; return how many charts each has drawn."""
        drawn = {}
        for name, path in paths.items():
            self.go(path, status=(statuses or {}).get(name, 200))
            self.look(name)
            drawn[name] = self.charts()
        return drawn

    def charts(self) -> int:
        """How many charts this page has drawn."""
        return int(self.page.evaluate(DRAWN_CHARTS))


@contextmanager
def visiting(server: str, **options: Any) -> Iterator[Visitor]:
    """A browser and a visitor in it, at the server of this address. Meanwhile the test cannot ask the database."""
    from playwright.sync_api import sync_playwright

    chromium = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS, timeout=PATIENCE_MILLISECONDS)
        try:
            yield Visitor(browser, server, **options)
        finally:
            browser.close()


def _size(width: str) -> dict[str, int]:
    across, down = WIDTHS[width]
    return {"width": across, "height": down}
