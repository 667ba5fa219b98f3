"""Invoices of every way of pricing are proved by code that shares no line with rating."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.invoicing.proofs.operations import verify_invoice
from tests.billing import usage
from tests.billing.invoicing.proofs.proving import finalise, proved
from tests.billing.rating.test_every_model import CHANGE, US, every_model
from tests.billing.usage import AFTER_OCTOBER, october_of, use
from tests.factories import ACTOR, NOVEMBER, OCTOBER, CreditGrantFactory

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


def test_every_model_a_price_change_pools_and_a_grant() -> None:
    period = october_of("acme", version=every_model())
    CreditGrantFactory(customer_key="acme", amount=Decimal(7), expires_at=OCTOBER + timedelta(days=20))
    for at, model in ((OCTOBER + HOUR, "a"), (CHANGE - US, "b"), (CHANGE, "b"), (NOVEMBER - US, "c")):
        use("acme", at, model=model, input_tokens=9, output_tokens=40, cache_write_tokens=9, cache_read_tokens=9)

    proof = proved(period)
    finalise(proof.invoice)

    found = verify_invoice(invoice=proof.invoice, actor=ACTOR, now=AFTER_OCTOBER)
    assert found.differences == []
    assert found.event_count == 4
    assert proof.line_count >= 6
