"""
Two people and one refund in a real browser, narrow and wide: asked for, seen, approved, and reversed.

No page is wider than the screen, and the content security policy has nothing to refuse.
"""

from decimal import Decimal

import pytest
from django.urls import reverse

from billing.accounting.models import ManualEntry
from ledger import queries as ledger
from tests.billing.accounting.people import EMRE, FIONA, FRED, SAM, hire, user_of
from tests.browser import PASSWORD, Visitor, visiting
from tests.factories import CustomerFactory
from tests.processes import WebServer

NAME = "A customer with a rather long name, Incorporated and Sons (Holding) GmbH & Co. KG"


@pytest.fixture
def _books(committed_db: None) -> None:
    hire()
    for actor in (FIONA, FRED, SAM, EMRE):
        user = user_of(actor)
        user.set_password(PASSWORD)
        user.save()
    CustomerFactory(customer_key="acme", name=NAME)


def ask(visitor: Visitor) -> None:
    """Sam promises a refund above the limit, after a mistake that the form names."""
    visitor.go(f"{reverse('admin:billing_manualentry_choose')}?customer=acme")
    visitor.look("choose")
    visitor.follow("text=Refund promised")
    visitor.look("form")
    visitor.page.fill("#id_amount", "300.005")
    visitor.page.fill("#id_reference", "SUP-1042")
    visitor.page.fill("#id_reason", "Two outages in October; agreed with their head of engineering")
    visitor.follow("text=Continue")
    visitor.look("refused")
    assert "At most 2 decimal places" in visitor.page.content()
    visitor.page.fill("#id_amount", "300")
    visitor.follow("text=Continue")
    visitor.look("confirmation")
    assert "refund_due:acme:USD" in visitor.page.content()
    visitor.follow("text=Ask for approval of $300.00")
    visitor.look("waiting")
    assert "Waits for a second person" in visitor.page.content()


def approve(visitor: Visitor) -> None:
    """Fred finds it on the overview, looks, and approves with words."""
    visitor.go(reverse("admin:index"))
    visitor.look("overview")
    visitor.follow("text=Waiting for a second person")
    visitor.look("list")
    visitor.follow("#result_list >> text=Refund promised")
    visitor.look("request")
    visitor.follow("a:has-text('Approve')")
    visitor.look("approve")
    visitor.follow("button:has-text('Approve and post')")
    visitor.look("without words")
    visitor.page.fill("#id_words", "Seen the ticket and both incident reports")
    visitor.follow("button:has-text('Approve and post')")
    visitor.look("approved")
    assert "Approved, and posted" in visitor.page.content()


def reverse_it(visitor: Visitor) -> None:
    """Fred goes on to the entry, and asks for its reversal: that needs a second person again."""
    visitor.follow("text=Entry #")
    visitor.look("entry")
    visitor.follow("text=Reverse this entry")
    visitor.look("reverse")
    visitor.page.fill("#id_reason", "They took credit instead")
    visitor.follow("button:has-text('Reverse it')")
    visitor.look("reversal waits")
    assert "Withdraw" in visitor.page.content()


@pytest.mark.usefixtures("_books")
def test_two_people_and_one_refund(web_process: WebServer) -> None:
    with visiting(web_process.address) as visitor:
        visitor.sign_in("sam")
        ask(visitor)
        visitor.sign_in("fred")
        approve(visitor)
        reverse_it(visitor)

    approved, waits = ManualEntry.objects.order_by("pk")
    # The browser itself reports a form that is refused, with 422; nothing else is complained of.
    assert [said for said in visitor.complaints if "422" not in said] == []
    assert visitor.too_wide == {}
    assert (approved.requested_by, approved.decision.decided_by) == (SAM, FRED)
    assert (waits.requested_by, waits.needs_second_person) == (FRED, True)
    assert ledger.balance_of("refund_due:acme:USD") == Decimal(300)
