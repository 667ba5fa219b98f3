"""The pages and addresses of orders, requests and releases: who may, what they show, and what they refuse."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from billing.invoicing.models import Invoice, InvoiceClose, InvoiceLine
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.orders.operations import OrderedLine, order_one_off
from billing.invoicing.requests import operations, terms
from billing.invoicing.requests.models import InvoiceRequest
from config.api_keys.models import ApiKey
from tests.billing.admin.stories import Story, tell_story
from tests.browser import PASSWORD, visiting
from tests.processes import WebServer

SignIn = Callable[[str], Client]
FINANCE, SUCCESS, ENGINEERING = "Finance", "Customer success", "Engineering"


@pytest.fixture(autouse=True)
def _nothing_collected(settings: Settings) -> None:
    """A checkout has no folder of collected static files; whitenoise would warn of it, and finds them without."""
    settings.STATIC_ROOT = None


@pytest.fixture
def story(db: None) -> Story:
    return tell_story(1)


def hidden(page: str) -> dict[str, str]:
    """What the confirmation sends again."""
    found = {}
    for tag in re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", page):
        name, value = re.search(r'name="([^"]+)"', tag), re.search(r'value="([^"]*)"', tag)
        if name and name[1] != "csrfmiddlewaretoken":
            found[name[1]] = value[1] if value else ""
    return found


def test_a_one_off_is_previewed_then_asked_for_once(story: Story, sign_in: SignIn) -> None:
    address = reverse("admin:billing_invoicerequest_one_off")
    assert sign_in(ENGINEERING).get(address).status_code == 403
    client = sign_in(SUCCESS)
    form = hidden(client.get(address).content.decode())
    typed = {**form, "customer_key": story.customer.customer_key, "reason": "agreed by phone"}
    refused = client.post(address, {**typed, "description_1": "Work", "amount_1": "1.001"})
    assert (refused.status_code, "minor units" in refused.content.decode()) == (422, True)
    shown = client.post(address, {**typed, "description_1": "Work", "amount_1": "300"}).content.decode()
    assert "A second person has to approve it" in shown
    assert "revenue:other" in shown
    confirmed = {**hidden(shown), "confirmed": "yes"}
    for _ in range(2):
        assert client.post(address, confirmed).status_code == 302
    asked = InvoiceRequest.objects.get()
    assert (asked.state, asked.amount_minor, InvoiceOrder.objects.count()) == ("waiting", 30000, 0)

    approve = reverse("admin:billing_invoicerequest_approve", args=[asked.pk])
    assert client.get(approve).status_code == 403
    finance = sign_in(FINANCE)
    assert "Approve" in finance.get(reverse("admin:billing_invoicerequest_change", args=[asked.pk])).content.decode()
    assert finance.post(approve, {"words": ""}).status_code == 422
    assert finance.post(approve, {"words": "seen"}).status_code == 302
    assert InvoiceOrder.objects.get().asked_by == asked


def test_an_invoice_tells_what_happened_and_offers_what_its_state_allows(story: Story, sign_in: SignIn) -> None:
    page = reverse("admin:billing_invoice_change", args=[story.invoice.pk])
    Invoice.objects.filter(pk=story.invoice.pk).update(status="open", amount_paid_minor=0)
    shown = sign_in(FINANCE).get(page).content.decode()
    assert "What happened" in shown
    assert "Draft made" in shown
    void = reverse("admin:billing_invoicerequest_void", args=[story.invoice.pk])
    assert void in shown
    assert void not in sign_in(SUCCESS).get(page).content.decode()
    assert sign_in(SUCCESS).get(void).status_code == 403
    assert sign_in(FINANCE).get(void).status_code == 200


def test_a_held_close_is_let_go_on_with_a_reason(story: Story, sign_in: SignIn) -> None:
    close = InvoiceClose.objects.exclude(held_reason="").get()
    Invoice.objects.filter(pk=close.invoice_id).update(status="draft")
    page = reverse("admin:billing_invoiceclose_release", args=[close.pk])
    assert sign_in(SUCCESS).get(page).status_code == 403
    finance = sign_in(FINANCE)
    assert close.held_reason in finance.get(page).content.decode()
    # By a worker whose clock is ahead of the page's.
    InvoiceClose.objects.filter(pk=close.pk).update(held_at=timezone.now() + timedelta(hours=1))
    shown = finance.get(reverse("admin:billing_invoice_change", args=[close.invoice_id])).content.decode()
    assert "Held for 0:00:00: " in shown
    assert finance.post(page, {"words": "  "}).status_code == 422
    assert finance.post(page, {"words": "they told us"}).status_code == 302
    assert finance.post(page, {"words": "they told us"}).status_code == 422
    close.refresh_from_db()
    assert (close.held_reason, close.releases.get().words) == ("", "they told us")
    assert "they told us" in finance.get(reverse("admin:billing_invoiceclose_change", args=[close.pk])).content.decode()


class TestApi:
    @pytest.fixture
    def headers(self, db: None) -> dict[str, str]:
        _, key = ApiKey.objects.create_key(name="shop", scopes=["billing:read", "billing:write"])
        return {"Authorization": f"Api-Key {key}"}

    def post(self, headers: dict[str, str], body: Any, *, key: str = "k1", who: str = "") -> Any:
        address = f"/api/v1/billing/customers/{who}/one-off-invoices"
        return Client().post(
            address, json.dumps(body), content_type="application/json", headers={**headers, "Idempotency-Key": key}
        )

    def test_tells_a_customers_invoices_with_lines_and_what_is_open(
        self, story: Story, headers: dict[str, str]
    ) -> None:
        address = f"/api/v1/billing/customers/{story.customer.customer_key}/invoices"
        (told,) = [one for one in Client().get(address, headers=headers).json()["invoices"] if one["lines"]][:1]
        invoice = Invoice.objects.get(pk=told["id"])
        assert (told["invoice"], told["total_minor"]) == (invoice.stripe_invoice_id, invoice.total_minor)
        assert len(told["lines"]) == invoice.lines.count()
        wrong = Client().get(f"{address}?status=late", headers=headers)
        assert (wrong.status_code, wrong.json()["field"]) == (400, "status")
        gone = Client().get("/api/v1/billing/customers/nobody/invoices", headers=headers)
        assert (gone.status_code, gone.json()["field"]) == (404, "customer_key")

    def test_orders_a_one_off_once_and_only_within_the_limit(self, story: Story, headers: dict[str, str]) -> None:
        body = {"lines": [{"description": "Setup", "amount_minor": 2500}], "reason": "order 7"}
        who = story.customer.customer_key
        first = self.post(headers, body, who=who)
        assert (first.status_code, first.json()["state"], first.json()["order_state"]) == (201, "done", "intended")
        assert self.post(headers, body, who=who).json() == first.json()
        assert InvoiceOrder.objects.get().ordered_by == "service:shop"
        large = {"lines": [{"description": "Setup", "amount_minor": 90000}], "reason": "order 8"}
        refused = self.post(headers, large, key="k2", who=who)
        assert (refused.status_code, "A person has to ask" in refused.json()["detail"]) == (422, True)
        typo = self.post(headers, {**body, "lines": [{"descriptoin": "x", "amount_minor": 1}]}, key="k3", who=who)
        assert (typo.status_code, "descriptoin" in typo.content.decode()) == (400, True)


@pytest.fixture
def addresses(committed_db: None) -> dict[str, str]:
    """Pages of much and of nothing. Written before the browser starts: its event loop would forbid database calls."""
    User.objects.create_superuser("root", password=PASSWORD)
    User.objects.create_superuser("second", password=PASSWORD)
    empty = {
        "requests empty": reverse("admin:billing_invoicerequest_changelist"),
        "orders empty": reverse("admin:billing_invoiceorder_changelist"),
    }
    story = tell_story(1, name="A customer with a rather long name, Incorporated and Sons (Holding) GmbH & Co. KG")
    many = Invoice.objects.get(pk=story.invoice.pk)
    Invoice.objects.filter(pk=many.pk).update(status="open", amount_paid_minor=0)
    last = many.lines.count() + 1
    InvoiceLine.objects.bulk_create(
        InvoiceLine(
            invoice=many, kind="one_off", position=last + number,
            description=f"claude-sonnet-{number} " + "words " * 12, quantity=number, exact_amount=number,
            amount_minor=number * 100, rounding=0, stripe_line_id=f"il_many_{number}",
        )
        for number in range(1, 301)
    )  # fmt: skip
    now = timezone.now()
    with transaction.atomic():
        order = order_one_off(
            customer=story.customer,
            lines=[OrderedLine("Onboarding of the whole department, two days", 15000)],
            reason="agreed by phone",
            actor="user:root",
            idempotency_key="order",
            now=now,
        )
    wanted = terms.one_off(
        customer_key=story.customer.customer_key, lines=[OrderedLine("Onboarding", 90000), OrderedLine("Travel", 2599)]
    )
    asked = operations.ask(wanted, reason="agreed by phone", actor="user:second", idempotency_key="ask", now=now)
    close = InvoiceClose.objects.exclude(held_reason="").first()
    assert close is not None
    InvoiceClose.objects.filter(pk=close.pk).update(
        held_at=now,
        findings=[{"code": "total", "words": close.held_reason, "figures": {"total": "900", "mean": "300"}}],
    )
    return {
        "invoice of 300 lines": reverse("admin:billing_invoice_change", args=[many.pk]),
        "requests": empty["requests empty"],
        "orders": empty["orders empty"],
        "request": reverse("admin:billing_invoicerequest_change", args=[asked.pk]),
        "approve": reverse("admin:billing_invoicerequest_approve", args=[asked.pk]),
        "one-off": reverse("admin:billing_invoicerequest_one_off"),
        "void": reverse("admin:billing_invoicerequest_void", args=[many.pk]),
        "credit": reverse("admin:billing_invoicerequest_credit", args=[many.pk]),
        "order": reverse("admin:billing_invoiceorder_change", args=[order.pk]),
        "close": reverse("admin:billing_invoiceclose_change", args=[close.pk]),
        "release": reverse("admin:billing_invoiceclose_release", args=[close.pk]),
        "overview": reverse("admin:index"),
    }


def test_pages_work_and_fit(addresses: dict[str, str], web_process: WebServer) -> None:
    with visiting(web_process.address) as visitor:
        visitor.sign_in("root")
        visitor.tour(addresses)
    assert (visitor.complaints, visitor.too_wide) == ([], {})
