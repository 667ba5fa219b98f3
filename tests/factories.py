# mypy: disable-error-code="no-untyped-call"
"""
Ready-made rows for tests of every room. What has an operation is made by it, so that accounts and subjects exist too.

Factories surprise nobody: every value that matters to a test is written in that test.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models import Model
from factory.declarations import LazyAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory

from billing.catalog.models import Allowance, Plan, PlanVersion, Rate, RateCard
from billing.catalog.operations import publish_plan_version
from billing.customers.models import Customer
from billing.customers.operations import create_customer
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.operations import create_subscription, open_next_period
from billing.subscriptions.periods import boundary
from promotions.models import CreditGrant
from promotions.operations import issue_grant

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
ACTOR = "user:tester"

M = TypeVar("M", bound=Model)


class ModelFactory(DjangoModelFactory[M]):
    """A factory whose call is known to return a row."""

    class Meta:
        abstract = True

    if TYPE_CHECKING:

        def __new__(cls, **values: Any) -> M: ...  # type: ignore[misc]


class CustomerFactory(ModelFactory[Customer]):
    class Meta:
        model = Customer

    customer_key = Sequence(lambda n: f"customer-{n}")
    name = LazyAttribute(lambda customer: customer.customer_key.title())
    email = LazyAttribute(lambda customer: f"{customer.customer_key}@example.com")
    kind = Customer.Kind.INDIVIDUAL
    currency = "USD"
    created_at = OCTOBER

    @classmethod
    def _create(cls, model_class: type[Customer], *args: Any, **values: Any) -> Customer:
        stripe_customer_id = values.pop("stripe_customer_id", None)
        customer = create_customer(**values, actor=ACTOR)
        if stripe_customer_id is not None:
            customer.stripe_customer_id = stripe_customer_id
            customer.save(update_fields=["stripe_customer_id"])
        return customer


class RateCardFactory(ModelFactory[RateCard]):
    class Meta:
        model = RateCard

    code = Sequence(lambda n: f"card-{n}")
    name = "Test prices"
    currency = "USD"


class RateFactory(ModelFactory[Rate]):
    class Meta:
        model = Rate

    rate_card = SubFactory(RateCardFactory)

    class Params:
        model = "claude-opus-4.5"

    meter_code = "input_tokens"
    dimensions = LazyAttribute(lambda rate: {"model": rate.model})
    unit_price = Decimal(5)
    unit_size = 1_000_000
    effective_from = datetime(2020, 1, 1, tzinfo=UTC)


class PlanFactory(ModelFactory[Plan]):
    class Meta:
        model = Plan

    code = Sequence(lambda n: f"plan-{n}")
    name = LazyAttribute(lambda plan: plan.code.title())


class PlanVersionFactory(ModelFactory[PlanVersion]):
    """A published version; `is_draft=True` leaves it a draft."""

    class Meta:
        model = PlanVersion

    is_draft = False
    plan = SubFactory(PlanFactory)
    version = 1
    currency = "USD"
    fee_minor = 2000
    included_amount = Decimal(20)
    rate_card = SubFactory(RateCardFactory)

    @classmethod
    def _create(cls, model_class: type[PlanVersion], *args: Any, **values: Any) -> PlanVersion:
        is_draft, included = values.pop("is_draft"), values.pop("included_amount")
        version = PlanVersion.objects.create(**values)
        if included:
            Allowance.objects.create(
                plan_version=version, code="included", name="Included usage", position=1, amount=included
            )
        return version if is_draft else publish_plan_version(plan_version_id=version.pk, now=OCTOBER)


class SubscriptionFactory(ModelFactory[Subscription]):
    """A subscription with its first period."""

    class Meta:
        model = Subscription

    customer = SubFactory(CustomerFactory)
    plan_version = SubFactory(PlanVersionFactory)
    seats = 1
    starts_at = OCTOBER

    @classmethod
    def _create(cls, model_class: type[Subscription], *args: Any, **values: Any) -> Subscription:
        at_stripe = {name: values.pop(name) for name in ("status", "stripe_subscription_id") if name in values}
        subscription = create_subscription(**values, actor=ACTOR)
        if at_stripe:
            for name, value in at_stripe.items():
                setattr(subscription, name, value)
            subscription.save(update_fields=list(at_stripe))
        return subscription


class BillingPeriodFactory(ModelFactory[BillingPeriod]):
    """The period that follows the subscription's latest one; without a subscription, the first of a new one."""

    class Meta:
        model = BillingPeriod

    subscription = None

    @classmethod
    def _create(cls, model_class: type[BillingPeriod], *args: Any, **values: Any) -> BillingPeriod:
        subscription = values.pop("subscription")
        if subscription is None:
            return SubscriptionFactory(**values).periods.get()
        latest = subscription.periods.latest("starts_at")
        return open_next_period(
            subscription_id=subscription.pk,
            starts_at=latest.ends_at,
            ends_at=boundary(subscription.anchor_at, subscription.periods.count() + 1),
        )


class CreditGrantFactory(ModelFactory[CreditGrant]):
    class Meta:
        model = CreditGrant

    customer_key = "customer-none"
    kind = CreditGrant.Kind.PROMOTIONAL
    name = "Welcome credit"
    amount = Decimal(10)
    currency = "USD"
    priority = 50
    effective_at = OCTOBER
    expires_at = None
    reason = "a test"
    idempotency_key = Sequence(lambda n: f"grant-{n}")
    recorded_at = OCTOBER

    @classmethod
    def _create(cls, model_class: type[CreditGrant], *args: Any, **values: Any) -> CreditGrant:
        return issue_grant(**values, actor=ACTOR)
