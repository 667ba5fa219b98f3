"""A document of what Stripe left off that Stripe refuses: nobody would ask for it, so the overview says so."""

from billing.figures import Figure
from billing.invoicing.late import settle_late_usage
from billing.invoicing.late_models import LateCorrection
from billing.machine_health import health_figures
from billing.stripe import gateway
from tests.billing.invoicing.metered.test_left_off import compared, release, report
from tests.billing.invoicing.metered.test_left_off_decided import decide
from tests.billing.invoicing.metered.world import Metered


def figure(metered: Metered) -> Figure:
    figures = health_figures(may=lambda permission: permission == "billing.view_meteredshortfall", now=metered.now)
    return next(one for one in figures if one.name == "Usage Stripe left off an invoice")


def test_it_stands_on_the_overview(metered: Metered) -> None:
    """The tax rate that it was to bear was archived meanwhile."""
    (ada,) = compared(metered, "ada")
    report(ada, metered)
    decide(ada, metered, "document")
    release(ada, metered)
    metered.settle()
    assert (figure(metered).value, figure(metered).tone) == ("0", "good")
    rate = gateway.request("post", "/v1/tax_rates", {"display_name": "VAT", "percentage": 20, "inclusive": False}).data
    gateway.request("post", f"/v1/tax_rates/{rate['id']}", {"active": False})
    customer = ada.invoice.customer.stripe_customer_id
    LateCorrection.objects.update(request={"customer": customer, "default_tax_rates": [rate["id"]]})

    settle_late_usage(now=metered.now)

    refused = LateCorrection.objects.get()
    shown = figure(metered)
    assert (refused.state, shown.value) == ("refused", "1")
    assert "1 document not made: Invoice of its own" in shown.note
