"""The fingerprint changes with every term, and with nothing else."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from billing.catalog.fingerprint import terms_fingerprint
from billing.catalog.models import Allowance, PlanVersion, RateCard
from billing.catalog.operations import load_catalog, publish_plan_version, retire_plan_version
from tests.billing.catalog.full import document
from tests.factories import NOVEMBER, OCTOBER, CustomerFactory, RateFactory

pytestmark = pytest.mark.django_db

CHANGES: dict[str, Callable[[PlanVersion], object]] = {
    "fee": lambda version: change(version, fee_tiers=[], fee_minor=1),
    "a tier": lambda version: change(version, fee_tiers=[{"up_to": None, "unit_minor": 1}]),
    "interval": lambda version: change(version, interval="month"),
    "count": lambda version: change(version, interval_count=2),
    "alignment": lambda version: change(version, alignment="anchor"),
    "zone": lambda version: change(version, time_zone="Europe/Paris"),
    "trial": lambda version: change(version, trial_days=3),
    "least seats": lambda version: change(version, min_seats=3),
    "most seats": lambda version: change(version, max_seats=None),
    "late": lambda version: change(version, late_absorb_up_to=Decimal("0.51")),
    "contract": lambda version: change(version, only_for=CustomerFactory()),
    "card": lambda version: change(version, rate_card=RateCard.objects.get(code="public")),
    "bundle": lambda version: version.bundled.clear(),
    "allowance": lambda version: version.allowances.filter(code="own").update(amount=Decimal("20.000000000001")),
    "order": lambda version: version.allowances.filter(code="own").update(position=9),
    "covers": lambda version: version.allowances.filter(code="own").update(covers=[]),
    "pool": lambda version: version.allowances.filter(code="calls").delete(),
    "another pool": lambda version: Allowance.objects.create(plan_version=version, code="x", position=8, amount=1),
    "rate": lambda version: RateFactory(rate_card=version.rate_card, model="new"),
    "rate of the base": lambda version: RateFactory(rate_card=RateCard.objects.get(code="public"), model="new"),
    "rate of a bundled add-on": lambda version: RateFactory(
        rate_card=version.bundled.get().rate_card, model="other", effective_from=NOVEMBER + timedelta(days=90)
    ),
}


def change(version: PlanVersion, **terms: object) -> None:
    PlanVersion.objects.filter(pk=version.pk).update(**terms)


def draft() -> PlanVersion:
    load_catalog(document(), now=OCTOBER)
    return PlanVersion.objects.get(version=2)


@pytest.mark.parametrize("name", CHANGES)
def test_changes_with_the_terms(name: str) -> None:
    version = draft()
    before = terms_fingerprint(version)

    CHANGES[name](version)

    assert terms_fingerprint(PlanVersion.objects.get(pk=version.pk)) != before


def test_stays_with_everything_else() -> None:
    version = draft()
    before = terms_fingerprint(version)

    version.allowances.filter(code="own").update(name="Another word", amount=Decimal("20.00"))
    RateCard.objects.update(name="Another name", source="Elsewhere")
    version.plan.name = "Professional"
    version.plan.save()
    retire_plan_version(plan_version_id=version.pk, now=NOVEMBER)

    assert terms_fingerprint(PlanVersion.objects.get(pk=version.pk)) == before
    assert len(before) == 64


def test_ends_where_two_add_ons_bundle_each_other() -> None:
    load_catalog(document(), now=OCTOBER)
    one, other = PlanVersion.objects.get(version=2), PlanVersion.objects.get(plan__code="pro", currency="EUR")
    loose = PlanVersion.objects.create(plan=one.plan, version=3, currency="USD", rate_card=one.rate_card, fee_minor=0)
    loose.bundled.set([one])
    one.bundled.set([loose])

    assert terms_fingerprint(one) != terms_fingerprint(loose)
    assert publish_plan_version(plan_version_id=other.pk, now=NOVEMBER).published_at == OCTOBER
