"""What one event cost, from raw events to the invoice's line: named cases, and every event of a line together."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.catalog.models import Allowance, PlanVersion
from billing.catalog.operations import publish_plan_version
from billing.invoicing.models import InvoiceLine
from billing.rating.explanation.event_cost import EventCosts, costs_of_event
from billing.rating.explanation.model import EventCost
from billing.rating.explanation.shares import Paid
from billing.rating.operations import accrue_period
from billing.subscriptions.models import BillingPeriod
from metering import operations as metering
from metering import queries as metering_queries
from metering.operations import UsageEventInput
from tests.billing.rating.explanation.drafts import draft_of
from tests.billing.rating.explanation.worlds import PRICES
from tests.billing.usage import AFTER_OCTOBER, MODEL, define_token_meters, october_of, send
from tests.factories import (
    NOVEMBER,
    OCTOBER,
    CreditGrantFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
)

AT = OCTOBER + timedelta(days=3, hours=5)
LATER = NOVEMBER + timedelta(hours=2)
D = Decimal
_numbers = count(1)


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    define_token_meters()


def key_of(number: int = 0) -> str:
    """The key of an event: of the earliest one, the second, …"""
    rows = metering_queries.find_events(metering_queries.EventFilter(), limit=100).rows
    return rows[-1 - number].key


def cost(number: int = 0) -> EventCost:
    """Of the event at the meter that counts its input tokens."""
    found = costs_of_event(key_of(number), now=LATER)
    assert found is not None
    return next(one for one in found if one.meter_code == "input_tokens")


def paid(number: int = 0) -> list[tuple[str, Decimal, Decimal]]:
    """Who paid how much of the event, and how much they had paid before."""
    return [(one.payer.kind, one.payer.amount, one.used_before) for one in cost(number).parts]


def test_the_event_that_uses_up_the_allowance_is_paid_by_three() -> None:
    october_of("acme", included="1")
    CreditGrantFactory(customer_key="acme", amount=D(2))
    for minute, dollars in ((1, "0.75"), (20, "4"), (30, "0.5")):
        send("acme", AT + timedelta(minutes=minute), input_tokens=int(D(dollars) * 200_000))
    metering.catch_up_windows(now=AFTER_OCTOBER)

    assert paid(0) == [("allowance", D("0.75"), D(0))]
    assert paid(1) == [("allowance", D("0.25"), D("0.75")), ("grant", D(2), D(0)), ("unbilled", D("1.75"), D(0))]
    assert paid(2) == [("unbilled", D("0.5"), D("1.75"))]
    told = cost(1)
    assert (told.standing, told.quantity, told.amount, told.place, told.of) == ("counted", D(800_000), D(4), 2, 3)
    assert told.quantity_before == D(150_000)
    assert [one.why for one in told.parts] == [
        "“Included usage” pays first: $0.75 of $1.00 was used before.",
        "Allowances do not cover it any further; of the credit “Welcome credit” $0.00 had gone to this period before.",
        "No allowance or credit that covers it has anything left, so it is to be invoiced.",
    ]
    assert told.text == "800,000 units cost $4.00: $0.25 included, $2.00 paid by credit, $1.75 on demand, to invoice"


def test_at_one_instant_source_and_id_decide_and_the_order_of_arrival_does_not() -> None:
    october_of("acme", included="1")
    for name in ("b", "a"):
        event = UsageEventInput(
            id=name,
            source="edge/test",
            type="llm.request",
            subject="acme",
            time=AT,
            data={"model": MODEL, "input_tokens": 200_000},
        )
        assert metering.ingest_events([event], received_at=AFTER_OCTOBER).accepted == 1
    metering.catch_up_windows(now=AFTER_OCTOBER)

    by_id = {name: metering_queries.find_key("edge/test", name) for name in ("a", "b")}
    found = {name: costs_of_event(str(key), now=LATER) for name, key in by_id.items()}
    kinds = {
        name: [part.payer.kind for one in costs or () if one.meter_code == "input_tokens" for part in one.parts]
        for name, costs in found.items()
    }
    assert kinds == {"a": ["allowance"], "b": ["unbilled"]}


def test_says_what_nobody_pays_for() -> None:
    october_of("acme")
    send("acme", OCTOBER - timedelta(days=1), input_tokens=10)
    send("acme", AT, input_tokens=10, model="unheard-of")
    metering.catch_up_windows(now=AFTER_OCTOBER)

    assert [cost(number).standing for number in (0, 1)] == ["no_period", "unpriced"]
    assert [one.standing for one in costs_of_event(key_of(0), now=LATER) or ()].count("excluded") == 3
    assert costs_of_event("0" * 32, now=LATER) is None


def test_an_event_that_waits_is_priced_with_its_window() -> None:
    october_of("acme")
    send("acme", AT, input_tokens=10)

    assert cost().standing == "waiting"


@pytest.mark.parametrize(
    ("aggregation", "values", "shares"),
    [
        ("max", [3, 7, 7], [0, 7, 0]),
        ("min", [3, 2, 7], [0, 2, 0]),
        ("last", [3, 2, 7], [0, 0, 7]),
        ("unique_count", [3, 3, 7], [1, 0, 1]),
        # Held 20, 20 and 20 minutes: 20·3 of 20·12, and so on, of the average 4.
        ("time_weighted_average", [3, 3, 6], [1, 1, 2]),
    ],
)
def test_where_quantities_do_not_add_up_the_events_that_made_the_hour_pay(
    aggregation: str, values: Sequence[int], shares: Sequence[int]
) -> None:
    value_path = "data.seats"
    metering.define_meter(
        code="seats", event_type="seats", value_path=value_path, aggregation=aggregation, dimensions=[], unit="seat"
    )
    card = RateCardFactory()
    RateFactory(rate_card=card, meter_code="seats", dimensions={}, unit_price=D(2), unit_size=1)
    period = october_of("acme", version=PlanVersionFactory(rate_card=card, included_amount=D(0)))
    for number, value in enumerate(values):
        event = UsageEventInput(
            id=f"s{number}",
            source="seats",
            type="seats",
            subject="acme",
            time=AT + timedelta(minutes=20 * number),
            data={"seats": value},
        )
        assert metering.ingest_events([event], received_at=AFTER_OCTOBER).accepted == 1
    metering.catch_up_windows(now=AFTER_OCTOBER)

    found = list(EventCosts(now=LATER).of_period(period, card.rates.get().pk))

    assert [one.share.quantity for one in found] == [D(share) for share in shares]
    assert [one.share.amount for one in found] == [D(2 * share) for share in shares]


def _sold(price: tuple[str, dict[str, Any]], kind: str, amount: int) -> PlanVersion:
    model, terms = price
    card = RateCardFactory()
    linear = (
        {"unit_price": D("0.7"), "unit_size": 3} if model == "per_unit" else {"unit_price": None, "unit_size": None}
    )
    RateFactory(rate_card=card, dimensions={}, charge_model=model, terms=terms, **linear)
    RateFactory(rate_card=card, dimensions={}, effective_from=AT + timedelta(minutes=95), unit_price=D(3), unit_size=10)
    version = PlanVersionFactory(rate_card=card, included_amount=D(0), is_draft=True)
    each = {"each_dimension": "model", "is_per_seat": False} if kind == "each" else {}
    measure = "units" if kind == "units" else "money"
    Allowance.objects.create(
        plan_version=version, code="pool", name="Pool", position=1, measure=measure, amount=D(amount), **each
    )
    return publish_plan_version(plan_version_id=version.pk, now=OCTOBER)


def _use(customer_key: str, events: Sequence[tuple[int, str, int]]) -> None:
    inputs = [
        UsageEventInput(
            id=f"x{next(_numbers)}",
            source="tests",
            type="llm.request",
            subject=customer_key,
            time=AT + timedelta(minutes=minute),
            data={"model": model, "input_tokens": 3 * value},
        )
        for minute, model, value in events
    ]
    metering.ingest_events(inputs, received_at=AFTER_OCTOBER)
    metering.catch_up_windows(now=AFTER_OCTOBER)


def _lines(period: BillingPeriod, at: datetime) -> dict[int, Fraction]:
    """By price, the exact amounts of the period's lines on a draft of an invoice."""
    lines = draft_of(period, at=at).lines.filter(kind=InvoiceLine.Kind.USAGE)
    return {line.rate_id or 0: Fraction(line.exact_amount) for line in lines}


