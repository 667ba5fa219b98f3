"""
Two people and one refund in a real browser, narrow and wide: asked for, seen, approved, and reversed.

No page is wider than the screen, and the content security policy has nothing to refuse.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

from billing.accounting.models import ManualEntry
from ledger import queries as ledger
from tests.billing.accounting.people import EMRE, FIONA, FRED, SAM, hire, user_of
from tests.browser import ARGUMENTS, WIDTHS, find_chromium
from tests.factories import CustomerFactory
from tests.processes import WebServer

PASSWORD = "a long password of everybody"
NAME = "A customer with a rather long name, Incorporated and Sons (Holding) GmbH & Co. KG"


@pytest.fixture
def _books(committed_db: None) -> None:
    hire()
    for actor in (FIONA, FRED, SAM, EMRE):
        user = user_of(actor)
        user.set_password(PASSWORD)
        user.save()
    CustomerFactory(customer_key="acme", name=NAME)


class Story:
    """A browser that signs in and out, and notes what a page complains of and how much too wide it is."""

    def __init__(self, browser: Any, server: str, width: str) -> None:
        self._browser, self._server = browser, server
        self._across, self._down = WIDTHS[width]
        self.complaints: list[str] = []
        self.too_wide: dict[str, int] = {}

    @contextmanager
    def signed_in(self, username: str) -> Iterator[Any]:
        context = self._browser.new_context(viewport={"width": self._across, "height": self._down})
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


def ask(story: Story, page: Any) -> None:
    """Sam promises a refund above the limit, after a mistake that the form names."""
    story.go(page, f"{reverse('admin:billing_manualentry_choose')}?customer=acme")
    story.look(page, "choose")
    page.click("text=Refund promised")
    story.look(page, "form")
    page.fill("#id_amount", "300.005")
    page.fill("#id_reference", "SUP-1042")
    page.fill("#id_reason", "Two outages in October; agreed with their head of engineering")
    page.click("text=Continue")
    story.look(page, "refused")
    assert "At most 2 decimal places" in page.content()
    page.fill("#id_amount", "300")
    page.click("text=Continue")
    story.look(page, "confirmation")
    assert "refund_due:acme:USD" in page.content()
    page.click("text=Ask for approval of $300.00")
    story.look(page, "waiting")
    assert "Waits for a second person" in page.content()


def approve(story: Story, page: Any) -> None:
    """Fred finds it on the overview, looks, and approves with words."""
    story.go(page, reverse("admin:index"))
    story.look(page, "overview")
    page.click("text=Waiting for a second person")
    story.look(page, "list")
    page.click("#result_list >> text=Refund promised")
    story.look(page, "request")
    page.click("a:has-text('Approve')")
    story.look(page, "approve")
    page.click("button:has-text('Approve and post')")
    story.look(page, "without words")
    page.fill("#id_words", "Seen the ticket and both incident reports")
    page.click("button:has-text('Approve and post')")
    story.look(page, "approved")
    assert "Approved, and posted" in page.content()


def reverse_it(story: Story, page: Any) -> None:
    """Fred goes on to the entry, and asks for its reversal: that needs a second person again."""
    page.click("text=Entry #")
    story.look(page, "entry")
    page.click("text=Reverse this entry")
    story.look(page, "reverse")
    page.fill("#id_reason", "They took credit instead")
    page.click("button:has-text('Reverse it')")
    story.look(page, "reversal waits")
    assert "Withdraw" in page.content()


@pytest.mark.usefixtures("_books")
@pytest.mark.parametrize("width", WIDTHS)
def test_two_people_and_one_refund(web_process: WebServer, width: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        story = Story(browser, web_process.address, width)
        with story.signed_in("sam") as page:
            ask(story, page)
        with story.signed_in("fred") as page:
            approve(story, page)
            reverse_it(story, page)
        browser.close()

    approved, waits = ManualEntry.objects.order_by("pk")
    assert (story.complaints, story.too_wide) == ([], {})
    assert (approved.requested_by, approved.decision.decided_by) == (SAM, FRED)
    assert (waits.requested_by, waits.needs_second_person) == (FRED, True)
    assert ledger.balance_of("refund_due:acme:USD") == Decimal(300)
