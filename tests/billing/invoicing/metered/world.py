"""A world in which usage is sent to Stripe's meters, whose clock and the sandbox's are one."""

from datetime import UTC, datetime
from typing import Any

from billing.invoicing.metered.models import MeteredEvent, MeteredPrice
from billing.invoicing.metered.sending import send_usage
from billing.invoicing.models import Invoice, InvoiceLine
from billing.rating.operations import accrue_period
from billing.stripe import gateway, readers
from billing.subscriptions.models import BillingPeriod
from tests.billing.thread import START, Thread
from tests.sandbox.client import SandboxProcess

OCT_10 = datetime(2026, 10, 10, 12, tzinfo=UTC)
OCT_20 = datetime(2026, 10, 20, 12, tzinfo=UTC)
# Stripe takes no event of more than 35 days ago: by the clock on the wall the end of October will be too long ago.
OUR_NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Metered(Thread):
    """A thread that sends. Its inbox lives later, in its own present; usage is sent by the sandbox's clock."""

    def __init__(self, sandbox: SandboxProcess, **terms: Any) -> None:
        super().__init__(sandbox, usage_delivery="meter_events", **terms)
        self.moment, self.now = START, OUR_NOW

    def at(self, moment: datetime) -> None:
        """Let it be then at Stripe, and where usage is sent."""
        self.sandbox.advance(moment)
        self.moment = moment
        self.advance_our_clock_to(moment)

    def send(self, *, period: BillingPeriod | None = None) -> int:
        """Count, rate, and send what periods come to."""
        self.aggregate()
        for one in [period] if period is not None else BillingPeriod.objects.filter(state="open"):
            accrue_period(period_id=one.pk, now=self.moment)
        return send_usage(now=self.moment)

    def summary(self, period: BillingPeriod, meter_code: str = "input_tokens") -> int:
        """What Stripe's meter says of the period."""
        price = MeteredPrice.objects.get(plan_version=period.plan_version, rate__meter_code=meter_code)
        start, end = period.starts_at, period.ends_at
        found = gateway.listed(
            f"/v1/billing/meters/{price.stripe_meter_id}/event_summaries",
            customer=period.subscription.customer.stripe_customer_id,
            start_time=int(start.timestamp()) // 60 * 60,
            end_time=-(-int(end.timestamp()) // 60) * 60,
        )
        return sum(int(one["aggregated_value"]) for one in found)


def units(period: BillingPeriod, meter_code: str = "input_tokens") -> list[int]:
    """The events of a period in their order."""
    events = MeteredEvent.objects.filter(period=period, price__rate__meter_code=meter_code).order_by("number")
    return [event.units for event in events]


def charged(invoice: Invoice) -> list[tuple[str, int, bool]]:
    """The usage lines: meter, minor units, and whether Stripe's meter brought them."""
    lines = InvoiceLine.objects.filter(invoice=invoice, kind="usage").select_related("rate").order_by("position")
    return [(line.rate.meter_code, line.amount_minor, line.metered_price_id is not None) for line in lines if line.rate]


def at_stripe(invoice: Invoice) -> list[int]:
    """The amounts on Stripe's invoice that are not nothing, sorted."""
    _, lines = readers.invoice_with_lines(invoice.stripe_invoice_id)
    return sorted(line["amount"] for line in lines if line["amount"])