def _unbilled(paid: Sequence[Paid]) -> Fraction:
    return sum((Fraction(one.amount) for one in paid if one.kind == "unbilled"), Fraction(0))


EVENTS = st.lists(st.tuples(st.integers(0, 179), st.sampled_from("ab"), st.integers(0, 60)), min_size=1, max_size=9)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from(PRICES), st.sampled_from(["money", "units", "each"]), st.integers(0, 40), st.booleans(), EVENTS)
def test_all_events_of_an_invoice_line_and_what_is_owed_without_usage_are_its_exact_amount(
    price: tuple[str, dict[str, Any]], kind: str, amount: int, has_credit: bool, events: list[tuple[int, str, int]]
) -> None:
    key = f"customer-of-{next(_numbers)}"
    period = october_of(key, version=_sold(price, kind, 3 * amount))
    if has_credit:
        CreditGrantFactory(customer_key=key, amount=D(7))
    _use(key, events)
    accrue_period(period_id=period.pk, now=LATER)

    lines = _lines(period, LATER)

    costs = EventCosts(now=LATER)
    found: dict[int, Fraction] = {}
    for rate_id in period.plan_version.rate_card.rates.values_list("pk", flat=True):
        for shared in costs.of_period(period, rate_id):
            found[rate_id] = found.get(rate_id, Fraction(0)) + _unbilled(shared.share.paid)
        found[rate_id] = found.get(rate_id, Fraction(0)) + _unbilled(costs.owed(period, rate_id))
    assert {rate_id: amount for rate_id, amount in found.items() if amount} == {
        rate_id: amount for rate_id, amount in lines.items() if amount
    }
