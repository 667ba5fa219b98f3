"""What was decided about usage that Stripe left off is carried out once, for just that, as Stripe charges it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import transaction

from billing.invoicing.closing import advance_close
from billing.invoicing.late import accrue_closed_periods, decide_late_usage, settle_late_usage
from billing.invoicing.late_models import AbsorbedUsage
from billing.invoicing.metered.deciding import decide_shortfall, settle_shortfalls
from billing.invoicing.metered.models import MeteredEvent
from billing.invoicing.metered.sending import MeterStuck, record_not_counted, send_again
from billing.invoicing.metered.shortfalls import waiting
from billing.invoicing.models import CreditNote, Invoice, InvoiceClose
from billing.invoicing.proofs.operations import verify_invoice
from billing.payments.two_people import InvalidRequest
from billing.rating.models import LateUsage
from billing.rating.queries import uninvoiced
from ledger import queries as ledger_queries
from tests.billing.invoicing.late import assert_reconciled
from tests.billing.invoicing.metered.test_left_off import brought, compared, last_event, release, report, told
from tests.billing.invoicing.metered.test_races import Other
from tests.billing.invoicing.metered.world import OCT_10, OCT_20, Metered, at_stripe, charged
from tests.billing.invoicing.ordering import FINANCE, people
from tests.billing.rating.test_accrual_races import wait_until_somebody_waits_for_a_lock
from tests.billing.thread import SECOND_MONTH
from tests.billing.voiding import take_out
from tests.sandbox.client import SandboxProcess

HOUR = timedelta(hours=1)
THIRD_MONTH = datetime(2026, 12, 1, tzinfo=UTC)


def written(metered: Metered) -> dict[str, InvoiceClose]:
    """Of each customer 6.00, and then another event: 3.00 more, but 3.00 less of Eve. The lines are written."""
    people()
    user = User.objects.get(username=FINANCE.removeprefix("user:"))
    user.user_permissions.add(Permission.objects.get(codename="decide_meteredshortfall"))
    customers = ("ada", "bob", "dan", "eve")
    for customer in customers:
        metered.subscribe(customer)
    metered.settle()
    metered.at(OCT_10)
    for customer in customers:
        metered.use(1_000_000, at=OCT_10, customer_key=customer)
    metered.use(1_000_000, at=OCT_10 + HOUR, customer_key="eve")
    metered.at(OCT_10 + HOUR)
    metered.send()
    metered.at(SECOND_MONTH - HOUR)
    for customer in customers[:3]:
        metered.use(1_000_000, at=SECOND_MONTH - HOUR, customer_key=customer)
    take_out("eve", at=OCT_10 + HOUR, now=metered.now)
    metered.send()
    metered.at(SECOND_MONTH)
    metered.settle(is_closing=False)
    assert {brought(close, metered, until="items_pushed") for close in InvoiceClose.objects.all()} == {"items_pushed"}
    return {close.invoice.customer.customer_key: close for close in InvoiceClose.objects.all()}


def decide(close: InvoiceClose, metered: Metered, way: str) -> None:
    found = waiting().get(close=close)
    decide_shortfall(shortfall_id=found.pk, way=way, reason="a test", actor=FINANCE, now=metered.now)


def test_each_way_for_just_what_was_left_off(metered: Metered) -> None:
    closes = written(metered)
    ada, bob, dan, eve = (closes[name] for name in ("ada", "bob", "dan", "eve"))
    a_report_beside_the_comparison(ada, metered)
    for close in (bob, dan, eve):
        assert brought(close, metered, until="verified") == "verified"

    # Ada's is sent again, and that is lost too: 3.00 are missing, and not 6.00.
    lost = report(ada, metered)
    again = send_again(event_id=lost.pk, reason="mended", actor=FINANCE, now=metered.now)
    assert again is not None
    with pytest.raises(InvalidRequest, match="was sent again"):
        decide(ada, metered, "document")
    report(ada, metered)
    assert [one.event for one in waiting().filter(close=ada)] == [again]
    decide(ada, metered, "document")
    with pytest.raises(MeterStuck, match="compared already"):
        send_again(event_id=again.pk, reason="after it was decided", actor=FINANCE, now=metered.now)
    # Bob is not asked for it; usage that arrives late is another matter.
    report(bob, metered)
    decide(bob, metered, "absorb")
    metered.use(100_000, at=OCT_20, meter="output_tokens", customer_key="bob")
    metered.use(1_000_000, at=OCT_20, customer_key="bob")
    # Of Dan's Stripe says that it does not count, and counts it.
    told(last_event(dan), metered)
    decide(dan, metered, "absorb")
    # Eve is charged too much.
    report(eve, metered)
    with pytest.raises(InvalidRequest, match="charges too much"):
        decide(eve, metered, "absorb")
    decide(eve, metered, "document")
    metered.aggregate()
    accrue_closed_periods(now=metered.now)
    for close in closes.values():
        release(close, metered)
    metered.settle()
    they_are_carried_out(closes, metered)


def test_what_is_for_the_next_invoice_is_not_absorbed_by_contract(
    committed_db: None, at_sandbox: SandboxProcess
) -> None:
    """The contract absorbs up to 10.00 that come late; 3.00 that Stripe left off are to be asked for all the same."""
    metered = Metered(at_sandbox, late_policy="absorb", late_absorb_up_to="10")
    (bob,) = compared(metered, "bob")
    report(bob, metered)
    decide(bob, metered, "next_invoice")
    release(bob, metered)
    metered.settle()
    metered.use(1_000_000, at=OCT_20, customer_key="bob")
    metered.aggregate()
    settle_late_usage(now=metered.now)

    late = LateUsage.objects.get()
    assert (late.state, "goes onto the next one" in late.outcome) == ("decision", True)
    decide_late_usage(late_usage_id=late.pk, way="next_invoice", reason="with it", actor=FINANCE, now=metered.now)
    metered.at(THIRD_MONTH)
    metered.settle()
    assert not AbsorbedUsage.objects.exists()
    assert sorted(charged(Invoice.objects.latest("created_at"))) == [("input_tokens", 600, False)]
    metered.use(1_000_000, at=OCT_20 + HOUR, customer_key="bob")
    metered.aggregate()
    settle_late_usage(now=metered.now)
    assert AbsorbedUsage.objects.get().amount == 3


def a_report_beside_the_comparison(close: InvoiceClose, metered: Metered) -> None:
    """The comparison waits for a report that is being written down: else neither would know of the other."""
    event = last_event(close)
    with transaction.atomic():
        record_not_counted(identifiers={event.identifier: "lost"}, now=metered.now)
        comparing = Other(lambda: advance_close(close_id=close.pk, now=metered.now))
        wait_until_somebody_waits_for_a_lock()
        transaction.set_rollback(True)
    assert comparing.result() == "verified"


def they_are_carried_out(closes: dict[str, InvoiceClose], metered: Metered) -> None:
    assert settle_shortfalls(now=metered.now) == 0
    settle_late_usage(now=metered.now)
    metered.settle()
    invoices = {name: Invoice.objects.get(pk=close.invoice_id) for name, close in closes.items()}
    assert {name: (charged(one)[0][1], at_stripe(one)[0], one.status) for name, one in invoices.items()} == {
        "ada": (300, 300, "paid"),
        "bob": (300, 300, "paid"),
        "dan": (600, 600, "paid"),
        "eve": (600, 600, "paid"),
    }
    own = Invoice.objects.exclude(pk__in=[one.pk for one in invoices.values()]).get(
        customer__customer_key="ada", total_minor=300
    )
    assert (charged(own), own.status) == ([("input_tokens", 300, False)], "paid")
    note = CreditNote.objects.get()
    assert (note.invoice, note.total_minor) == (invoices["eve"], 300)
    given_up = AbsorbedUsage.objects.get()
    assert (given_up.period.subscription.customer.customer_key, given_up.amount) == ("bob", 3)
    left = {name: [str(one.amount.normalize()) for one in _left(invoice)] for name, invoice in invoices.items()}
    assert left == {"ada": [], "bob": ["3", "1.5"], "dan": [], "eve": []}
    for invoice in (invoices["dan"], invoices["eve"]):  # ours charges as written, and more than that
        assert verify_invoice(invoice=invoice, actor="user:tester", now=metered.now).differences == []
    metered.sandbox.advance(SECOND_MONTH + HOUR)
    with pytest.raises(AssertionError) as found:  # of Dan's Stripe says both, and people see it; all else agrees
        assert_reconciled(metered)
    assert str(found.value).count("'300', '600'") == str(found.value).count("('") == 1
    assert ledger_queries.out_of_balance() == []


def _left(invoice: Invoice) -> Any:
    period = MeteredEvent.objects.filter(period__subscription=invoice.subscription).earliest("pk").period
    return uninvoiced(invoice.subscription_id or 0, period.pk)
