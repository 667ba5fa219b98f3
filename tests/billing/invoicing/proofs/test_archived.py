"""Invoices whose raw events lie in an archive are proved from there."""

from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from billing.invoicing.models import InvoiceLine
from billing.invoicing.proofs.operations import prove_invoice, verify_invoice
from billing.rating.models import UsageAccrual
from config import clock
from metering import operations as metering
from metering import queries as metering_queries
from tests.billing import usage
from tests.billing.invoicing.proofs.proving import Held, bundle_of, draft, finalise, invoice_of
from tests.billing.rating.pricing import BY_EVENT
from tests.billing.rating.test_every_model import price
from tests.billing.usage import send
from tests.billing.voiding import take_out
from tests.factories import (
    ACTOR,
    CustomerFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
    SubscriptionFactory,
)
from tests.metering.lifecycle.conftest import _no_old_months, archive_folder
from tests.metering.lifecycle.months import files, old_month

__all__ = ["_no_old_months", "archive_folder"]

MICROSECOND = timedelta(microseconds=1)


@pytest.mark.usefixtures("committed_db")
def test_an_archived_month_is_read_from_its_file(archive_folder: Path) -> None:
    usage.define_token_meters()
    start, end = metering_queries.month_range(old_month())
    card = RateCardFactory()
    RateFactory(rate_card=card)
    # A price by the event: what it is made of is in raw events alone.
    price(card, "percentage", BY_EVENT, "output_tokens")
    version = PlanVersionFactory(rate_card=card, included_amount=Decimal(1))
    customer = CustomerFactory(customer_key="acme", created_at=start)
    period = SubscriptionFactory(customer=customer, plan_version=version, starts_at=start).periods.get()
    send("acme", start + timedelta(days=1), input_tokens=600_000, output_tokens=40_000)
    send("acme", start + timedelta(days=1) + MICROSECOND, input_tokens=400_000)
    metering.catch_up_windows(now=end)
    take_out("acme", at=start + timedelta(days=1) + MICROSECOND, now=end)
    metering.catch_up_windows(now=end)
    now = end + timedelta(hours=1)
    invoice = finalise(invoice_of(period, now=now), now=now)
    invoice.status = "draft"
    invoice.save()
    proof = prove_invoice(invoice=invoice, now=now)

    assert metering.archive_due_months(now=clock.now(), actor=ACTOR)

    found = verify_invoice(invoice=invoice, actor=ACTOR, now=clock.now())
    assert (found.differences, found.event_count) == ([], 2)
    assert Held(bundle_of(proof)).differences() == []
    for file in files(archive_folder):
        file.unlink()
    (gone,) = verify_invoice(invoice=invoice, actor=ACTOR, now=clock.now()).differences
    assert gone.startswith("raw events cannot be read from their archive")
    # One without a proof cannot get one either.
    other = draft(period)
    InvoiceLine.objects.create(
        invoice=other, kind="coverage", position=1, period=period, accrual=UsageAccrual.objects.get(),
        description="Included", quantity=0, exact_amount=0, amount_minor=0, rounding=0,
    )  # fmt: skip
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_invoice", other.stripe_invoice_id, "--prove", stdout=out)
    assert ended.value.code == 1
    assert out.getvalue().startswith("DIFFERS: raw events cannot be read from their archive")
