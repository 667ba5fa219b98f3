"""
The worked examples of usage (DESIGN §5): an allowance partly used, a grant burnt, a grant that expires unused.

Each begins with what is used, and ends at balances that were written down before the code ran. Dollars; debit accounts
show debits, credit accounts credits. Prices: a million input tokens 5.00, a million output tokens 25.00.
"""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.rating.operations import accrue_period
from billing.subscriptions.operations import close_period
from ledger import queries as ledger
from promotions.operations import expire_due_grants
from tests.billing import usage
from tests.billing.usage import AFTER_OCTOBER, october_of, use
from tests.factories import NOVEMBER, OCTOBER, CreditGrantFactory

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


def assert_balances(expected: dict[str, str]) -> None:
    assert {code: ledger.balance_of(code) for code in expected} == {
        code: Decimal(amount) for code, amount in expected.items()
    }
    assert ledger.out_of_balance() == []


def test_allowance_partly_used() -> None:
    """20.00 included; 1,234,567 input (6.172835) and 200,001 output tokens (5.000025) cost 11.17286."""
    period = october_of("ada", included="20")
    use("ada", OCTOBER + 3 * DAY, input_tokens=1_234_567)
    use("ada", OCTOBER + 9 * DAY, output_tokens=200_001)

    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

    assert_balances(
        {
            "revenue:usage:USD": "11.17286",
            "contra:included:USD": "11.17286",
            "unbilled:ada:USD": "0",
            "receivable:ada:USD": "0",
        }
    )


def test_allowance_used_up_by_a_team_that_pools_it() -> None:
    """3 seats include 5.00 each; 20.00 of usage leaves 5.00 to invoice."""
    period = october_of("team", included="5", seats=3)
    use("team", OCTOBER + 3 * DAY, input_tokens=4_000_000)

    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

    assert_balances({"revenue:usage:USD": "20", "contra:included:USD": "15", "unbilled:team:USD": "5"})


def test_grant_burnt() -> None:
    """20.00 included and 10.00 given; 32.50 of usage in two accruals leaves 2.50 to invoice, nothing of the grant."""
    period = october_of("bob", included="20")
    grant = CreditGrantFactory(customer_key="bob", amount=Decimal(10))
    use("bob", OCTOBER + 3 * DAY, output_tokens=900_000)
    accrue_period(period_id=period.pk, now=OCTOBER + 4 * DAY)

    assert_balances(
        {
            "revenue:usage:USD": "22.5",
            "contra:included:USD": "20",
            f"grant:{grant.pk}": "7.5",
            "contra:promotions:USD": "10",
            "unbilled:bob:USD": "0",
        }
    )

    use("bob", OCTOBER + 20 * DAY, input_tokens=2_000_000)
    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

    assert_balances(
        {
            "revenue:usage:USD": "32.5",
            "contra:included:USD": "20",
            f"grant:{grant.pk}": "0",
            "contra:promotions:USD": "10",
            "unbilled:bob:USD": "2.5",
        }
    )


def test_grant_expired_unused() -> None:
    """10.00 given until the 10th, usage on the 11th: none of it is used, all of it is taken back."""
    period = october_of("cleo", included="0")
    grant = CreditGrantFactory(customer_key="cleo", amount=Decimal(10), expires_at=OCTOBER + 10 * DAY)
    use("cleo", OCTOBER + 10 * DAY, input_tokens=800_000)

    expire_due_grants(now=NOVEMBER)
    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

    assert_balances(
        {
            "revenue:usage:USD": "4",
            f"grant:{grant.pk}": "0",
            "contra:promotions:USD": "0",
            "unbilled:cleo:USD": "4",
        }
    )


def test_grant_expired_partly_used() -> None:
    """10.00 given until the 10th, 3.00 of usage before and 4.00 after: 3.00 are given away, 7.00 taken back."""
    period = october_of("dan", included="0")
    grant = CreditGrantFactory(customer_key="dan", amount=Decimal(10), expires_at=OCTOBER + 10 * DAY)
    use("dan", OCTOBER + 9 * DAY, input_tokens=600_000)
    use("dan", OCTOBER + 12 * DAY, input_tokens=800_000)

    accrue_period(period_id=period.pk, now=OCTOBER + 13 * DAY)
    expire_due_grants(now=NOVEMBER)

    assert_balances(
        {
            "revenue:usage:USD": "7",
            f"grant:{grant.pk}": "0",
            "contra:promotions:USD": "3",
            "unbilled:dan:USD": "4",
        }
    )


def test_correction_that_touches_an_expired_grant() -> None:
    """
    As above, then 2.00 of usage of the 8th arrive after the grant expired: they were used while it was in force.

    The grant is restored and expired again in the accrual's own entry: given away 5.00 in all, taken back 5.00.
    """
    period = october_of("eve", included="0")
    grant = CreditGrantFactory(customer_key="eve", amount=Decimal(10), expires_at=OCTOBER + 10 * DAY)
    use("eve", OCTOBER + 9 * DAY, input_tokens=600_000)
    accrue_period(period_id=period.pk, now=OCTOBER + 9 * DAY)
    expire_due_grants(now=OCTOBER + 11 * DAY)
    use("eve", OCTOBER + 8 * DAY, input_tokens=400_000)

    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

    assert_balances(
        {
            "revenue:usage:USD": "5",
            f"grant:{grant.pk}": "0",
            "contra:promotions:USD": "5",
            "unbilled:eve:USD": "0",
        }
    )


def test_late_usage_after_the_close() -> None:
    """20.00 included, 19.00 used and closed; 2.50 more arrive late: 1.00 is included, 1.50 is unbilled."""
    period = october_of("finn", included="20")
    use("finn", OCTOBER + 3 * DAY, input_tokens=3_800_000)
    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
    close_period(period_id=period.pk, now=AFTER_OCTOBER)
    use("finn", OCTOBER + 2 * DAY, input_tokens=500_000)

    accrue_period(period_id=period.pk, now=AFTER_OCTOBER + DAY)

    assert_balances({"revenue:usage:USD": "21.5", "contra:included:USD": "20", "unbilled:finn:USD": "1.5"})
