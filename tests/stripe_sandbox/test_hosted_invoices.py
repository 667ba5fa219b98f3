"""The hosted page of an invoice, where the link in a reminder leads."""

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.payer import Payer


def test_open_invoice_is_shown_and_paid(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.api.customers.create({"email": "ada@example.com"})
    invoice = account.invoice(customer, 2000, 500, collection_method="send_invoice", days_until_due=14)
    assert Payer(sandbox).page(f"/pay/invoices/{invoice.id}").status == 404  # a draft has no page
    invoice = account.api.invoices.finalize_invoice(invoice.id)
    assert invoice.hosted_invoice_url == f"{sandbox.address}/pay/invoices/{invoice.id}"
    payer = Payer(sandbox)
    page = payer.page(invoice.hosted_invoice_url)
    assert all(text in page.text for text in (invoice.number, "25.00 USD", "ada@example.com", "Pay 25.00 USD"))

    payer.submit(invoice.hosted_invoice_url, method="4242 4242 4242 4242")

    assert account.api.invoices.retrieve(invoice.id).status == "paid"
    paid = payer.page(invoice.hosted_invoice_url).text
    assert ("Invoice paid" in paid, "Pay 25.00 USD" in paid) == (True, False)


def test_declined_card_is_said_and_another_tried(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")
    invoice = account.api.invoices.finalize_invoice(account.invoice(customer, 2000).id)
    payer = Payer(sandbox)

    page = payer.submit(invoice.hosted_invoice_url, method="4000 0000 0000 0002")

    assert (page.status, "Your card was declined." in page.text) == (402, True)
    assert account.api.invoices.retrieve(invoice.id).status == "open"
    payer.submit(invoice.hosted_invoice_url, method="4242 4242 4242 4242")
    assert account.api.invoices.retrieve(invoice.id).status == "paid"


def test_payer_authenticates(account: Account, sandbox: SandboxProcess) -> None:
    invoice = account.api.invoices.finalize_invoice(account.invoice(account.api.customers.create(), 2000).id)
    payer = Payer(sandbox)

    page = payer.submit(invoice.hosted_invoice_url, method="4000 0027 6000 3184")
    back = payer.authenticate(page, confirm=False)
    assert "failed authentication" in payer.page(back).text
    page = payer.submit(invoice.hosted_invoice_url, method="4000 0027 6000 3184")
    assert payer.authenticate(page) == f"/pay/invoices/{invoice.id}"

    assert account.api.invoices.retrieve(invoice.id).status == "paid"


def test_form_of_another_site_is_refused(account: Account, sandbox: SandboxProcess) -> None:
    invoice = account.api.invoices.finalize_invoice(account.invoice(account.api.customers.create(), 2000).id)

    page = Payer(sandbox, origin="https://elsewhere.example").submit(
        invoice.hosted_invoice_url, method="4242 4242 4242 4242"
    )

    assert (page.status, account.api.invoices.retrieve(invoice.id).status) == (403, "open")


def test_page_shows_what_came_from_outside_as_text(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.api.customers.create({"name": "<script>alert(1)</script>"})
    invoice = account.api.invoices.finalize_invoice(account.invoice(customer, 2000).id)

    text = Payer(sandbox).page(invoice.hosted_invoice_url).text

    assert ("<script>" in text, "&lt;script&gt;" in text) == (False, True)
