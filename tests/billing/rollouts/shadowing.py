"""A shadow of a candidate at twice the prices, for the tests of shadow rating."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.catalog.models import PlanVersion
from billing.rollouts.models.shadow import ShadowRating
from billing.rollouts.shadow.operations import (
    start_shadow,
)
from tests.billing import usage
from tests.billing.usage import MODEL, PRICES
from tests.factories import (
    ACTOR,
    OCTOBER,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = OCTOBER + 10 * DAY
LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def version(committed_db: None) -> PlanVersion:
    """20 USD a month, which are included as usage."""
    usage.define_token_meters()
    return PlanVersionFactory(rate_card=usage.rate_card(), included_amount=Decimal(20))


@pytest.fixture
def candidate(version: PlanVersion) -> PlanVersion:
    """A draft at twice the prices, with the fee and the included usage of `version`."""
    card = RateCardFactory()
    for meter_code, price in PRICES.items():
        RateFactory(rate_card=card, meter_code=meter_code, model=MODEL, unit_price=2 * Decimal(price))
    return PlanVersionFactory(plan=version.plan, version=2, rate_card=card, included_amount=Decimal(20), is_draft=True)


def started(candidate: PlanVersion, **asked: object) -> ShadowRating:
    return start_shadow(candidate_id=candidate.pk, reason="dearer tokens", actor=ACTOR, now=NOW, **asked)  # type: ignore[arg-type]


def changes(of: ShadowRating) -> dict[str, Decimal | None]:
    rows = of.periods.values_list("period__subscription__customer__customer_key", "change")
    return dict(rows.order_by("period"))
