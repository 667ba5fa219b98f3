"""
The worked examples of invoices (docs/ledger-examples.md, 11 to 13 and 19): each ends at balances written down before.

Dollars; debit accounts show debits, credit accounts credits. Usage is 3.703701, charged as 3.70.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.invoicing.models import Invoice, InvoiceLine
from billing.rating.operations import accrue_period
from billing.stripe.errors import ProjectionRefused
from ledger import queries as ledger
from tests.billing import usage
from tests.billing.accounting import documents
from tests.billing.accounting.documents import (
    ada,
    amounts,
    balances,
    invoice,
    line,
    movement,
    note,
    one_off,
    project,
    project_note,
    record,
)
from tests.billing.usage import AFTER_OCTOBER
from tests.factories import (
    OCTOBER,
    BillingPeriodFactory,
    CustomerFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
    SubscriptionFactory,
)

# 3 dollars a million tokens: 1,234,567 of them are 3.703701 dollars.
TOKENS = 1_234_567


@pytest.fixture(autouse=True)
def _database(committed_db: None) -> None:
    usage.define_token_meters()


def used() -> InvoiceLine:
    """Ada's usage of October, accrued, and its line on the draft in_1."""
    card = RateCardFactory()
    RateFactory(rate_card=card, model=usage.MODEL, unit_price=Decimal(3))
    version = PlanVersionFactory(rate_card=card, included_amount=Decimal(0))
    customer = CustomerFactory(customer_key="ada", stripe_customer_id="cus_ada")
    subscription = SubscriptionFactory(customer=customer, plan_version=version)
    period = subscription.periods.get()
    BillingPeriodFactory(subscription=subscription)
    usage.use("ada", OCTOBER + timedelta(days=9), input_tokens=TOKENS)
    accrual = accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
    draft = Invoice.objects.create(
        stripe_invoice_id="in_1", customer=customer, subscription=subscription, billing_reason="subscription_cycle",
        status="draft", currency="USD", total_minor=0, amount_due_minor=0, amount_paid_minor=0,
        amount_remaining_minor=0, starting_balance_minor=0, created_at=AFTER_OCTOBER, projected_at=AFTER_OCTOBER,
    )  # fmt: skip
    return InvoiceLine.objects.create(
        invoice=draft, kind="usage", position=1, period=period, rate=card.rates.get(), accrual=accrual,
        description="usage", quantity=TOKENS, exact_amount=Decimal("3.703701"), amount_minor=370,
        rounding=Decimal("-0.003701"),
    )  # fmt: skip


def ours(row: InvoiceLine, **charges: int) -> documents.StripeDict:
    return line("il_usage", row.amount_minor, kind="ours", metadata={"line": str(row.pk)}, **charges)


class TestDiscountAndTaxOnTop:
    """
    Example 11. Fee 20.00, one-off 5.00, usage 3.703701; 10 % off fee and one-off; 20 % tax on what is left.

    Discount 2.00 + 0.50; tax 3.60 + 0.90 + 0.74 (20 % of 3.70). Total 28.70 - 2.50 + 5.24 = 31.44.
    """

    FINALISED = amounts(
        receivable="31.44",
        contra__promotions="2.50",
        rounding="-0.003701",
        revenue__usage="3.703701",
        revenue__subscription="20",
        revenue__other="5",
        tax__payable="5.24",
    )

    def finalised(self) -> documents.StripeDict:
        row = used()
        lines = [
            ours(row, tax=74),
            line("il_fee", 2000, discount=200, tax=360),
            one_off("il_setup", 500, discount=50, tax=90),
        ]
        return invoice(lines)

    def test_leave_unbilled_at_zero_and_owe_the_tax(self) -> None:
        project(self.finalised())

        assert balances() == self.FINALISED
        row = Invoice.objects.get()
        assert (row.total_minor, row.discount_minor, row.tax_minor) == (3144, 250, 524)
        usage_line = row.lines.get(kind="usage")
        assert (usage_line.discount_minor, usage_line.exclusive_tax_minor) == (0, 74)

    def test_credited_before_payment_and_that_voided(self) -> None:
        """Still example 11: the one-off taken off, 5.00 - 0.50 + 0.90 = 5.40; then the credit note is void."""
        fetched = self.finalised()
        project(fetched)
        credited = [("il_setup", one_off("cnli_1", 500, discount=50, tax=90))]
        project_note(note(credited))

        assert balances() == self.FINALISED | amounts(
            receivable="26.04", contra__promotions="2", contra__refunds="5", tax__payable="4.34"
        )
        project_note(note(credited, status="void"))
        assert balances() == self.FINALISED


class TestDiscountAndTaxWithinThePrice:
    """
    Example 12. Usage of 3.703701 charged as 3.70; 10 % off is 0.37, of the 3.33 left 0.56 are tax (20 % within).

    The usage was accrued at the whole price, so its revenue falls by the tax: 3.143701.
    """

    FINALISED = amounts(
        receivable="3.33",
        contra__promotions="0.37",
        rounding="-0.003701",
        revenue__usage="3.143701",
        tax__payable="0.56",
    )

    def test_come_out_of_the_revenue_of_the_usage(self) -> None:
        project(invoice([ours(used(), discount=37, inclusive_tax=56)]))

        assert balances() == self.FINALISED

    def test_credited_in_full_leave_no_income(self) -> None:
        """What was charged goes back, 3.14 + 0.56 - 0.37; the line's rounding stays: 3.143701 - 0.003701 - 3.14."""
        project(invoice([ours(used(), discount=37, inclusive_tax=56)]))
        project_note(note([("il_usage", line("cnli_1", 370, discount=37, inclusive_tax=56))]))

        assert balances() == amounts(revenue__usage="3.143701", rounding="-0.003701", contra__refunds="3.14")

    def test_out_of_a_fee_and_a_one_off_as_well(self) -> None:
        """12.00 and 6.00 with 20 % within: 10.00 and 5.00 are revenue."""
        ada()
        project(invoice([line("il_fee", 1200, inclusive_tax=200), one_off("il_setup", 600, inclusive_tax=100)]))

        assert balances() == amounts(receivable="18", revenue__subscription="10", revenue__other="5", tax__payable="3")


