"""Usage's pages in a real browser, narrow and wide: no script refused, charts drawn, nothing too wide."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from metering import operations
from metering.event_keys import event_key
from metering.models import AggregationWindow
from tests.browser import ARGUMENTS, WIDTHS, find_chromium
from tests.metering.usage import MORNING, NOW, OCTOBER, event, ingest
from tests.processes import WebServer

PASSWORD = "a long password of root"
LONG = "a-rather-long-name-" * 10
USAGE = "?meter=input_tokens&from=2026-10-01&before=2026-11-01&group=model"


def _events() -> Sequence[object]:
    models = [f"model-{number}-{'x' * 30}" for number in range(12)]
    return [
        event(
            f"{LONG}{number}" if number % 7 == 0 else f"e{number}",
            time=OCTOBER + timedelta(hours=number),
            data={"model": models[number % 12], "input_tokens": 10**17 if number == 100 else number},
        )
        for number in range(450)
    ]


@pytest.fixture
def addresses(metered: None) -> dict[str, str]:
    """The pages to look at. Written before the browser starts: its event loop would forbid database calls."""
    User.objects.create_superuser("root", password=PASSWORD)
    ingest(*_events())  # type: ignore[arg-type]
    ingest(event("life", time=MORNING))
    operations.catch_up_windows(now=NOW)
    ingest(event("life", time=MORNING, subject="beta", data={"note": "y" * 300}))
    search = reverse("admin:metering_usageevent_changelist")
    of_acme = reverse("admin:metering_customer_usage", args=["acme"])
    window = AggregationWindow.objects.filter(window_start=MORNING, meter__code="input_tokens").first()
    assert window is not None
    return {
        "search": search,
        "search in a zone": f"{search}?customer=acme&zone=Asia/Kolkata",
        "search that is none": f"{search}?from=x&zone=Mars",
        "search without a find": f"{search}?id=nothing",
        "window": f"{search}?window={window.pk}",
        "life": reverse("admin:metering_usageevent_change", args=[event_key("edge/us-east-1", "life")]),
        "usage": f"{of_acme}{USAGE}&by=day",
        "usage by hour": f"{of_acme}{USAGE}&by=hour",
        "usage of a year": f"{of_acme}?meter=input_tokens&from=2026-01-01&before=2027-01-01&by=hour",
        "no usage": reverse("admin:metering_customer_usage", args=["nobody"]),
        "all usage": f"{reverse('admin:metering_usage')}{USAGE}&by=day",
        "conservation": f"{reverse('admin:metering_conservation')}?from=2026-10-01&to=2026-10-19",
    }


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_work_and_fit(addresses: dict[str, str], web_process: WebServer, width: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    too_wide: dict[str, int] = {}
    drawn: set[str] = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        across, down = WIDTHS[width]
        page = browser.new_page(viewport={"width": across, "height": down}, timezone_id="Europe/Berlin")
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{web_process.address}{reverse('admin:login')}")
        page.fill("#id_username", "root")
        page.fill("#id_password", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "login" not in url)
        for name, address in addresses.items():
            answer = page.goto(f"{web_process.address}{address}", wait_until="networkidle")
            assert answer is not None
            assert answer.status == (422 if name == "search that is none" else 200), name
            overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            if overflow > 0:
                too_wide[name] = overflow
            if page.evaluate("[...document.querySelectorAll('canvas.chart')].some(c => Chart.getChart(c))"):
                drawn.add(name)
        page.goto(f"{web_process.address}{addresses['usage']}", wait_until="networkidle")
        with page.expect_download() as downloading:
            page.click("text=CSV")
        downloading.value.save_as(tmp_path / "usage.csv")
        page.goto(f"{web_process.address}{addresses['search']}?zone=UTC", wait_until="networkidle")
        page.click("text=Use Europe/Berlin, the zone of your clock")
        page.wait_for_load_state("networkidle")
        in_own_zone = page.inner_text("th:first-child")
        browser.close()

    # The browser itself reports a page that answers 422; nothing else is complained of.
    assert [said for said in complaints if "422" not in said] == []
    assert too_wide == {}
    assert drawn == {"usage", "usage by hour", "all usage"}
    assert (tmp_path / "usage.csv").read_text().startswith("from (")
    assert in_own_zone == "Time (Europe/Berlin)"
