# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""What a period came to, as others ask for it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.catalog.models import Rate
from billing.invoicing.models import Invoice, InvoiceLine
from billing.rating import queries
from billing.rating.operations import accrue_period
from billing.subscriptions.models import BillingPeriod
from tests.billing import usage
from tests.billing.usage import AFTER_OCTOBER, october_of, use
from tests.factories import NOVEMBER, OCTOBER, CreditGrantFactory

HOUR = timedelta(hours=1)


@pytest.fixture
def period(committed_db: None) -> BillingPeriod:
    """10.00 of usage, 5.00 each of input and output; 3.00 included, 4.00 credited, 3.00 of output unbilled."""
    usage.define_token_meters()
    period = october_of("acme", included="3")
    CreditGrantFactory(customer_key="acme", amount=Decimal(4), name="Welcome credit")
    use("acme", OCTOBER + HOUR, input_tokens=1_000_000, output_tokens=200_000)
    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
    return period


def rate(meter_code: str) -> Rate:
    return Rate.objects.get(meter_code=meter_code)


def invoice_line(period: BillingPeriod, *, status: str, quantity: int, amount: str) -> None:
    """A usage line of output tokens on an invoice of this status."""
    invoice = Invoice.objects.create(
        stripe_invoice_id=f"in_{Invoice.objects.count()}", customer=period.subscription.customer,
        billing_reason="subscription_cycle", status=status, currency="USD", total_minor=0, amount_due_minor=0,
        amount_paid_minor=0, amount_remaining_minor=0, starting_balance_minor=0, created_at=NOVEMBER,
        projected_at=NOVEMBER,
    )  # fmt: skip
    InvoiceLine.objects.create(
        invoice=invoice, kind="usage", position=1, period=period, rate=rate("output_tokens"),
        accrual=queries.latest_accrual(period.pk), description="output", quantity=quantity,
        exact_amount=Decimal(amount), amount_minor=0, rounding=0,
    )  # fmt: skip


def test_totals_of_a_period_are_those_of_its_rates(period: BillingPeriod) -> None:
    totals = {row.rate.meter_code: row for row in queries.rate_totals(period.pk)}

    assert [(row.quantity, row.rated, row.included, row.credited, row.unbilled) for row in totals.values()] == [
        (1_000_000, 5, 3, 2, 0),
        (200_000, 5, 0, 2, 3),
    ]
    assert queries.period_totals(period.pk) == queries.PeriodTotals(*(Decimal(amount) for amount in (10, 3, 4, 3)))


def test_drawdowns_name_the_grants(period: BillingPeriod) -> None:
    assert [(grant.name, amount) for grant, amount in queries.drawdowns(period.pk)] == [("Welcome credit", 4)]


def test_nothing_comes_of_a_period_without_usage(committed_db: None) -> None:
    period = october_of("idle")

    assert queries.rate_totals(period.pk) == queries.drawdowns(period.pk) == []
    assert queries.uninvoiced(period.subscription_id, period.pk) == []
    assert queries.period_totals(period.pk) == queries.PeriodTotals(*[Decimal(0)] * 4)
    assert queries.latest_accrual(period.pk) is None


class TestUninvoiced:
    def left(self, period: BillingPeriod) -> list[tuple[str, Decimal, Decimal]]:
        rows = queries.uninvoiced(period.subscription_id, period.pk)
        return [(row.rate.meter_code, row.quantity, row.amount) for row in rows]

    def test_is_everything_before_the_first_invoice(self, period: BillingPeriod) -> None:
        assert self.left(period) == [("input_tokens", 1_000_000, 0), ("output_tokens", 200_000, 3)]

    @pytest.mark.parametrize("status", ["draft", "open", "paid", "uncollectible"])
    def test_is_what_no_invoice_has(self, period: BillingPeriod, status: str) -> None:
        invoice_line(period, status=status, quantity=150_000, amount="2.25")

        assert self.left(period)[1] == ("output_tokens", 50_000, Decimal("0.75"))

    def test_does_not_count_void_invoices(self, period: BillingPeriod) -> None:
        invoice_line(period, status="void", quantity=200_000, amount="3")

        assert self.left(period)[1] == ("output_tokens", 200_000, 3)

    def test_is_below_zero_when_credit_came_after_the_invoice(self, period: BillingPeriod) -> None:
        invoice_line(period, status="paid", quantity=200_000, amount="3")
        CreditGrantFactory(customer_key="acme", amount=Decimal(1))
        accrue_period(period_id=period.pk, now=AFTER_OCTOBER + HOUR)

        assert self.left(period)[1:] == [("output_tokens", 0, -1)]

    def test_leaves_out_what_is_fully_invoiced(self, period: BillingPeriod) -> None:
        invoice_line(period, status="paid", quantity=200_000, amount="3")

        assert [meter_code for meter_code, _, _ in self.left(period)] == ["input_tokens"]

    def test_is_asked_of_one_subscription(self, period: BillingPeriod) -> None:
        of = period.subscription_id

        assert len(queries.uninvoiced(of, period.pk)) == 2
        assert queries.uninvoiced(of + 1, period.pk) == []
