"""Usage to bill: token meters, prices that are easy to compute by hand, and requests that reach their windows."""

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count

from billing.catalog.models import PlanVersion, RateCard
from billing.subscriptions.models import BillingPeriod
from metering import operations as metering
from metering.operations import UsageEventInput
from tests.factories import (
    NOVEMBER,
    CustomerFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
    SubscriptionFactory,
)

MODEL = "claude-opus-4.5"
# Dollars per million tokens: a dollar of input is 200,000 tokens, a dollar of output 40,000.
PRICES = {"input_tokens": "5", "cache_write_tokens": "6.25", "cache_read_tokens": "0.50", "output_tokens": "25"}
INPUT_TOKENS_PER_DOLLAR = 200_000
AFTER_OCTOBER = NOVEMBER + timedelta(hours=1)

_event_numbers = count(1)


def define_token_meters() -> None:
    for code in PRICES:
        metering.define_meter(
            code=code,
            event_type="llm.request",
            value_path=f"data.{code}",
            aggregation="sum",
            dimensions=["model"],
            unit="token",
        )


def rate_card() -> RateCard:
    """A card with the prices of MODEL."""
    card = RateCardFactory()
    for meter_code, price in PRICES.items():
        RateFactory(rate_card=card, meter_code=meter_code, model=MODEL, unit_price=Decimal(price))
    return card


def october_of(
    customer_key: str, *, included: str = "20", seats: int = 1, version: PlanVersion | None = None
) -> BillingPeriod:
    """The open October period of a new customer."""
    terms = version or PlanVersionFactory(rate_card=rate_card(), included_amount=Decimal(included))
    customer = CustomerFactory(customer_key=customer_key)
    return SubscriptionFactory(customer=customer, plan_version=terms, seats=seats).periods.get()


def send(customer_key: str, at: datetime, *, model: str = MODEL, **tokens: int) -> None:
    """Let a request be accepted, without aggregating it."""
    event = UsageEventInput(
        id=f"e{next(_event_numbers)}",
        source="edge/test",
        type="llm.request",
        subject=customer_key,
        time=at,
        data={"model": model, **tokens},
    )
    result = metering.ingest_events([event], received_at=at)
    assert result.accepted == 1, result.outcomes


def use(customer_key: str, at: datetime, *, model: str = MODEL, **tokens: int) -> None:
    """Let a request be accepted and reach its windows."""
    send(customer_key, at, model=model, **tokens)
    metering.catch_up_windows(now=AFTER_OCTOBER)


def use_dollars(customer_key: str, at: datetime, dollars: str) -> None:
    """Use input tokens of this price."""
    tokens = Decimal(dollars) * INPUT_TOKENS_PER_DOLLAR
    assert tokens == int(tokens)
    use(customer_key, at, input_tokens=int(tokens))
