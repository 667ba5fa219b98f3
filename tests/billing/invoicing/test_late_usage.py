"""
Usage that is known only after its period was closed: every contract's policy, from the event to the books.

The plan costs 20.00 USD a month in advance; a million input tokens cost 3 USD. October is billed with a million: 3.00.
Stripe's fee is 2.9 % + 0.30 USD of each charge: 0.88 of 20.00, 0.97 of 23.00, 0.47 of 6.00 (0.174 + 0.30). Every figure
was worked out by hand before the code ran; at the end of each story reconciliation finds nothing.
"""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.invoicing.late import ABSORB, DOCUMENT, NEXT_INVOICE, DecisionError, decide_late_usage, settle_late_usage
from billing.invoicing.late_models import AbsorbedUsage, LateCorrection
from billing.invoicing.models import CreditNote, Invoice, InvoiceLine
from billing.rating.models import LateProgress, LateUsage, UsageAccrual
from billing.rating.operations import accrue_changed_periods
from tests.billing.invoicing.late import (
    NOV_10,
    OCT_10,
    OCT_20,
    assert_reconciled,
    bill_november,
    bill_october,
    cancel,
    late_usage,
    notice,
    october,
)
from tests.billing.thread import MODEL, Thread
from tests.billing.voiding import take_out
from tests.sandbox.client import SandboxProcess


def amounts(**balances: str) -> dict[str, Decimal]:
    return {name.replace("__", ":"): Decimal(amount).normalize() for name, amount in balances.items()}


class TestWhatIsWrittenDown:
    def test_an_event_in_an_open_period_is_no_late_usage(self, thread: Thread) -> None:
        thread.subscribe()
        thread.use(1_000_000, at=OCT_10)
        thread.aggregate()
        accrue_changed_periods(now=thread.now)
        thread.use(2_000_000, at=OCT_10)
        notice(thread)
        accrue_changed_periods(now=thread.now)

        assert UsageAccrual.objects.count() == 2
        assert not LateUsage.objects.exists()
        assert thread.balances()["unbilled"] == 9

    def test_which_events_in_which_hours_and_what_the_period_came_to_before(self, thread: Thread) -> None:
        bill_october(thread)
        thread.use(1_000_000, at=OCT_10)
        received_at = thread.now
        thread.now += timedelta(minutes=5)
        thread.use(1_000_000, at=OCT_20)
        notice(thread)

        found = late_usage()
        assert (found.events, found.voided, found.restored, found.windows) == (2, 0, 0, 2)
        assert (found.first_received_at, found.last_received_at) == (received_at, received_at + timedelta(minutes=5))
        assert (found.first_window, found.last_window) == (OCT_10, OCT_20.replace(minute=0))
        assert (found.rated_before, found.unbilled_before) == (3, 3)
        assert (found.accrual.revision, found.accrual.rated, found.accrual.unbilled) == (2, 6, 6)

    def test_nothing_twice_when_it_is_looked_for_again(self, thread: Thread) -> None:
        bill_october(thread)
        thread.use(2_000_000, at=OCT_10)
        notice(thread)
        notice(thread)

        assert settle_late_usage(now=thread.now) == 0
        assert LateUsage.objects.count() == 1

    def test_what_could_not_be_accrued_is_tried_again_until_it_can(self, thread: Thread) -> None:
        bill_october(thread)
        thread.use(1_000_000, at=OCT_10, model="unpriced")
        notice(thread)
        assert LateProgress.objects.get().retried == [october().pk]
        assert not LateUsage.objects.exists()

        take_out("ada", at=OCT_10, now=thread.now)
        notice(thread)
        assert LateProgress.objects.get().retried == []
        assert (late_usage().voided, late_usage().accrual.unbilled) == (2, -3)


