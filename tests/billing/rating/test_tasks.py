"""The regular work of rating and promotions, as a worker runs it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.rating.queries import period_totals
from billing.rating.tasks import task_accrue_usage
from billing.subscriptions.models import BillingPeriod
from promotions.queries import available
from promotions.tasks import task_expire_grants
from tests.billing import usage
from tests.billing.usage import october_of, use_dollars
from tests.factories import OCTOBER, CreditGrantFactory

HOUR = timedelta(hours=1)


@pytest.fixture
def period(committed_db: None) -> BillingPeriod:
    usage.define_token_meters()
    return october_of("acme", included="0")


def test_accrues_what_was_used(period: BillingPeriod) -> None:
    use_dollars("acme", OCTOBER + HOUR, "3")

    # Arguments of a newer publisher do not stop an older worker.
    assert task_accrue_usage(unheard_of=True) == 1

    assert period_totals(period.pk).unbilled == 3


def test_ends_grants_whose_time_has_come(period: BillingPeriod) -> None:
    due = CreditGrantFactory(customer_key="acme", amount=Decimal(5), expires_at=OCTOBER + HOUR)

    assert task_expire_grants(unheard_of=True) == 1

    assert available(due.pk) == 0
