"""Drafts to try, and a month of several customers that no two of which are alike."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from billing.catalog.models import Allowance, PlanVersion, RateCard
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.operations import close_period
from metering import operations as metering
from tests.billing.usage import MODEL, rate_card, send
from tests.factories import (
    DECEMBER,
    NOVEMBER,
    OCTOBER,
    CreditGrantFactory,
    CustomerFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
    SubscriptionFactory,
)

NOON = OCTOBER + timedelta(hours=12)
# Inside an hour, and not on a second that anything else begins at.
ODD = OCTOBER + timedelta(days=3, hours=10, minutes=37, seconds=21)


def draft(*, price: str = "10", included: str = "20", fee_minor: int = 2000, **terms: Any) -> PlanVersion:
    """A draft at which input tokens cost `price` a million; under the prices of `tests.billing.usage` they cost 5."""
    card = terms.pop("card", None) or input_card(price, currency=terms.get("currency", "USD"))
    return PlanVersionFactory(
        rate_card=card, included_amount=Decimal(included), fee_minor=fee_minor, is_draft=True, **terms
    )


def input_card(price: str, *, currency: str = "USD") -> RateCard:
    card = RateCardFactory(currency=currency)
    RateFactory(rate_card=card, meter_code="input_tokens", model=MODEL, unit_price=Decimal(price))
    return card


def graduated_card() -> RateCard:
    """The first million input tokens cost 8 dollars a million, the rest 2; a model of its own costs 30 all the way."""
    card = RateCardFactory()
    tiers = [{"up_to": "1000000", "unit_price": "0.000008"}, {"up_to": None, "unit_price": "0.000002"}]
    RateFactory(
        rate_card=card,
        dimensions={},
        charge_model="graduated",
        unit_price=None,
        unit_size=None,
        terms={"tiers": tiers},
    )
    RateFactory(rate_card=card, model="own", unit_price=Decimal(30))
    return card


def subscribe(
    key: str, *, starts_at: datetime = OCTOBER, version: PlanVersion | None = None, **terms: Any
) -> BillingPeriod:
    """The first period of a new customer, with input tokens at 5 dollars a million and 20 dollars included."""
    plan_version = version or PlanVersionFactory(rate_card=rate_card())
    customer = CustomerFactory(customer_key=key)
    subscription = SubscriptionFactory(customer=customer, plan_version=plan_version, starts_at=starts_at, **terms)
    return subscription.periods.get()


def spend(key: str, *uses: tuple[datetime, int], model: str = MODEL) -> None:
    """Input tokens at instants, not yet aggregated."""
    for at, tokens in uses:
        send(key, at, model=model, input_tokens=tokens)


def aggregate() -> None:
    metering.catch_up_windows(now=DECEMBER)


def varied_customers() -> list[BillingPeriod]:
    """One period each of customers who differ in anchor, seats, credit, allowances and price changes."""
    changing = rate_card()
    RateFactory(rate_card=changing, meter_code="input_tokens", model=MODEL, unit_price=Decimal(9), effective_from=ODD)
    in_units = PlanVersionFactory(rate_card=rate_card(), included_amount=Decimal(0), is_draft=True)
    Allowance.objects.create(
        plan_version=in_units, code="tokens", name="Tokens", position=1, measure="units", amount=Decimal(2_500_000)
    )
    PlanVersionFactory._meta.model.objects.filter(pk=in_units.pk).update(status="published", published_at=OCTOBER)
    in_units.refresh_from_db()
    found = [
        subscribe("plain", seats=2),
        subscribe("odd", starts_at=ODD),
        subscribe("credited"),
        subscribe("expiring"),
        subscribe("changing", version=PlanVersionFactory(rate_card=changing)),
        subscribe("units", version=in_units),
        subscribe("idle"),
    ]
    CreditGrantFactory(customer_key="credited", amount=Decimal(6))
    CreditGrantFactory(customer_key="expiring", amount=Decimal(9), expires_at=OCTOBER + timedelta(days=10))
    for period in found[:-1]:
        key = period.subscription.customer.customer_key
        spend(
            key,
            (ODD - timedelta(minutes=20), 700_001),
            (ODD, 3_000_000),
            (ODD + timedelta(minutes=15), 1_234_567),
            (ODD + timedelta(days=9), 2_222_222),
            (period.ends_at - timedelta(microseconds=1), 111_111),
        )
        # The customer's next period: must not be counted.
        spend(key, (period.ends_at, 5_000_000))
        spend(key, (ODD + timedelta(days=1), 10_000), model=MODEL)
    aggregate()
    return found


def close(period: BillingPeriod) -> BillingPeriod:
    return close_period(period_id=period.pk, now=NOVEMBER + timedelta(days=7))
