"""Revenue by month: by hand, and equal to the trial balance between instants."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.accounting.chart import SYSTEM_ACCOUNTS, receivable, system, unbilled
from billing.accounting.queries import balances_at_month_ends, income_by_month
from billing.accounting.reports.revenue import KINDS, months_until
from ledger.queries import trial_balance
from tests.billing.accounting.books import day, post
from tests.factories import CustomerFactory

pytestmark = pytest.mark.django_db
END_OF_NOVEMBER = datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=UTC)


def two_months() -> None:
    """October: usage of 30, 20 of it included, 4 given; a fee of 20. November: fees of Stripe, a refund, bad debt."""
    CustomerFactory(customer_key="acme")
    CustomerFactory(customer_key="euro", currency="EUR")

    def usd(name: str) -> str:
        return system(name, "USD")

    usage = ((usd("contra:included"), "20"), (unbilled("acme", "USD"), "10"), (usd("revenue:usage"), "-30"))
    post("usage", *usage, kind="usage_accrued", at=day("2026-10-05"))
    grant = ((usd("contra:promotions"), "4"), (unbilled("acme", "USD"), "-4"))
    post("grant", *grant, kind="grant_issued", at=day("2026-10-06"))
    invoice = (
        (receivable("acme", "USD"), "26.01"), (unbilled("acme", "USD"), "-6.000001"), (usd("rounding"), "-0.009999"),
        (usd("revenue:subscription"), "-20"),
    )  # fmt: skip
    post("invoice", *invoice, kind="invoice_finalized", at=datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC))
    post("fee", (usd("fees:stripe"), "0.88"), (usd("stripe:clearing"), "-0.88"), kind="stripe_fee",
         at=datetime(2026, 11, 1, tzinfo=UTC))  # fmt: skip
    post("refund", (usd("contra:refunds"), "3"), (usd("stripe:in_transit"), "-3"), kind="refund", at=day("2026-11-02"))
    post("loss", (usd("bad_debt"), "5"), (receivable("acme", "USD"), "-5"), kind="written_off", at=day("2026-11-03"))
    euro = ((receivable("euro", "EUR"), "9"), (system("revenue:other", "EUR"), "-9"))
    post("euro", *euro, kind="invoice_finalized", at=day("2026-11-04"), known_at=day("2026-12-10"))


def test_by_hand() -> None:
    two_months()

    income = income_by_month(effective_at=END_OF_NOVEMBER, known_at=day("2027-01-01"), months=3)

    assert income.months == (date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1))
    euro, dollar = income.currencies
    assert {row.name: [str(amount.normalize()) for amount in row.amounts] for row in dollar.rows if row.total} == {
        "Usage, at its price": ["0", "3E+1", "0"],
        "Subscription fees": ["0", "2E+1", "0"],
        "Sales": ["0", "5E+1", "0"],
        "Usage included in plans": ["0", "-2E+1", "0"],
        "Promotions and goodwill": ["0", "-4", "0"],
        "Refunds and credit notes": ["0", "0", "-3"],
        "Rounding of invoice lines": ["0", "0.009999", "0"],
        "Net revenue": ["0", "26.009999", "-3"],
        "Stripe's fees": ["0", "0", "-0.88"],
        "Bad debt": ["0", "0", "-5"],
        "After costs of payment": ["0", "26.009999", "-8.88"],
    }
    assert euro.row("Net revenue").amounts == (Decimal(0), Decimal(0), Decimal(9))


def test_what_was_known_later_is_left_out() -> None:
    two_months()

    income = income_by_month(effective_at=END_OF_NOVEMBER, known_at=END_OF_NOVEMBER, months=3)

    assert [page.currency for page in income.currencies] == ["USD"]


def test_the_last_month_is_cut_at_the_instant() -> None:
    two_months()

    income = income_by_month(effective_at=day("2026-11-02"), known_at=day("2027-01-01"), months=1)

    (dollar,) = income.currencies
    assert (income.months, dollar.row("After costs of payment").total) == ((date(2026, 11, 1),), Decimal("-3.88"))


def test_is_the_trial_balance_between_instants() -> None:
    two_months()
    known_at = day("2027-01-01")
    income = income_by_month(effective_at=END_OF_NOVEMBER, known_at=known_at, months=2)

    def standing(at: datetime) -> dict[str, Decimal]:
        rows = trial_balance(effective_at=at, known_at=known_at)
        return {row.code: row.credit - row.debit for row in rows}

    for number, month in enumerate(income.months):
        before = standing(datetime(month.year, month.month, 1, tzinfo=UTC) - timedelta(microseconds=1))
        after = standing(datetime(month.year, month.month + 1, 1, tzinfo=UTC) - timedelta(microseconds=1))
        for page in income.currencies:
            for row in page.rows:
                code = system(row.kind, page.currency)
                moved = after.get(code, Decimal(0)) - before.get(code, Decimal(0))
                assert row.is_sum or row.amounts[number] == moved, (page.currency, row.name)
        result = sum(page.row("After costs of payment").amounts[number] for page in income.currencies)
        codes = {system(kind, currency) for kind in KINDS for currency in ("USD", "EUR")}
        assert result == sum(after.get(code, 0) - before.get(code, 0) for code in codes)


def test_every_account_of_revenue_and_cost_has_its_line() -> None:
    """An account that is added to the chart must be told of here, or be one of those that are no income."""
    no_income = {"tax:payable", "disputes", "stripe:in_transit", "stripe:clearing", "stripe:reserve",
                 "payout:in_transit", "bank", "fx", "suspense", "opening"}  # fmt: skip

    assert {account.name for account in SYSTEM_ACCOUNTS} == {*KINDS, *no_income}


def test_months_run_over_the_turn_of_a_year() -> None:
    assert months_until(date(2026, 2, 28), count=4) == (
        date(2025, 11, 1),
        date(2025, 12, 1),
        date(2026, 1, 1),
        date(2026, 2, 1),
    )


def test_asks_once_whatever_there_is() -> None:
    with CaptureQueriesContext(connection) as none:
        income_by_month(effective_at=END_OF_NOVEMBER, known_at=END_OF_NOVEMBER, months=12)
    two_months()
    with CaptureQueriesContext(connection) as some:
        income_by_month(effective_at=END_OF_NOVEMBER, known_at=END_OF_NOVEMBER, months=12)

    assert (len(none), len(some)) == (1, 1)


def test_balances_at_month_ends_run_on() -> None:
    two_months()

    held = balances_at_month_ends(["receivable"], effective_at=END_OF_NOVEMBER, known_at=END_OF_NOVEMBER)

    assert held == {("receivable", "USD"): {date(2026, 10, 1): Decimal("26.01"), date(2026, 11, 1): Decimal("21.01")}}
