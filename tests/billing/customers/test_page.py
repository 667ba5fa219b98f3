"""What a customer's page says a period includes."""

from decimal import Decimal

import pytest

from billing.catalog.models import Allowance
from billing.catalog.operations import publish_plan_version
from billing.customers.page import periods_of
from tests.factories import OCTOBER, PlanVersionFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("measures", "included"), [((), 0), (("money",), 7), (("money", "money"), 14), (("money", "units"), None)], ids=str
)
def test_an_amount_is_told_where_all_of_it_is_money(measures: tuple[str, ...], included: int | None) -> None:
    version = PlanVersionFactory(included_amount=Decimal(0), is_draft=True)
    for position, measure in enumerate(measures, start=1):
        Allowance.objects.create(
            plan_version=version,
            position=position,
            code=f"pool-{position}",
            name="A pool",
            measure=measure,
            amount=Decimal(7),
        )
    published = publish_plan_version(plan_version_id=version.pk, now=OCTOBER)
    customer = SubscriptionFactory(plan_version=published).customer

    [figures] = periods_of(customer)

    assert figures.allowance == included
    assert figures.allowance_used_percent == 0
