"""What the pages of subscriptions and periods say, and that they ask as often for many rows as for few."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.catalog.models import Allowance, PlanVersion, Rate, RateCard
from billing.catalog.operations import publish_plan_version
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.operations import create_subscription, open_next_period
from billing.subscriptions.splitting import split_period
from tests.factories import (
    ACTOR,
    NOVEMBER,
    OCTOBER,
    CustomerFactory,
    PlanFactory,
    PlanVersionFactory,
    SubscriptionFactory,
)

pytestmark = pytest.mark.django_db

TIERS = [{"up_to": 2, "unit_minor": 4000}, {"up_to": None, "unit_minor": 3200, "flat_minor": 500}]


@pytest.fixture(autouse=True)
def _nothing_collected(settings: object) -> None:
    settings.STATIC_ROOT = None  # type: ignore[attr-defined]  # whitenoise warns of a folder that was never collected


@pytest.fixture
def story() -> Subscription:
    """Trial, then a month that was divided, with an add-on of each kind, two pools and a cap."""
    card = RateCard.objects.create(code="capped", name="Capped", currency="USD")
    Rate.objects.create(
        rate_card=card, charge_model="maximum_commitment", terms={"amount": "100"}, effective_from=OCTOBER
    )
    boost = PlanVersionFactory(plan=PlanFactory(code="boost", name="Boost", is_add_on=True), fee_minor=500)
    support = PlanVersionFactory(plan=PlanFactory(code="support", name="Support", is_add_on=True), included_amount=None)
    version = PlanVersionFactory(
        plan=PlanFactory(code="team", name="Team"), rate_card=card, is_draft=True, trial_days=14, fee_minor=0,
        fee_tiers=TIERS, min_seats=2, max_seats=50,
    )  # fmt: skip
    Allowance.objects.create(
        plan_version=version, code="own", name="Own models", position=2, measure="units", amount=Decimal(1_000_000)
    )
    Allowance.objects.create(
        plan_version=version, code="member", name="Each member", position=3, amount=Decimal(7), is_per_seat=False,
        each_dimension="member",
    )  # fmt: skip
    version.bundled.set([support])
    publish_plan_version(plan_version_id=version.pk, now=OCTOBER)
    subscription = create_subscription(
        customer=CustomerFactory(), plan_version=PlanVersion.objects.get(pk=version.pk), seats=5, starts_at=OCTOBER,
        actor=ACTOR, add_ons=[(boost, 2)],
    )  # fmt: skip
    trial = subscription.periods.get()
    period = open_next_period(
        subscription_id=subscription.pk, starts_at=trial.ends_at, ends_at=datetime(2026, 11, 15, tzinfo=UTC)
    )
    Subscription.objects.filter(pk=subscription.pk).update(
        seats=7, pinned_at=OCTOBER, pinned_because="<b>by contract</b>"
    )
    subscription.refresh_from_db()
    split_period(period, subscription=subscription, at=NOVEMBER, now=NOVEMBER)
    return subscription


def text_of(client: Client, page: str, row: int) -> str:
    response = client.get(reverse(f"admin:billing_{page}_change", args=[row]))
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_a_subscription_says_what_it_pays_for_and_when(admin_client: Client, story: Subscription) -> None:
    text = text_of(admin_client, "subscription", story.pk)

    # 2 × 40.00 + 5 × 32.00 + 5.00, and 2 × 5.00.
    for said in ("$245.00", "$10.00", "in the plan&#x27;s", "2 to 50", "Trial", "Expected", "15 Oct 2026"):
        assert said in text
    assert "&lt;b&gt;by contract&lt;/b&gt;" in text
    assert "<b>by contract</b>" not in text


def test_each_part_of_a_period_says_what_it_includes(admin_client: Client, story: Subscription) -> None:
    trial, before, rest = story.periods.order_by("starts_at")

    assert "everything" in text_of(admin_client, "billingperiod", trial.pk)
    text = text_of(admin_client, "billingperiod", before.pk)
    for said in ("$100.00", "5,000,000 units", "for each member", "billed at most", "$181.00", "Boost: Included usage"):
        assert said in text
    # 14 of 31 days are left: 5 seats' 100.00 before, 7 seats' 140.00 after, none used.
    assert rest.allowances.get(code="included").amount == Decimal("118.06")  # 54.83 + 63.23
    assert rest.allowances.get(code="own").amount == 5_000_000 - 2_258_065 + 3_161_291
    assert "$118.06" in text_of(admin_client, "billingperiod", rest.pk)


@pytest.mark.parametrize("page", ["subscription", "billingperiod"])
def test_lists_ask_no_more_for_more_rows(admin_client: Client, story: Subscription, page: str) -> None:
    url = reverse(f"admin:billing_{page}_changelist")

    def asked() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert (
                admin_client.get(url, {"kind__exact": "regular"} if page == "billingperiod" else {}).status_code == 200
            )
        return len(seen)

    asked()
    few = asked()
    for _ in range(4):
        SubscriptionFactory()

    assert asked() == few


def test_a_page_asks_no_more_for_more_periods(admin_client: Client) -> None:
    subscription = SubscriptionFactory()
    url = reverse("admin:billing_subscription_change", args=[subscription.pk])

    def asked() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert admin_client.get(url).status_code == 200
        return len(seen)

    asked()
    few = asked()
    for _ in range(3):
        latest = subscription.periods.latest("starts_at")
        open_next_period(
            subscription_id=subscription.pk, starts_at=latest.ends_at, ends_at=latest.ends_at + timedelta(days=30)
        )

    assert asked() == few
    assert BillingPeriod.objects.count() == 4


@pytest.mark.parametrize("row", ["0", "-1", "9" * 30, "%00", "x"])
def test_nonsense_in_an_address_is_no_error_of_ours(admin_client: Client, row: str) -> None:
    for page in ("subscription", "billingperiod"):
        assert admin_client.get(f"/admin/billing/{page}/{row}/change/").status_code in (302, 400, 404)