class TestNextInvoice:
    def test_bills_more_usage_on_the_next_invoice(self, thread: Thread) -> None:
        """Two million tokens more are 6.00: 26.00 on 1 December, of which Stripe keeps 1.05 (0.754 + 0.30)."""
        bill_october(thread)
        thread.use(2_000_000, at=OCT_10)
        notice(thread)
        assert late_usage().state == "waiting"
        assert thread.balances()["unbilled"] == 6
        assert_reconciled(thread)

        invoice = bill_november(thread)
        assert (invoice.status, invoice.total_minor) == ("paid", 2600)
        line = invoice.lines.get(kind="usage")
        assert line.description == (
            f"Late usage of 01 Oct 2026 – 01 Nov 2026: {MODEL} input tokens: 2,000,000 units, 6 USD"
        )
        assert (late_usage().state, late_usage().invoice) == ("settled", invoice)
        assert late_usage().outcome == "1 late line on the invoice of 01 Dec 2026"
        assert thread.balances() == amounts(
            revenue__usage="9", revenue__subscription="60", stripe__clearing="66.10", fees__stripe="2.90"
        )
        assert_reconciled(thread)

    def test_takes_less_usage_off_the_next_invoice(self, thread: Thread) -> None:
        """All of October's million is void: 20.00 less 3.00 on 1 December; fee 0.79 (0.493 + 0.30)."""
        bill_october(thread)
        take_out("ada", at=OCT_10, now=thread.now)
        notice(thread)
        assert (late_usage().voided, late_usage().state) == (1, "waiting")
        assert_reconciled(thread)

        invoice = bill_november(thread)
        assert (invoice.status, invoice.total_minor) == ("paid", 1700)
        assert thread.balances() == amounts(revenue__subscription="60", stripe__clearing="57.36", fees__stripe="2.64")
        assert_reconciled(thread)

    def test_of_an_ended_subscription_gives_back_to_the_card_what_became_less(self, thread: Thread) -> None:
        bill_october(thread)
        cancel(thread)
        take_out("ada", at=OCT_10, now=thread.now)
        notice(thread)

        note = CreditNote.objects.get()
        assert (note.total_minor, note.refunded_minor, note.to_balance_minor) == (300, 300, 0)
        assert late_usage().state == "settled"
        assert thread.balances() == amounts(revenue__subscription="40", stripe__clearing="38.15", fees__stripe="1.85")
        assert_reconciled(thread)

    def test_of_an_ended_subscription_puts_what_became_more_before_a_person(self, thread: Thread) -> None:
        bill_october(thread)
        thread.use(2_000_000, at=OCT_10)
        notice(thread)
        assert late_usage().state == "waiting"
        cancel(thread)
        notice(thread)

        assert late_usage().state == "decision"
        assert late_usage().outcome == "The subscription has ended: nothing will ask for 6 USD by itself"
        assert_reconciled(thread)


