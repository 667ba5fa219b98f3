"""
The admin in a real browser, narrow and wide: nothing is refused by the content security policy, charts are drawn, and
no page is wider than the screen.
"""

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from billing.invoicing.models import CreditNote
from billing.payments.models import Dispute
from tests.billing.admin.stories import tell_story
from tests.browser import ARGUMENTS, WIDTHS, find_chromium
from tests.processes import WebServer

PASSWORD = "a long password of root"


@pytest.fixture
def chromium() -> Path:
    return find_chromium()


@pytest.fixture
def addresses(committed_db: None) -> dict[str, str]:
    """The pages to look at. Written before the browser starts: its event loop would forbid database calls."""
    User.objects.create_superuser("root", password=PASSWORD)
    story = tell_story(1, name="A customer with a rather long name, Incorporated and Sons (Holding) GmbH & Co. KG")
    return {
        "overview": reverse("admin:index"),
        "customers": reverse("admin:billing_customer_changelist"),
        "customer": reverse("admin:billing_customer_change", args=[story.customer.pk]),
        "credit": reverse("admin:billing_customer_issue_credit", args=[story.customer.pk]),
        "invoice": reverse("admin:billing_invoice_change", args=[story.invoice.pk]),
        "credit note": reverse("admin:billing_creditnote_change", args=[CreditNote.objects.get().pk]),
        "credit notes": reverse("admin:billing_creditnote_changelist"),
        "absorbed": reverse("admin:billing_absorbedusage_changelist"),
        "period": reverse("admin:billing_billingperiod_change", args=[story.period.pk]),
        "late usage": reverse("admin:billing_lateusage_change", args=[story.accrual.late.pk]),
        "late usages": reverse("admin:billing_lateusage_changelist"),
        "decide": reverse("admin:billing_lateusage_decide", args=[story.accrual.late.pk]),
        "refunds": reverse("admin:billing_refund_changelist"),
        "dispute": reverse("admin:billing_dispute_change", args=[Dispute.objects.get().pk]),
        "payouts": reverse("admin:billing_payout_changelist"),
        "accruals": reverse("admin:billing_usageaccrualline_changelist"),
        "event": reverse("admin:billing_inboxevent_change", args=[story.event.pk]),
        "grant": reverse("admin:promotions_creditgrant_change", args=[story.grant.pk]),
        "run": reverse("admin:billing_reconciliationrun_change", args=[story.run.pk]),
        "documentation": reverse("api-docs"),
    }


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_work_and_fit(chromium: Path, addresses: dict[str, str], web_process: WebServer, width: str) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    too_wide: dict[str, int] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        across, down = WIDTHS[width]
        page = browser.new_page(viewport={"width": across, "height": down})
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{web_process.address}{reverse('admin:login')}")
        page.fill("#id_username", "root")
        page.fill("#id_password", PASSWORD)
        page.click("button[type=submit]")
        for name, address in addresses.items():
            response = page.goto(f"{web_process.address}{address}", wait_until="networkidle")
            assert response is not None
            assert response.status == 200, name
            overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            if overflow > 0:
                too_wide[name] = overflow
        page.goto(f"{web_process.address}{addresses['overview']}", wait_until="networkidle")
        drawn = page.evaluate("[...document.querySelectorAll('canvas.chart')].filter(c => Chart.getChart(c)).length")
        browser.close()

    assert (complaints, too_wide, drawn) == ([], {}, 1)
