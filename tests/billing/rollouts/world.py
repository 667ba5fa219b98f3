"""Two versions of a plan, people who decide, and customers who are better or worse off with one than the other."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group, User

from billing.catalog.fingerprint import terms_fingerprint
from billing.catalog.models import Allowance, PlanVersion, RateCard
from billing.rollouts.approvals import operations as approvals
from billing.rollouts.backtests.report import make_report
from billing.rollouts.models.backtests import Backtest, BacktestLine
from billing.rollouts.models.rollouts import ApprovalRequest, Rollout
from billing.rollouts.models.shadow import COLUMNS
from billing.rollouts.operations import plan_rollout, start
from billing.rollouts.plans import Limits, StageTerms
from billing.subscriptions.models import Subscription
from config import roles
from metering.operations import UsageEventInput, catch_up_windows, ingest_events
from tests.billing.usage import INPUT_TOKENS_PER_DOLLAR, MODEL, define_token_meters
from tests.factories import (
    NOVEMBER,
    OCTOBER,
    CustomerFactory,
    PlanFactory,
    RateCardFactory,
    RateFactory,
    SubscriptionFactory,
)

FIONA, FRED, SAM, EMRE = "user:fiona", "user:fred", "user:sam", "user:emre"
ROLE_OF = {FIONA: roles.FINANCE, FRED: roles.FINANCE, SAM: roles.CUSTOMER_SUCCESS, EMRE: roles.ENGINEERING}
# Half of October is over: the open period says most.
LATE_OCTOBER = datetime(2026, 10, 20, tzinfo=UTC)
# In the last day of the period, when Stripe is told.
LAST_DAY = NOVEMBER - timedelta(hours=12)
OPEN_LIMITS = Limits(
    worse_off_percent=Decimal(10),
    worse_off_share_max=Decimal(100),
    total_change_min=Decimal(-100),
    total_change_max=Decimal(1000),
    error_share_max=Decimal(100),
    customers_min=1,
)
EVERYBODY = (StageTerms(percent=Decimal(100), observe_hours=0),)


def hire() -> None:
    """Two people of finance, one of customer success, one of engineering."""
    roles.sync_roles()
    for actor, role in ROLE_OF.items():
        user, _ = User.objects.get_or_create(username=actor.removeprefix("user:"), defaults={"is_staff": True})
        user.groups.set([Group.objects.get(name=role)])


def user_of(actor: str) -> User:
    return User.objects.get(username=actor.removeprefix("user:"))


def card(input_price: str) -> RateCard:
    found = RateCardFactory()
    RateFactory(rate_card=found, meter_code="input_tokens", model=MODEL, unit_price=Decimal(input_price))
    return found


def two_versions(
    *, candidate_price: str = "6", candidate_fee: int = 2000, included: str = "0", **terms: Any
) -> tuple[PlanVersion, PlanVersion]:
    """A published version (fee 20 USD, 5 USD a million tokens) and a draft that is to follow it."""
    from tests.factories import PlanVersionFactory

    define_token_meters()
    plan = PlanFactory(code="pro")
    baseline = PlanVersionFactory(
        plan=plan, version=1, rate_card=card("5"), included_amount=Decimal(included), stripe_price_id="price_old"
    )
    candidate = draft(plan_of=baseline, price=candidate_price, fee_minor=candidate_fee, included=included, **terms)
    return baseline, candidate


def draft(
    *,
    plan_of: PlanVersion,
    price: str = "6",
    fee_minor: int = 2000,
    included: str = "0",
    version: int = 2,
    **terms: Any,
) -> PlanVersion:
    found = PlanVersion.objects.create(
        plan=plan_of.plan, version=version, currency="USD", fee_minor=fee_minor, rate_card=card(price), **terms
    )
    if Decimal(included):
        Allowance.objects.create(
            plan_version=found, code="included", name="Included usage", position=1, amount=Decimal(included)
        )
    return found


def backtest_of(version: PlanVersion, *, is_done: bool = True, **terms: Any) -> Backtest:
    """
    A backtest of the version's terms of now, over whoever is on its plan: what they would have paid is not told.

    In a plan without customers it is of nobody.
    """
    subscriptions = Subscription.objects.filter(plan_version__plan=version.plan).select_related("customer")
    backtest = Backtest.objects.create(
        candidate=version,
        fingerprint=terms_fingerprint(version),
        unit="periods",
        starts_at=OCTOBER - timedelta(days=90),
        customers=len(subscriptions),
        requested_by=EMRE,
        requested_at=OCTOBER,
        idempotency_key=f"backtest-{Backtest.objects.count()}",
        state="running",
        started_at=OCTOBER,
        **{"ends_at": OCTOBER, "cohort": {}, **terms},
    )
    nothing = dict.fromkeys(COLUMNS, 0)
    BacktestLine.objects.bulk_create(
        BacktestLine(
            backtest=backtest,
            subscription=subscription,
            customer_key=subscription.customer.customer_key,
            starts_at=OCTOBER - timedelta(days=30),
            ends_at=OCTOBER,
            plan_version_id=subscription.plan_version_id,
            seats=1,
            **nothing,
        )
        for subscription in subscriptions
    )
    if is_done:
        backtest.state, backtest.ended_at, backtest.report = Backtest.State.DONE, OCTOBER, make_report(backtest)
        backtest.save()
    return backtest


def asked(version: PlanVersion) -> ApprovalRequest:
    backtest = backtest_of(version)
    return approvals.request_approval(backtest_id=backtest.pk, reason="margin", actor=EMRE, now=OCTOBER)


def approved(version: PlanVersion) -> PlanVersion:
    """The version, as a second person approved it on the report of a backtest. Hires people where nobody is yet."""
    if not User.objects.filter(username="fiona").exists():
        hire()
    approvals.approve(request_id=asked(version).pk, reason="read", actor=FIONA, now=OCTOBER)
    version.refresh_from_db()
    return version


def subscribe(version: PlanVersion, number: int, *, first: int = 0, **terms: Any) -> list[Subscription]:
    """So many customers with a subscription that Stripe knows."""
    return [
        SubscriptionFactory(
            customer=CustomerFactory(customer_key=f"c{index}", **terms),
            plan_version=version,
            status="active",
            stripe_subscription_id=f"sub_{index}",
        )
        for index in range(first, first + number)
    ]


def use_dollars(customer_keys: list[str], dollars: str, *, at: datetime = OCTOBER + timedelta(days=2)) -> None:
    """Let each customer use input tokens that cost so much at 5 USD a million."""
    tokens = int(Decimal(dollars) * INPUT_TOKENS_PER_DOLLAR)
    events = [
        UsageEventInput(
            id=f"{key}-{at.timestamp()}",
            source="tests",
            type="llm.request",
            subject=key,
            time=at,
            data={"model": MODEL, "input_tokens": tokens},
        )
        for key in customer_keys
    ]
    assert ingest_events(events, received_at=at).accepted == len(events)
    catch_up_windows(now=NOVEMBER + timedelta(hours=1))


def rolling(
    baseline: PlanVersion,
    candidate: PlanVersion,
    *,
    stages: tuple[StageTerms, ...] = EVERYBODY,
    limits: Limits = OPEN_LIMITS,
    now: datetime = LATE_OCTOBER,
) -> Rollout:
    """A rollout that was started, and whose first stage nobody has looked at yet."""
    rollout = plan_rollout(
        baseline_id=baseline.pk,
        candidate_id=candidate.pk,
        stages=stages,
        limits=limits,
        reason="new prices",
        actor=EMRE,
        now=now,
    )
    return start(rollout_id=rollout.pk, reason="go", actor=EMRE, now=now)
