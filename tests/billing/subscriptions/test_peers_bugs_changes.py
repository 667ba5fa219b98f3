"""What others billed twice, or not at all, when the terms changed within a period (field.md, section E)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.catalog.models import RateCard
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.orders.models import InvoiceOrder
from billing.stripe import gateway
from billing.subscriptions import lifecycle
from billing.subscriptions.operations import change_terms
from tests.billing.invoicing.ordering import carry_out_all
from tests.billing.subscriptions.lives import NOVEMBER, OCT_11, OCT_16_NOON, advance, invoices, said, started
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import MODEL, Thread
from tests.factories import RateCardFactory, RateFactory

OCT_1_NOON, OCT_21 = datetime(2026, 10, 1, 12, tzinfo=UTC), datetime(2026, 10, 21, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("committed_db")


def test_flexprice_2336_2370_changes_of_one_period_are_each_prorated_once(thread: Thread) -> None:
    """
    E41: with a key of their own the proration invoices of one period came twice; without, the second change was taken
    for the first. Here two changes of one period are two, and each of them said again is none.
    """
    subscription = started(thread)
    thread.settle()
    plan = subscription.plan_version
    for when, key, seats in ((OCT_11, "first", 2), (OCT_16_NOON, "second", 3)):
        thread.sandbox.advance(when)
        for _ in range(2):
            change_terms(**said(thread, subscription, key), plan_version=plan, seats=seats)
    change_terms(**said(thread, subscription, "first"), plan_version=plan, seats=2)
    advance(thread, NOVEMBER)

    # 21 and 15.5 of 31 days were left: the seats of before are given back, those of after are charged.
    prorated = [-1355, 2709, -2000, 3000]
    assert invoices() == [
        ("paid", [("fee", 2000)]),
        ("paid", [("fee", amount) for amount in sorted([*prorated, 6000])]),
    ]


def test_killbill_2066_a_usage_price_overridden_with_the_change_holds_from_then_on(thread: Thread) -> None:
    """E40: a usage price overridden in a plan change was not charged. Here it prices what is used after the change."""
    card = RateCardFactory(code="agreed", base=RateCard.objects.get(code="card"))
    RateFactory(rate_card=card, model=MODEL, meter_code="input_tokens", unit_price=Decimal(1))
    agreed = version_of("agreed", rate_card=card)
    subscription = started(thread)
    thread.settle()
    thread.use(1_000_000, at=OCT_11 - timedelta(hours=1))
    advance(thread, OCT_11)
    change_terms(**said(thread, subscription), plan_version=agreed, seats=1)
    thread.use(1_000_000, at=OCT_11 + timedelta(hours=1))
    thread.use(1_000_000, at=OCT_11 + timedelta(hours=2), meter="output_tokens")
    advance(thread, NOVEMBER)

    usage = InvoiceLine.objects.filter(kind=InvoiceLine.Kind.USAGE).order_by("amount_minor")
    assert list(usage.values_list("amount_minor", flat=True)) == [100, 300, 1500]
    assert thread.unfinished() == []


def test_killbill_1907_an_add_on_changed_and_taken_away_is_paid_for_each_part_of_its_time(thread: Thread) -> None:
    """E40: after an add-on was upgraded and cancelled its last part was on no invoice. Here it is, to the second."""
    boost, more = (version_of(code, is_add_on=True, fee_minor=fee) for code, fee in (("boost", 3100), ("more", 6200)))
    subscription = started(thread)
    thread.settle()
    plan = subscription.plan_version
    for when, add_ons in ((OCT_11, [(boost, 1)]), (OCT_16_NOON, [(more, 1)]), (OCT_21, [])):
        thread.sandbox.advance(when)
        change_terms(**said(thread, subscription, f"{when}"), plan_version=plan, seats=1, add_ons=add_ons)
    advance(thread, NOVEMBER)

    # Of 31 days 21 were left when it came, 15.5 when it became the other, 11 when that went.
    prorated = [2100, -1550, 3100, -2200]
    assert invoices()[-1] == ("paid", [("fee", amount) for amount in sorted([*prorated, 2000])])
    assert thread.unfinished() == []


def test_killbill_877_from_a_free_plan_to_a_paid_one_on_its_first_day_is_no_double_billing(thread: Thread) -> None:
    """E40: two items of one span, one of them worth nothing, were taken for a double billing."""
    free, paid = version_of("free", fee_minor=0), version_of("paid", fee_minor=3100)
    subscription = started(thread, free)
    thread.settle()
    thread.sandbox.advance(OCT_1_NOON)
    change_terms(**said(thread, subscription), plan_version=paid, seats=1)
    thread.settle()
    advance(thread, NOVEMBER)

    # 30.5 of 31 days, and the next month.
    assert invoices() == [("paid", []), ("paid", [("fee", 3050), ("fee", 3100)])]
    assert thread.unfinished() == []


def test_sokosumi_3120_an_event_that_leads_to_an_invoice_leads_to_one_however_often_it_comes(thread: Thread) -> None:
    """E43: a redelivered webhook made and finalised a second invoice. Here what it asks for is asked for once."""
    subscription = started(thread)
    thread.settle()
    thread.use(1_000_000, at=OCT_11 - timedelta(hours=1))
    advance(thread, OCT_11)
    lifecycle.cancel(**said(thread, subscription), prorate=False)
    thread.settle(copies=3)
    carry_out_all(thread)
    thread.redeliver_everything()
    carry_out_all(thread)

    assert InvoiceOrder.objects.count() == 1
    assert [row.total_minor for row in Invoice.objects.order_by("created_at", "pk")] == [2000, 300]
    assert len(list(gateway.listed("/v1/invoices"))) == 2