class TestDocumentOfItsOwn:
    @pytest.fixture
    def thread(self, committed_db: None, at_sandbox: SandboxProcess) -> Thread:
        return Thread(at_sandbox, late_policy="credit_or_debit_note")

    def test_asks_for_more_usage_by_an_invoice_of_its_own_at_once(self, thread: Thread) -> None:
        bill_october(thread)
        thread.use(2_000_000, at=OCT_10)
        notice(thread)

        invoice = Invoice.objects.get(billing_reason="manual")
        assert (invoice.status, invoice.total_minor) == ("paid", 600)
        assert [line.description for line in invoice.lines.all()] == [
            f"Late usage of 01 Oct 2026 – 01 Nov 2026: {MODEL} input tokens: 2,000,000 units, 6 USD"
        ]
        assert [step.step for step in invoice.close.steps.all()] == [
            "accrued", "items_pushed", "verified", "proved", "finalized",
        ]  # fmt: skip
        assert (late_usage().state, late_usage().outcome) == ("settled", "$6.00 on an invoice of its own")
        # 40.00 + 3.00 + 6.00, less 0.88, 0.97 and 0.47.
        assert thread.balances() == amounts(
            revenue__usage="9", revenue__subscription="40", stripe__clearing="46.68", fees__stripe="2.32"
        )
        assert_reconciled(thread)

        assert bill_november(thread).total_minor == 2000
        assert_reconciled(thread)

    def test_gives_back_less_usage_by_a_credit_note_on_the_invoice_that_billed_it(self, thread: Thread) -> None:
        billed = bill_october(thread, tokens=1_234_567)
        take_out("ada", at=OCT_10, now=thread.now)
        notice(thread)

        # 3.703701 was charged as 3.70; with it comes back what rounding took: 0.003701.
        note = CreditNote.objects.get()
        assert (note.invoice, note.total_minor, note.to_balance_minor) == (billed, 370, 370)
        assert note.lines.get().invoice_line == billed.lines.get(kind="usage")
        correction = LateCorrection.objects.get()
        assert (correction.kind, correction.state, correction.credit_note) == ("credit_note", "done", note)
        assert late_usage().outcome == f"Credit note {note} of $3.70 on invoice {billed}"
        # 43.70 were collected, less 0.88 and 0.99; 3.70 of it are the customer's.
        assert thread.balances() == amounts(
            revenue__subscription="40", balance="3.70", stripe__clearing="41.83", fees__stripe="1.87"
        )
        assert_reconciled(thread)

    def test_of_an_open_invoice_is_not_asked_for_any_more(self, thread: Thread) -> None:
        thread.subscribe()
        thread.settle()
        thread.use_card("ada", "pm_card_chargeCustomerFail")
        thread.use(1_000_000, at=OCT_10)
        thread.sandbox.advance(OCT_20.replace(month=11, day=1, hour=0, minute=0))
        thread.settle()
        take_out("ada", at=OCT_10, now=thread.now)
        notice(thread)

        assert CreditNote.objects.get().pre_payment_minor == 300
        invoice = Invoice.objects.get(billing_reason="subscription_cycle")
        assert (invoice.status, invoice.amount_remaining_minor) == ("open", 2000)
        assert_reconciled(thread)

    def test_both_ways_makes_both_documents(self, thread: Thread) -> None:
        """An event was sent with the wrong class of tokens: 3.00 come back, 15.00 are asked for."""
        bill_october(thread)
        take_out("ada", at=OCT_10, now=thread.now)
        thread.use(1_000_000, at=OCT_20, meter="output_tokens")
        notice(thread)

        assert CreditNote.objects.get().total_minor == 300
        assert Invoice.objects.get(billing_reason="manual").total_minor == 1500
        assert (late_usage().events, late_usage().voided, late_usage().state) == (1, 1, "settled")
        assert_reconciled(thread)

    def test_below_the_smallest_amount_is_given_up_and_says_so(self, thread: Thread) -> None:
        bill_october(thread)
        thread.use(1_000, at=OCT_20)
        notice(thread)

        assert AbsorbedUsage.objects.get().amount == Decimal("0.003")
        assert late_usage().outcome == "Late usage of less than the smallest amount that can be charged"
        assert_reconciled(thread)

    def test_that_stripe_refuses_goes_before_a_person(self, thread: Thread) -> None:
        """The invoice was given back in full by hand; Stripe credits no more than its total."""
        billed = bill_october(thread)
        fee = billed.lines.get(kind="fee")
        from billing.stripe import gateway

        line = {"type": "invoice_line_item", "invoice_line_item": fee.stripe_line_id, "amount": 2000}
        custom = {"type": "custom_line_item", "unit_amount": 300, "quantity": 1, "description": "goodwill"}
        params = {"invoice": billed.stripe_invoice_id, "lines": [line, custom], "credit_amount": 2300}
        gateway.request("post", "/v1/credit_notes", params)
        thread.settle()
        take_out("ada", at=OCT_10, now=thread.now)
        notice(thread)

        assert LateCorrection.objects.get().state == "refused"
        assert late_usage().state == "decision"
        assert "more than what can still be credited" in late_usage().outcome
        assert thread.balances()["unbilled"] == -3
        assert_reconciled(thread)


