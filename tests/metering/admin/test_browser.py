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
from tests.browser import PASSWORD, visiting
from tests.metering.usage import MORNING, NOW, OCTOBER, event, ingest
from tests.processes import WebServer

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


def test_pages_work_and_fit(addresses: dict[str, str], web_process: WebServer, tmp_path: Path) -> None:
    with visiting(web_process.address, timezone_id="Europe/Berlin") as visitor:
        visitor.sign_in("root")
        charts = visitor.tour(addresses, statuses={"search that is none": 422})
        visitor.go(addresses["usage"])
        with visitor.page.expect_download() as downloading:
            visitor.page.click("text=CSV")
        downloading.value.save_as(tmp_path / "usage.csv")
        visitor.go(f"{addresses['search']}?zone=UTC")
        visitor.follow("text=Use Europe/Berlin, the zone of your clock")
        in_own_zone = visitor.page.inner_text("th:first-child")

    # The browser itself reports a page that answers 422; nothing else is complained of.
    assert [said for said in visitor.complaints if "422" not in said] == []
    assert visitor.too_wide == {}
    assert {name for name, drawn in charts.items() if drawn} == {"usage", "usage by hour", "all usage"}
    assert (tmp_path / "usage.csv").read_text().startswith("from (")
    assert in_own_zone == "Time (Europe/Berlin)"
