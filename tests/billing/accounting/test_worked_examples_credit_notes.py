"""
The worked examples of credit notes after payment, of voids and of what is absorbed (docs/ledger-examples.md, 14 to 16).

Every expected balance was written down before the code ran.
"""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from django.db import transaction

from billing.accounting.payments import post_payment_succeeded
from billing.accounting.refunds import post_refund_sent
from billing.invoicing.absorbing import AbsorptionError, absorb_unbilled
from billing.invoicing.drafting import write_lines
from billing.invoicing.late_models import AbsorbedUsage
from billing.invoicing.models import CreditNote, Invoice
from billing.rating.operations import accrue_period
from billing.rating.queries import uninvoiced
from billing.stripe.errors import NotYetKnown, ProjectionRefused
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.operations import close_period
from ledger import queries as ledger
from tests.billing import usage
from tests.billing.accounting.documents import (
    FINALIZED,
    NOW,
    PAID,
    ada,
    amounts,
    balances,
    invoice,
    line,
    movement,
    note,
    project,
    project_note,
    record,
)
from tests.billing.accounting.test_worked_examples_invoices import ours, used
from tests.factories import OCTOBER


@pytest.fixture(autouse=True)
def _database(committed_db: None) -> None:
    usage.define_token_meters()


def pay(amount: str) -> None:
    post_payment_succeeded(
        charge_id="ch_1", invoice_id="in_1", customer_key="ada", amount=Decimal(amount), currency="USD",
        occurred_at=PAID, recorded_at=NOW,
    )  # fmt: skip


def send_refund(amount: str) -> None:
    post_refund_sent(
        refund_id="re_1", charge_id="ch_1", customer_key="ada", amount=Decimal(amount), currency="USD",
        occurred_at=PAID, recorded_at=NOW,
    )  # fmt: skip


class TestAfterPayment:
    """
    Example 14. A fee of 20.00 and 4.00 tax was paid; 10.00 of it and 2.00 tax are given back: 6.00 as a refund, 5.00
    onto the balance, 1.00 outside Stripe.
    """

    NOTE = note(
        [("il_fee", line("cnli_1", 1000, tax=200))], refunds=[600], out_of_band=100, pre_payment=0, to_balance=True
    )
    PAID_BACK = amounts(
        revenue__subscription="20",
        tax__payable="2",
        contra__refunds="10",
        balance="5",
        bank="-1",
        stripe__in_transit="18",
    )

    def paid(self) -> None:
        ada()
        project(invoice([line("il_fee", 2000, tax=400)], status="paid"))
        pay("24")

    def test_is_owed_until_stripe_moves_it(self) -> None:
        self.paid()
        project_note(self.NOTE)

        assert balances() == amounts(
            revenue__subscription="20",
            tax__payable="2",
            contra__refunds="10",
            refund_due="11",
            bank="-1",
            stripe__in_transit="24",
        )

    @pytest.mark.parametrize("order", list(permutations(range(3))))
    def test_ends_the_same_in_whatever_order_it_becomes_known(self, order: tuple[int, ...]) -> None:
        facts: list[Callable[[], object]] = [
            lambda: project_note(self.NOTE),
            lambda: record(movement("cbtxn_1", "credit_note", -500, of_invoice="in_1", of_note="cn_1")),
            lambda: send_refund("6"),
        ]
        self.paid()
        for number in order:
            facts[number]()

        assert balances() == self.PAID_BACK
        row = CreditNote.objects.get()
        assert (row.pre_payment_minor, row.to_balance_minor, row.refunded_minor, row.out_of_band_minor) == (
            0, 500, 600, 100,
        )  # fmt: skip
        assert row.journal_entry_id is not None
        assert ledger.entry(row.journal_entry_id).cause == {"invoice": "in_1", "credit_note": "cn_1"}

    def test_on_an_invoice_not_in_the_books_waits(self) -> None:
        ada()
        with pytest.raises(NotYetKnown, match="in_1"):
            project_note(self.NOTE)

    def test_that_is_not_explained_by_its_ways_enters_nothing(self) -> None:
        self.paid()
        before = balances()
        with pytest.raises(ProjectionRefused, match="500 cannot be explained by the customer's balance"):
            project_note({**self.NOTE, "customer_balance_transaction": None})
        with pytest.raises(ProjectionRefused, match="by its lines 12"):
            project_note({**self.NOTE, "pre_payment_amount": 1})

        assert balances() == before
        assert not CreditNote.objects.exists()


