"""A threshold invoice that becomes void between the lines of a close and its proof holds nothing."""

from datetime import timedelta
from decimal import Decimal

from pytest_django.fixtures import Settings

from billing.invoicing.closing import advance_close
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.orders.thresholds import order_threshold_invoices
from billing.invoicing.proofs.operations import verify_invoice
from billing.rating.queries import uninvoiced
from billing.stripe import gateway
from tests.billing.invoicing.metered.world import OCT_10, Metered, charged
from tests.billing.invoicing.ordering import carry_out_all, people
from tests.billing.thread import SECOND_MONTH


def test_the_close_goes_on_with_what_its_lines_rest_on(metered: Metered, settings: Settings) -> None:
    """12.00 were asked for at a threshold, and 3.00 are left; then the 12.00 are void, and on no invoice."""
    settings.BILLING_THRESHOLDS = {"USD": Decimal(10)}
    people()
    subscription = metered.subscribe()
    metered.settle()
    metered.use_card("ada", "pm_card_chargeCustomerFail")
    metered.at(OCT_10)
    metered.use(4_000_000, at=OCT_10)
    metered.send()
    assert len(order_threshold_invoices(now=OCT_10)) == 1
    carry_out_all(metered)
    asked = Invoice.objects.get(billing_reason="manual")
    assert (charged(asked), asked.status) == ([("input_tokens", 1200, False)], "open")
    metered.use(1_000_000, at=OCT_10 + timedelta(hours=1))
    metered.at(SECOND_MONTH)
    metered.settle(is_closing=False)
    close = InvoiceClose.objects.get(invoice__billing_reason="subscription_cycle")
    assert advance_close(close_id=close.pk, now=metered.now) == "accrued"
    gateway.request("post", f"/v1/invoices/{asked.stripe_invoice_id}/void", {})
    metered.settle()
    close.refresh_from_db()
    assert (close.held_reason, close.step) == ("", "finalized")
    assert (charged(close.invoice), close.invoice.status) == ([("input_tokens", 300, True)], "open")
    assert verify_invoice(invoice=close.invoice, actor="user:tester", now=metered.now).differences == []
    assert close.period is not None
    (left,) = uninvoiced(subscription.pk, close.period.pk)
    assert left.amount == 12