class TestBelowAndAtZero:
    """Example 13: prorations of a fee of either sign, a negative total, and a total of nothing."""

    def test_a_negative_total_becomes_credit(self) -> None:
        """-12.90 + 6.45, with 10 % tax -1.29 + 0.65: -7.09, which Stripe puts on the balance."""
        ada()
        lines = [
            line("il_unused", -1290, kind="proration", tax=-129),
            line("il_remaining", 645, kind="proration", tax=65),
        ]
        project(invoice(lines, status="paid", amount_due=0, amount_paid=0))
        assert balances() == amounts(receivable="-7.09", revenue__subscription="-6.45", tax__payable="-0.64")

        record(movement("cbtxn_1", "applied_to_invoice", -709, of_invoice="in_1"))

        assert balances() == amounts(balance="7.09", revenue__subscription="-6.45", tax__payable="-0.64")
        (credit,) = ledger.newest_lines([ledger.find_account("balance:ada:USD")], limit=2)
        assert ledger.entry(credit.entry_id).cause == {"customer_balance_transaction": "cbtxn_1", "invoice": "in_1"}

    def test_a_discount_of_everything_is_given_away(self) -> None:
        ada()
        project(invoice([one_off("il_setup", 500, discount=500)], status="paid"))

        assert balances() == amounts(contra__promotions="5", revenue__other="5")

    def test_an_invoice_of_nothing_has_no_entry(self) -> None:
        ada()
        project(invoice([line("il_fee", 0)], status="paid"))

        assert ledger.count_entries() == 0


class TestCustomerBalance:
    """Example 19: where every type of Stripe's customer balance transaction stands. -5.00: more is owed to Ada."""

    @pytest.mark.parametrize(
        ("kind", "other_side"),
        [
            ("applied_to_invoice", {"receivable": "5"}),
            ("unapplied_from_invoice", {"receivable": "5"}),
            ("invoice_too_small", {"receivable": "5"}),
            ("invoice_too_large", {"receivable": "5"}),
            ("invoice_overpaid", {"receivable": "5"}),
            ("credit_note", {"refund_due": "-5"}),
            ("checkout_session_subscription_payment", {"refund_due": "-5"}),
            ("checkout_session_subscription_payment_canceled", {"refund_due": "-5"}),
            ("adjustment", {"contra__adjustments": "5"}),
            ("unspent_receiver_credit", {"stripe__in_transit": "5"}),
            ("initial", {"suspense": "5"}),
            ("migration", {"suspense": "5"}),
            ("a_type_of_tomorrow", {"suspense": "5"}),
        ],
    )
    def test_stands_against_what_caused_it(self, kind: str, other_side: dict[str, str]) -> None:
        ada()
        record(movement("cbtxn_1", kind, -500, of_invoice="in_1"))

        assert balances() == amounts(balance="5", **other_side)


class TestWhatCannotBeExplained:
    @pytest.mark.parametrize(
        ("stranger", "reason"),
        [
            (line("il_x", 500, kind="item"), r"\(il_x, 500\) .* is of a kind not known here"),
            (line("il_x", 500, kind="item", metadata={"kind": "gift"}), "is of a kind not known here"),
            (
                {**line("il_x", 500), "pretax_credit_amounts": [{"amount": 5, "type": "credit_balance_transaction"}]},
                "is of a kind not known here",
            ),
            (documents.prepaid("il_x", 500, bonus="much"), "prepaid_bonus must be an amount"),
            (documents.prepaid("il_x", 500, bonus="1e26"), "prepaid_bonus must be an amount"),
            (documents.prepaid("il_x", 500, valid_days="0"), "prepaid_valid_days must be a whole number"),
            (documents.prepaid("il_x", -500), "sells prepaid credit for -500"),
        ],
    )
    def test_a_line_of_unknown_kind_enters_nothing(self, stranger: documents.StripeDict, reason: str) -> None:
        ada()
        with pytest.raises(ProjectionRefused, match=reason):
            project(invoice([line("il_fee", 2000), stranger]))

        assert balances() == {}
        assert not Invoice.objects.exists()

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"total": 2001}, "the total is 2000, the invoice says 2001"),
            ({"total_taxes": [{"amount": 7, "tax_behavior": "inclusive"}]}, "the tax is 0, the invoice says 7"),
            ({"total_discount_amounts": [{"amount": 7}]}, "the discount is 0, the invoice says 7"),
        ],
    )
    def test_figures_that_differ_from_the_lines_enter_nothing(self, changes: dict[str, Any], reason: str) -> None:
        ada()
        with pytest.raises(ProjectionRefused, match=reason):
            project(invoice([line("il_fee", 2000)], **changes))

        assert balances() == {}
