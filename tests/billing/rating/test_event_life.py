"""What became of an event after its window, told in the order in which money moves."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.rating.event_life import stages
from billing.rating.operations import accrue_period
from metering.event_life import LifeOfWindow, LifeStage
from metering.models import UsageEvent
from tests.billing import usage
from tests.billing.usage import AFTER_OCTOBER, MODEL, october_of, use_dollars
from tests.factories import OCTOBER, CreditGrantFactory

AT = OCTOBER + timedelta(days=3, hours=5, minutes=20)


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


def life(*, is_void: bool = False, model: str = MODEL) -> list[LifeStage]:
    """Of the first event of the customer, a dollar of input."""
    event = UsageEvent.objects.order_by("event_time")[0]
    return list(
        stages(
            LifeOfWindow(
                event_key=str(event.key),
                event_time=event.event_time,
                received_at=event.received_at,
                window_start=event.event_time.replace(minute=0),
                customer_key=event.customer_key,
                meter_code="input_tokens",
                meter_version=1,
                dimensions={"model": model},
                quantity=Decimal(200_000),
                is_void=is_void,
            )
        )
    )


def test_names_period_price_accrual_entry_who_paid_and_the_invoice_to_come() -> None:
    period = october_of("acme", included="1")
    CreditGrantFactory(customer_key="acme", amount=Decimal(2))
    use_dollars("acme", AT, "1")
    use_dollars("acme", AT + timedelta(days=1), "3")
    accrual = accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
    assert accrual is not None

    told = life()
    assert [(stage.title, stage.text) for stage in told] == [
        ("Billing period", "01 Oct 2026 – 01 Nov 2026, open"),
        ("Price", "200,000 units cost $1.00: included"),
        ("Included", "$1.00: “Included usage” pays first: $0.00 of $1.00 was used before."),
        ("Accrued", "Revision 1: +800,000 units, +4 USD rated, +1 USD of it to invoice"),
        ("Journal entry", f"#{accrual.journal_entry_id}"),
        ("Not invoiced yet", "The invoice of 01 Nov 2026 will have it"),
    ]
    assert all(stage.permission for stage in told)
    assert {stage.at for stage in told} == {None, AFTER_OCTOBER}
    assert [stage.title for stage in told if "/explanations/events/" in stage.url] == ["Price", "Included"]


def test_says_where_it_has_not_come_further() -> None:
    october_of("acme")
    use_dollars("acme", AT, "1")

    titles = ["Billing period", "Price", "Included", "Not accrued yet", "Not invoiced yet"]
    assert [stage.title for stage in life()] == titles


def test_says_what_nobody_pays_for() -> None:
    october_of("acme")
    use_dollars("acme", AT, "1")

    assert [stage.title for stage in life(model="unheard-of")] == ["Billing period", "Not rated"]
    assert "costs nothing" in life(is_void=True)[1].text
    use_dollars("acme", OCTOBER - timedelta(days=1), "1")
    assert [stage.title for stage in life()] == ["In no billing period"]