class TestAbsorb:
    @pytest.fixture
    def thread(self, committed_db: None, at_sandbox: SandboxProcess) -> Thread:
        return Thread(at_sandbox, late_policy="absorb", late_absorb_up_to="10")

    def test_gives_up_as_much_as_the_contract_says_and_says_why(self, thread: Thread) -> None:
        bill_october(thread)
        thread.use(2_000_000, at=OCT_10)
        notice(thread)

        absorbed = AbsorbedUsage.objects.get()
        assert (absorbed.amount, absorbed.absorbed_by) == (6, "service:late_usage")
        assert absorbed.reason == "Late usage, absorbed by contract up to 10 USD a period"
        assert late_usage().outcome == f"Absorbed 6 USD: {absorbed.reason}"
        assert thread.balances() == amounts(
            revenue__usage="9", contra__adjustments="6", revenue__subscription="40", stripe__clearing="41.15",
            fees__stripe="1.85",
        )  # fmt: skip
        assert_reconciled(thread)
        assert bill_november(thread).total_minor == 2000

    def test_above_it_all_that_waits_is_for_a_person(self, thread: Thread) -> None:
        """6.00 are absorbed; 6.00 more would be 12.00 of 10.00."""
        bill_october(thread)
        thread.use(2_000_000, at=OCT_10)
        notice(thread)
        thread.use(2_000_000, at=OCT_20)
        notice(thread)

        first, second = LateUsage.objects.order_by("pk")
        assert (first.state, second.state) == ("settled", "decision")
        assert second.outcome == "12 USD of late usage is more than the 10 USD the contract absorbs"
        assert_reconciled(thread)
        # And no invoice takes it meanwhile.
        assert bill_november(thread).total_minor == 2000

    def test_less_usage_is_never_kept_from_the_customer(self, thread: Thread) -> None:
        bill_october(thread)
        take_out("ada", at=OCT_10, now=thread.now)
        notice(thread)

        assert not AbsorbedUsage.objects.exists()
        assert bill_november(thread).total_minor == 1700
        assert_reconciled(thread)


class TestDecision:
    @pytest.fixture
    def waiting(self, committed_db: None, at_sandbox: SandboxProcess) -> Thread:
        """6.00 of late usage, of which the contract absorbs 5.00."""
        thread = Thread(at_sandbox, late_policy="absorb", late_absorb_up_to="5")
        bill_october(thread)
        thread.use(2_000_000, at=OCT_10)
        notice(thread)
        assert late_usage().state == "decision"
        return thread

    def decide(self, thread: Thread, way: str, reason: str = "agreed with Ada") -> None:
        decide_late_usage(late_usage_id=late_usage().pk, way=way, reason=reason, actor="user:fiona", now=thread.now)
        notice(thread)

    def test_for_the_next_invoice(self, waiting: Thread) -> None:
        self.decide(waiting, NEXT_INVOICE)

        assert late_usage().state == "waiting"
        assert bill_november(waiting).total_minor == 2600
        assert_reconciled(waiting)

    def test_for_a_document_of_its_own(self, waiting: Thread) -> None:
        self.decide(waiting, DOCUMENT)

        assert Invoice.objects.get(billing_reason="manual").total_minor == 600
        assert (late_usage().state, late_usage().settled_by) == ("settled", "user:fiona")
        assert_reconciled(waiting)

    def test_to_absorb_it(self, waiting: Thread) -> None:
        self.decide(waiting, ABSORB)

        assert (AbsorbedUsage.objects.get().absorbed_by, AbsorbedUsage.objects.get().reason) == (
            "user:fiona", "agreed with Ada",
        )  # fmt: skip
        assert_reconciled(waiting)

    def test_needs_a_reason_and_something_to_decide(self, waiting: Thread) -> None:
        with pytest.raises(DecisionError, match="needs a reason"):
            self.decide(waiting, ABSORB, reason=" ")
        with pytest.raises(DecisionError, match="is not one of"):
            self.decide(waiting, "forget")
        self.decide(waiting, ABSORB)
        with pytest.raises(DecisionError, match="does not wait for a decision any more"):
            self.decide(waiting, ABSORB)


def test_a_change_that_the_allowance_covers_is_settled_without_a_document(
    committed_db: None, at_sandbox: SandboxProcess
) -> None:
    thread = Thread(at_sandbox, included="20", late_policy="credit_or_debit_note")
    bill_october(thread)
    thread.use(2_000_000, at=OCT_20)
    notice(thread)

    assert late_usage().outcome == "The allowance and credits cover the change: there is nothing to bill"
    assert InvoiceLine.objects.filter(kind="usage", exact_amount__gt=0).count() == 0
    assert_reconciled(thread)


def test_late_usage_of_the_current_period_waits_for_its_own_invoice(thread: Thread) -> None:
    bill_october(thread)
    thread.use(1_000_000, at=NOV_10)
    notice(thread)

    assert not LateUsage.objects.exists()
    assert bill_november(thread).total_minor == 2300
