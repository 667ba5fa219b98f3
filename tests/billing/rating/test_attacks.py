"""What SQL of the application's role may not write about who paid for usage: each attack meets its rule."""

from decimal import Decimal

import psycopg
import pytest

from billing.rating.models import UsageAccrual
from billing.rating.operations import accrue_period
from billing.subscriptions.models import BillingPeriod, PeriodAllowance
from tests.billing import usage
from tests.billing.test_attacks import rule_that_refuses
from tests.billing.usage import AFTER_OCTOBER, october_of, use_dollars
from tests.factories import OCTOBER, CreditGrantFactory

ACCRUAL = """
    WITH accrual AS (
        INSERT INTO billing_usageaccrual (period_id, revision, rated, included, credited, unbilled, aggregated_through,
                                          recorded_at)
        SELECT period_id, 2, {rated}, {included}, {credited}, {unbilled}, now(), now() FROM billing_usageaccrual
         WHERE revision = 1 RETURNING id
    ), line AS (
        INSERT INTO billing_usageaccrualline (accrual_id, rate_id, quantity, rated, included, credited, unbilled)
        SELECT accrual.id, l.rate_id, 1, {rated}, {line_included}, {credited}, {line_unbilled}
          FROM accrual, billing_usageaccrualline l
    ), grants AS (
        INSERT INTO billing_grantdrawdown (accrual_id, rate_id, grant_id, amount)
        SELECT accrual.id, l.rate_id, g.id, {granted}
          FROM accrual, billing_usageaccrualline l, promotions_creditgrant g WHERE {granted} <> 0
    )
    INSERT INTO billing_allowancedrawdown (accrual_id, rate_id, allowance_id, amount, quantity)
    SELECT accrual.id, l.rate_id, {allowance}, {drawn}, 0 FROM accrual, billing_usageaccrualline l WHERE {drawn} <> 0
"""
TRUE = {
    "rated": 3, "included": 1, "credited": 0, "unbilled": 2, "line_included": 1, "line_unbilled": 2, "granted": 0,
    "drawn": 1,
}  # fmt: skip


@pytest.fixture
def period(committed_db: None) -> BillingPeriod:
    """Of an allowance of 20 dollars 3 are used, by one accrual with one line."""
    usage.define_token_meters()
    october_of("other")
    period = october_of("acme")
    use_dollars("acme", OCTOBER, "3")
    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
    CreditGrantFactory(customer_key="acme", amount=Decimal(9))
    return period


def accrual(period: BillingPeriod, **values: int) -> str:
    own = period.allowances.get().pk
    return ACCRUAL.format(**{"allowance": own} | TRUE | values)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"drawn": 2}, "billing_accrual_included_is_drawn"),
        ({"drawn": 0}, "billing_accrual_included_is_drawn"),
        ({"granted": 1}, "billing_accrual_credited_is_drawn"),
        ({"credited": 1, "unbilled": 1, "line_unbilled": 1}, "billing_accrual_credited_is_drawn"),
        ({"line_included": 0, "line_unbilled": 3, "drawn": 0}, "billing_accrual_is_its_lines"),
        ({"rated": 19, "included": 18, "line_included": 18, "unbilled": 1, "line_unbilled": 1, "drawn": 18},
         "billing_allowancedrawdown_within"),
        ({"rated": -4, "included": -4, "line_included": -4, "unbilled": 0, "line_unbilled": 0, "drawn": -4},
         "billing_allowancedrawdown_within"),
    ],
)  # fmt: skip
def test_an_accrual_that_says_another_who_paid_is_refused(
    period: BillingPeriod, app_connection: psycopg.Connection, changed: dict[str, int], rule: str
) -> None:
    assert rule_that_refuses(app_connection, accrual(period, **changed)) == rule


def test_the_allowance_of_another_period_pays_nothing(
    period: BillingPeriod, app_connection: psycopg.Connection
) -> None:
    other = PeriodAllowance.objects.exclude(period=period).get()

    refused = rule_that_refuses(app_connection, accrual(period, allowance=other.pk))

    assert refused == "billing_allowancedrawdown_period"


def test_an_accrual_without_its_lines_is_refused(period: BillingPeriod, app_connection: psycopg.Connection) -> None:
    alone = """
        INSERT INTO billing_usageaccrual (period_id, revision, rated, included, credited, unbilled, aggregated_through,
                                          recorded_at)
        SELECT period_id, 2, 1, 0, 0, 1, now(), now() FROM billing_usageaccrual
    """

    assert rule_that_refuses(app_connection, alone) == "billing_accrual_is_its_lines"


def test_what_is_true_may_be_written(period: BillingPeriod, app_connection: psycopg.Connection) -> None:
    with app_connection.transaction():
        app_connection.execute(accrual(period))

    assert UsageAccrual.objects.filter(period=period).count() == 2
