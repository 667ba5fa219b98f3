"""
Finance's reports in a real browser, narrow and wide, empty and full: nothing is refused by the content security policy,
the chart is drawn, and no page is wider than the screen.
"""

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from tests.billing.accounting.books import months_of_receivables
from tests.browser import ARGUMENTS, WIDTHS, find_chromium
from tests.factories import CreditGrantFactory
from tests.processes import WebServer

PASSWORD = "a long password of root"
AT = "?before=2027-01-01T00:00:00&known_at=2027-01-02T00:00:00"


@pytest.fixture
def chromium() -> Path:
    return find_chromium()


@pytest.fixture(params=["empty", "full"])
def books(request: pytest.FixtureRequest, committed_db: None) -> str:
    """Written before the browser starts: its event loop would forbid database calls."""
    User.objects.create_superuser("root", password=PASSWORD)
    if request.param == "full":
        customers = months_of_receivables()
        customers["acme"].name = "A customer with a rather long name, Incorporated and Sons (Holding) GmbH & Co. KG"
        customers["acme"].save(update_fields=["name"])
        CreditGrantFactory(customer_key="acme", name="Welcome credit of the spring campaign, second wave")
    return str(request.param)


def test_reports_work_and_fit(chromium: Path, books: str, web_process: WebServer) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    too_wide: dict[str, int] = {}
    drawn: dict[str, int] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for width, (across, down) in WIDTHS.items():
            page = browser.new_page(viewport={"width": across, "height": down})
            page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(f"{web_process.address}{reverse('admin:login')}")
            page.fill("#id_username", "root")
            page.fill("#id_password", PASSWORD)
            page.click("button[type=submit]")
            for name in ("ageing", "credit", "income"):
                address = f"{web_process.address}{reverse(f'reports:{name}')}{AT}"
                response = page.goto(address, wait_until="networkidle")
                assert response is not None
                assert response.status == 200, name
                overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                if overflow > 0:
                    too_wide[f"{name}, {width}"] = overflow
                charts = "[...document.querySelectorAll('canvas.chart')].filter(c => Chart.getChart(c)).length"
                drawn[name] = page.evaluate(charts)
            page.goto(f"{web_process.address}{reverse('reports:ageing')}{AT}", wait_until="networkidle")
            page.fill("#id_customer", "zeta")
            page.click("form.lg-span button")
            page.wait_for_url("**customer=zeta**")
            page.close()
        browser.close()

    # Revenue has a chart for each currency.
    expected = {"ageing": 1, "credit": 1, "income": 2} if books == "full" else {"ageing": 0, "credit": 0, "income": 0}
    assert (complaints, too_wide, drawn) == ([], {}, expected)
