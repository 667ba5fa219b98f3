"""Which periods a shadow looks at, and which it lets alone."""

from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection

from billing.catalog.models import Allowance, PlanVersion
from billing.rollouts.comparing.cohorts import Cohort, in_share
from billing.rollouts.comparing.comparison import compare_period
from billing.rollouts.models.shadow import ShadowPoint
from billing.rollouts.shadow import operations as shadow
from billing.rollouts.shadow.operations import (
    rate_shadow,
    rate_shadows,
)
from billing.subscriptions.models import BillingPeriod, Subscription
from metering.operations import catch_up_windows
from tests.billing import usage
from tests.billing.rollouts.shadowing import DAY, HOUR, NOW, candidate, changes, started, version
from tests.billing.usage import AFTER_OCTOBER, MODEL, october_of, send, use_dollars
from tests.factories import (
    OCTOBER,
    BillingPeriodFactory,
    CreditGrantFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
)

__all__ = ["candidate", "version"]


class TestWhichPeriods:
    def test_those_of_one_plan_and_one_kind(self, version: PlanVersion, candidate: PlanVersion) -> None:
        october_of("acme", version=version)
        october_of("other-plan", version=PlanVersionFactory(rate_card=usage.rate_card()))
        found = started(candidate, cohort=Cohort(plans=(version.plan.code,), kinds=("individual",)))
        nobody = started(
            PlanVersionFactory(rate_card=candidate.rate_card, is_draft=True), cohort=Cohort(kinds=("enterprise",))
        )

        rate_shadows(now=NOW)

        assert changes(found) == {"acme": 0}
        assert changes(nobody) == {}

    def test_a_share_of_them_without_those_who_keep_their_terms(
        self, version: PlanVersion, candidate: PlanVersion
    ) -> None:
        keys = [f"customer-{number}" for number in range(12)]
        for customer_key in keys:
            october_of(customer_key, version=version)
        Subscription.objects.filter(customer__customer_key="customer-0").update(pinned_at=NOW, pinned_because="asked")
        found = started(candidate, cohort=Cohort(share_percent=Decimal(50)))

        rate_shadow(shadow_id=found.pk, now=NOW)

        assert set(changes(found)) == {key for key in keys[1:] if in_share(key, Decimal(50))}

    def test_not_those_of_another_currency(self, version: PlanVersion, candidate: PlanVersion) -> None:
        euro = PlanVersionFactory(
            plan=version.plan, version=2, currency="EUR", rate_card=RateCardFactory(currency="EUR"), is_draft=True
        )
        october_of("acme", version=version)
        found = started(euro)

        assert rate_shadow(shadow_id=found.pk, now=NOW) == 0
        assert not found.periods.exists()

    def test_a_closed_period_is_worked_out_a_last_time(self, version: PlanVersion, candidate: PlanVersion) -> None:
        period = october_of("acme", version=version)
        use_dollars("acme", OCTOBER + HOUR, "20")
        found = started(candidate)
        rate_shadow(shadow_id=found.pk, now=NOW)
        use_dollars("acme", OCTOBER + 2 * HOUR, "2")
        BillingPeriod.objects.filter(pk=period.pk).update(state="closed", closed_at=AFTER_OCTOBER)

        assert rate_shadow(shadow_id=found.pk, now=AFTER_OCTOBER) == 1
        assert rate_shadow(shadow_id=found.pk, now=AFTER_OCTOBER + 2 * HOUR) == 0

        row = found.periods.get()
        assert (row.change, row.is_final) == (22, True)

    def test_two_periods_of_one_customer_are_what_each_is_alone(
        self, version: PlanVersion, candidate: PlanVersion
    ) -> None:
        """Whichever others are worked out beside a period: its grants are its own."""
        october = october_of("acme", version=version)
        november = BillingPeriodFactory(subscription=october.subscription)
        CreditGrantFactory(customer_key="acme", amount=Decimal(50))
        for at in (OCTOBER, november.starts_at):
            send("acme", at + HOUR, input_tokens=8_000_000)
        catch_up_windows(now=november.ends_at)
        found = started(candidate)

        rate_shadow(shadow_id=found.pk, now=november.starts_at + DAY)

        expected = {period.pk: compare_period(period, candidate).change for period in (october, november)}
        assert dict(found.periods.values_list("period", "change")) == expected

    def test_usage_without_a_price_is_a_failure_and_holds_nobody_up(
        self, version: PlanVersion, candidate: PlanVersion
    ) -> None:
        RateFactory(rate_card=version.rate_card, model="new-model")
        for customer_key, model in (("a", "new-model"), ("b", MODEL)):
            october_of(customer_key, version=version)
            usage.use(customer_key, OCTOBER + HOUR, model=model, input_tokens=5_000_000)
        found = started(candidate)

        rate_shadow(shadow_id=found.pk, now=NOW)

        failed, fine = found.periods.order_by("period__subscription__customer__customer_key")
        assert (failed.failure_kind, failed.candidate_rated, failed.change) == ("unrated", None, None)
        assert failed.current_rated == 25
        assert "new-model" in failed.failure
        assert fine.change == 25
        assert ShadowPoint.objects.get().failed == 1

    def test_an_error_nobody_foresaw_is_a_failure_of_that_period(
        self, version: PlanVersion, candidate: PlanVersion
    ) -> None:
        october_of("a", version=version)
        october_of("b", version=version)
        found = started(candidate)

        def breaks_for_a(period: BillingPeriod, _: PlanVersion, **__: object) -> object:
            if period.subscription.customer.customer_key == "a":
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1/0")
            return compare_period(period, candidate)

        with (
            patch.object(shadow, "compare_many", side_effect=ArithmeticError),
            patch.object(shadow, "compare_period", side_effect=breaks_for_a),
        ):
            assert rate_shadow(shadow_id=found.pk, now=NOW) == 2

        assert changes(found) == {"a": None, "b": 0}
        assert found.periods.get(change=None).failure_kind == "other"

    def test_figures_that_would_be_rounded_are_a_failure(self, version: PlanVersion) -> None:
        card = RateCardFactory()
        RateFactory(rate_card=card, model=MODEL, unit_price=Decimal("0.000000000001"), unit_size=1)
        fine = PlanVersionFactory(rate_card=card, included_amount=Decimal(0), is_draft=True)
        Allowance.objects.create(
            plan_version=fine, code="half", name="Half", position=1, measure="units", amount=Decimal("0.5")
        )
        october_of("acme", version=version)
        usage.use("acme", OCTOBER + HOUR, input_tokens=2_000_000)
        found = started(fine)

        assert rate_shadow(shadow_id=found.pk, now=NOW) == 1

        row = found.periods.get()
        assert (row.failure_kind, row.candidate_rated) == ("inexact", None)
        assert "more than 12 decimal places" in row.failure

    def test_a_shadow_that_breaks_holds_no_other_up(
        self, version: PlanVersion, candidate: PlanVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        october_of("acme", version=version)
        broken = started(candidate)
        started(PlanVersionFactory(rate_card=candidate.rate_card, is_draft=True))

        def breaks(*, shadow_id: int, **terms: Any) -> int:
            if shadow_id == broken.pk:
                raise ArithmeticError
            return rate_shadow(shadow_id=shadow_id, **terms)

        monkeypatch.setattr(shadow, "rate_shadow", breaks)

        assert rate_shadows(now=NOW) == 1
