"""The page of a proof, its two buttons, and the API."""

from decimal import Decimal
from io import BytesIO
from zipfile import ZipFile

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client

from billing.invoicing.proofs import page
from billing.invoicing.proofs.models import InvoiceProof, InvoiceVerification
from billing.invoicing.proofs.operations import verify_invoice
from billing.invoicing.proofs.verifier.bundle import Zipped, verify_bundle
from config.api_keys.models import ApiKey
from config.roles import CUSTOMER_SUCCESS, FINANCE, sync_roles
from metering import operations as metering
from tests.billing import usage
from tests.billing.invoicing.proofs.proving import draft, finalise, proved
from tests.billing.usage import AFTER_OCTOBER, october_of, send
from tests.browser import PASSWORD, visiting
from tests.factories import OCTOBER, CreditGrantFactory, PlanVersionFactory, RateCardFactory, RateFactory
from tests.processes import WebServer


@pytest.fixture
def proof(committed_db: None) -> InvoiceProof:
    usage.define_token_meters()
    period = october_of("acme", included="1")
    CreditGrantFactory(customer_key="acme", amount=Decimal(2))
    send("acme", OCTOBER, input_tokens=1_000_000, output_tokens=1_234)
    metering.catch_up_windows(now=AFTER_OCTOBER)
    made = proved(period)
    finalise(made.invoice)
    return made


def client_of(role: str) -> Client:
    sync_roles()
    user = User.objects.create_user(role.replace(" ", "-").lower(), password="x", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def test_shows_what_it_rests_on_verifies_and_is_downloaded_by_finance(proof: InvoiceProof) -> None:
    finance, url = client_of(FINANCE), f"/admin/proofs/{proof.invoice_id}/"
    page = finance.get(url).content.decode()
    assert proof.sha256 in page
    assert "input tokens claude-opus-4.5" in page
    assert "Grant" in page
    assert "Not since it was made" in page

    told = finance.post(f"{url}verify/", follow=True).content.decode()
    assert "Proved from 1 raw event" in told
    assert proof.verifications.get().verified_by == "user:finance"

    answer = finance.post(f"{url}bundle/")
    written = BytesIO(b"".join(answer.streaming_content))  # type: ignore[attr-defined]
    assert verify_bundle(Zipped(written))[1] == []
    with ZipFile(written) as zipped:
        assert {"verify.py", "README.txt"} < set(zipped.namelist())
    assert "raw events" in LogEntry.objects.get().change_message

    body = finance.get(f"/api/v1/billing/invoices/{proof.invoice.stripe_invoice_id}/proof").json()
    assert (body["sha256"], body["verified"]["is_proved"]) == (proof.sha256, True)
    assert body["document"]["charged_minor"] == sum(line["amount_minor"] for line in body["document"]["lines"])
    assert "Proved invoices" in finance.get("/admin/").content.decode()
    assert url in finance.get(f"/admin/billing/invoice/{proof.invoice_id}/change/").content.decode()


def test_raw_events_leave_by_finance_alone(proof: InvoiceProof) -> None:
    helper, url = client_of(CUSTOMER_SUCCESS), f"/admin/proofs/{proof.invoice_id}/"
    assert "Download" not in helper.get(url).content.decode()
    assert helper.post(f"{url}bundle/").status_code == 403
    assert helper.get(f"{url}bundle/").status_code in (403, 405)
    assert helper.post(f"{url}verify/").status_code == 302
    assert Client().get(url).status_code == 302
    nobody = User.objects.create_user("nobody", password="x", is_staff=True)
    client = Client()
    client.force_login(nobody)
    assert client.get(url).status_code == 403
    assert client.post(f"{url}verify/").status_code == 403


def test_usage_by_the_hour_is_told_to_keys_that_may_read_usage(proof: InvoiceProof) -> None:
    url = f"/api/v1/billing/invoices/{proof.invoice.stripe_invoice_id}/proof"
    for scopes, status in (["billing:read"], 403), (["usage:read"], 403), (["billing:read", "usage:read"], 200):
        key = str(ApiKey.objects.create_key(name="-".join(scopes), scopes=scopes)[1])
        assert Client().get(url, headers={"Authorization": f"Bearer {key}"}).status_code == status, scopes


def test_a_large_bundle_is_not_written_within_a_request(proof: InvoiceProof, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bound as for verifying; the page says with which command it is written."""
    monkeypatch.setattr(page, "EVENTS_AT_ONCE_MAX", 1)
    finance, url = client_of(FINANCE), f"/admin/proofs/{proof.invoice_id}/"
    told = finance.post(f"{url}bundle/", follow=True).content.decode()
    assert f"verify_invoice {proof.invoice.stripe_invoice_id} --bundle" in told
    assert not LogEntry.objects.exists()


def test_says_what_to_do_without_a_proof(proof: InvoiceProof) -> None:
    finance = client_of(FINANCE)
    other = draft(october_of("other"), status="open", finalized_at=AFTER_OCTOBER)
    assert "--prove" in finance.get(f"/admin/proofs/{other.pk}/").content.decode()
    assert finance.get("/admin/proofs/999999/").status_code == 404
    assert finance.post(f"/admin/proofs/{other.pk}/verify/").status_code == 404
    missing = finance.get(f"/api/v1/billing/invoices/{other.stripe_invoice_id}/proof")
    assert (missing.status_code, missing.json()["field"]) == (404, "stripe_invoice_id")


def test_pages_work_and_fit(proof: InvoiceProof, web_process: WebServer) -> None:
    """Little, much, nothing, a failure, and no proof at all."""
    User.objects.create_superuser("root", password=PASSWORD)
    card = RateCardFactory()
    for number in range(60):
        RateFactory(rate_card=card, model=f"m{number}-{'x' * 60}", unit_price=Decimal("0.000123456789"), unit_size=1)
    large = october_of("large", version=PlanVersionFactory(rate_card=card, included_amount=Decimal(3)))
    for number in range(60):
        send("large", OCTOBER, model=f"m{number}-{'x' * 60}", input_tokens=123_456_789 + number)
    metering.catch_up_windows(now=AFTER_OCTOBER)
    much = finalise(proved(large).invoice)
    none, empty = draft(october_of("none")), proved(october_of("empty"))
    verify_invoice(invoice=much, actor="user:a-name-that-is-rather-long-for-a-person", now=AFTER_OCTOBER)
    InvoiceVerification.objects.create(
        proof=much.proof,
        verified_at=AFTER_OCTOBER,
        verified_by="task:verify_invoices",
        is_proved=False,
        event_count=60,
        differences=[f"line {number}: 5 is left to invoice, it says 6 (+1)" for number in range(9)],
        difference_count=9,
    )
    pages = {"little": proof.invoice_id, "much": much.pk, "nothing": empty.invoice_id, "none": none.pk}

    with visiting(web_process.address) as visitor:
        visitor.sign_in("root")
        visitor.tour({f"proof {name}": f"/admin/proofs/{number}/" for name, number in pages.items()})
        visitor.go(f"/admin/proofs/{proof.invoice_id}/")
        visitor.follow("text=Verify now")
        visitor.look("proof verified")
        told = visitor.page.inner_text("body")

    assert visitor.complaints == []
    assert visitor.too_wide == {}
    assert "Proved from 1 raw event." in told