class TestVoid:
    """
    Example 15. 5.00 of credit was given by hand. An invoice of 23.70 takes it; a credit note takes the usage off, 3.70;
    the 15.00 left are given up; then the invoice is void. Everything comes back: the credit, and the usage unbilled.
    """

    UNDONE = amounts(contra__adjustments="5", balance="5", unbilled="3.703701", revenue__usage="3.703701")

    def lived_through(self) -> Subscription:
        row = used()
        lines = [ours(row), line("il_fee", 2000)]
        credited = note([("il_usage", line("cnli_1", 370))], at=FINALIZED)
        applied: dict[str, Any] = {"starting_balance": -500, "amount_due": 1870}
        subscription = Subscription.objects.get()

        record(movement("cbtxn_1", "adjustment", -500))
        project(invoice(lines, **applied, amount_remaining=1870), subscription=subscription)
        record(movement("cbtxn_2", "applied_to_invoice", 500, of_invoice="in_1"))
        assert balances()["receivable"] == Decimal("18.7")
        less = {**applied, "amount_due": 1500, "amount_remaining": 1500, "pre_payment_credit_notes_amount": 370}
        project(invoice(lines, **less), notes=[credited], subscription=subscription)
        assert balances()["receivable"] == Decimal(15)
        project(invoice(lines, status="uncollectible", **less), notes=[credited], subscription=subscription)
        assert balances() == amounts(
            contra__adjustments="5",
            bad_debt="15",
            revenue__usage="3.703701",
            rounding="-0.003701",
            revenue__subscription="20",
            contra__refunds="3.70",
        )
        project(invoice(lines, status="void", **less), notes=[credited], subscription=subscription)
        record(movement("cbtxn_3", "unapplied_from_invoice", -500, of_invoice="in_1"))
        return subscription

    def test_undoes_everything_and_the_usage_is_unbilled_again(self) -> None:
        self.lived_through()

        assert balances() == self.UNDONE
        assert CreditNote.objects.get().unwound_at is not None
        assert (Invoice.objects.get().status, Invoice.objects.get().written_off_minor) == ("void", 0)

    def test_known_only_when_it_is_over_ends_the_same(self) -> None:
        """Neither the open invoice nor its credit note was heard of before."""
        row = used()
        lines = [ours(row), line("il_fee", 2000)]
        credited = note([("il_usage", line("cnli_1", 370))], at=FINALIZED)
        record(
            movement("cbtxn_1", "adjustment", -500),
            movement("cbtxn_2", "applied_to_invoice", 500, of_invoice="in_1"),
            movement("cbtxn_3", "unapplied_from_invoice", -500, of_invoice="in_1"),
        )
        project(invoice(lines, status="void", pre_payment_credit_notes_amount=370))
        project_note(credited)

        assert balances() == self.UNDONE

    def bill_again(self, subscription: Subscription) -> Invoice:
        """The draft of the next cycle, in_2, with our lines on it."""
        november = subscription.periods.latest("starts_at")
        close_period(period_id=subscription.periods.earliest("starts_at").pk, now=NOW)
        draft = Invoice.objects.get()
        draft.pk, draft.stripe_invoice_id, draft.status = None, "in_2", "draft"
        draft.finalized_at = draft.voided_at = None
        draft.save()
        with transaction.atomic():
            write_lines(invoice=draft, period=november, now=NOW + timedelta(days=30))
        return draft

    def test_the_usage_is_billed_on_the_next_invoice(self) -> None:
        subscription = self.lived_through()
        draft = self.bill_again(subscription)

        (again,) = draft.lines.all()
        assert (again.exact_amount, again.amount_minor) == (Decimal("3.703701"), 370)
        rebilled = line("il_again", 370, kind="ours", metadata={"line": str(again.pk)})
        project(invoice([rebilled], invoice_id="in_2"), subscription=subscription)
        assert balances() == amounts(
            contra__adjustments="5", balance="5", receivable="3.70", rounding="-0.003701", revenue__usage="3.703701"
        )

    def test_or_absorbed_and_then_not_billed_again(self) -> None:
        """Example 16. Also what is accrued later, 1.50, is billed alone."""
        subscription = self.lived_through()
        october = subscription.periods.earliest("starts_at")
        close_period(period_id=october.pk, now=NOW)
        for _ in range(2):
            absorb_unbilled(
                period_id=october.pk, reason="our outage", actor="user:fi", idempotency_key="outage-7", now=NOW
            )

        absorbed = amounts(contra__adjustments="8.703701", balance="5", revenue__usage="3.703701")
        assert balances() == absorbed
        assert AbsorbedUsage.objects.get().amount == Decimal("3.703701")
        usage.use("ada", OCTOBER + timedelta(days=20), input_tokens=500_000)
        accrue_period(period_id=october.pk, now=NOW)

        assert balances() == absorbed | amounts(unbilled="1.50", revenue__usage="5.203701")
        (left,) = uninvoiced(subscription.pk, october.pk)
        assert (left.quantity, left.amount) == (Decimal(500_000), Decimal("1.5"))
        assert [again.amount_minor for again in self.bill_again(subscription).lines.all()] == [150]


class TestAbsorbing:
    def period(self) -> BillingPeriod:
        return used().period  # type: ignore[return-value]

    def absorb(self, period_id: int, reason: str = "our outage") -> None:
        absorb_unbilled(period_id=period_id, reason=reason, actor="user:fi", idempotency_key="key", now=NOW)

    def test_needs_a_reason(self) -> None:
        with pytest.raises(AbsorptionError, match="needs a reason") as refusal:
            self.absorb(self.period().pk, reason=" ")
        assert refusal.value.field == "reason"

    def test_of_an_open_period_is_refused(self) -> None:
        with pytest.raises(AbsorptionError, match="is still open"):
            self.absorb(self.period().pk)

    def test_of_what_an_invoice_asks_for_is_refused(self) -> None:
        period = self.period()
        close_period(period_id=period.pk, now=NOW)
        before = balances()
        with pytest.raises(AbsorptionError, match="is on an invoice or absorbed already"):
            self.absorb(period.pk)

        assert balances() == before
        assert not AbsorbedUsage.objects.exists()
