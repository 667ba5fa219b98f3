"""A team whose usage names its members: meters with a member, prices easy to compute by hand, and short verbs."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from billing.catalog.models import Allowance, PlanVersion, RateCard
from billing.catalog.operations import publish_plan_version
from billing.rating.operations import accrue_period
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.teams import operations as teams
from billing.teams.models import TeamChange
from billing.teams.roster import UNCHANGED, RosterEntry
from metering import operations as metering
from metering.operations import UsageEventInput
from tests.factories import (
    NOVEMBER,
    OCTOBER,
    CustomerFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
    SubscriptionFactory,
)

MODEL = "claude-opus-4.5"
PRICES = {"input_tokens": "5", "output_tokens": "25"}
AFTER = NOVEMBER + timedelta(hours=1)
BY: dict[str, Any] = {"actor": "user:tester", "reason": "a test"}
_numbers = count(1)


def define_meters(*, dimensions: Sequence[str] = ("model", "member")) -> None:
    for code in PRICES:
        metering.define_meter(
            code=code,
            event_type="llm.request",
            value_path=f"data.{code}",
            aggregation="sum",
            dimensions=list(dimensions),
            unit="token",
        )


def price_card() -> RateCard:
    card = RateCardFactory()
    for code, price in PRICES.items():
        RateFactory(rate_card=card, meter_code=code, model=MODEL, unit_price=Decimal(price))
    return card


def terms(card: RateCard | None = None, *, included: str = "0", each_member: str = "", **more: Any) -> PlanVersion:
    """A published version; `each_member` is included for each member, `included` for all together."""
    version = PlanVersionFactory(
        rate_card=card or price_card(), included_amount=Decimal(included), is_draft=True, **more
    )
    if each_member:
        Allowance.objects.create(
            plan_version=version,
            code="each",
            name="Each member's",
            position=2,
            amount=Decimal(each_member),
            each_dimension="member",
            is_per_seat=False,
        )
    return publish_plan_version(plan_version_id=version.pk, now=OCTOBER)


def october_of(key: str = "acme", *, version: PlanVersion | None = None, seats: int = 50, **more: Any) -> BillingPeriod:
    """The open October period of a new customer."""
    customer = CustomerFactory(customer_key=key, kind="team")
    return SubscriptionFactory(customer=customer, plan_version=version or terms(), seats=seats, **more).periods.get()


def subscription_of(key: str = "acme") -> Subscription:
    return Subscription.objects.get(customer__customer_key=key)


def entry(key: str, group: Any = UNCHANGED, **more: Any) -> RosterEntry:
    return RosterEntry(key=key, group=group, **more)


def roster(*entries: RosterEntry, at: datetime = OCTOBER, key: str = "acme", name: str = "") -> TeamChange:
    return teams.set_roster(
        customer_key=key, members=entries, idempotency_key=name or f"wish-{next(_numbers)}", now=at, **BY
    )


def open_groups(*codes: str, at: datetime = OCTOBER, key: str = "acme") -> None:
    for code in codes:
        teams.open_group(
            customer_key=key,
            code=code,
            name=code.title(),
            budget_code=f"CC-{code}",
            idempotency_key=f"wish-{next(_numbers)}",
            now=at,
            **BY,
        )


def move(*keys: str, to: str | None, at: datetime, key: str = "acme") -> TeamChange:
    return teams.move_members(
        customer_key=key,
        member_keys=keys,
        group_code=to,
        idempotency_key=f"wish-{next(_numbers)}",
        now=at,
        **BY,
    )


def send(at: datetime, member: str | None, *, key: str = "acme", model: str = MODEL, **tokens: Any) -> None:
    """Let a request be accepted, without aggregating it."""
    event = UsageEventInput(
        id=f"e{next(_numbers)}",
        source="edge/test",
        type="llm.request",
        subject=key,
        time=at,
        data={"model": model, **({"member": member} if member is not None else {}), **tokens},
    )
    result = metering.ingest_events([event], received_at=at)
    assert result.accepted == 1, result.outcomes


def settle(period: BillingPeriod, *, now: datetime = AFTER) -> None:
    """Bring all usage to its windows and post what it came to."""
    metering.catch_up_windows(now=now)
    accrue_period(period_id=period.pk, now=now)
