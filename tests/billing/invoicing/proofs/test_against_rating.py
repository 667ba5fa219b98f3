"""The verifier against rating, over worlds in memory: two codes that share no line come to the same."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, settings
from hypothesis import given as drawn_from
from hypothesis import strategies as st

from billing.catalog.models import Rate
from billing.catalog.queries import RateTable
from billing.invoicing.proofs.gathering import rate_row
from billing.invoicing.proofs.reading import instant_text, microseconds, number_text
from billing.invoicing.proofs.verifier.paying import Amounts
from billing.invoicing.proofs.verifier.proof import Proof, rounded_minor
from billing.invoicing.proofs.verifier.usage import Counted, Place, Window
from billing.invoicing.rounding import to_minor
from billing.rating.allocation import AllowanceTerms
from billing.rating.target import PeriodTerms, PeriodUsage, target
from metering import queries as metering_queries
from promotions.burn_down import GrantBalance
from tests.billing.rating.pricing import BY_EVENT, BY_WINDOW, END, START, TERMS, event, models, rate, window
from tests.billing.rating.pricing import quantities as small

HOUR = timedelta(hours=1)
CHANGE = START + 12 * HOUR


def proof_of(
    chains: Sequence[Sequence[Rate]], allowances: Sequence[AllowanceTerms], grants: Sequence[GrantBalance], over: bool
) -> tuple[Proof, dict[str, Any]]:
    """A proof without windows, as it is made of tables."""
    period = {
        "id": 1,
        "starts_at": instant_text(START),
        "ends_at": instant_text(END),
        "is_over": over,
        "chains": [[[one.pk for one in chain]] for chain in chains],
        "allowances": [
            {
                "id": one.allowance_id,
                "position": position,
                "measure": one.measure,
                "amount": None if one.amount is None else number_text(one.amount),
                "each_dimension": one.each_dimension,
                "covers": list(one.covers),
            }
            for position, one in enumerate(allowances)
        ],
        "grants": [
            {
                "id": one.grant_id,
                "kind": one.kind,
                "priority": one.priority,
                "effective_at": instant_text(one.effective_at),
                "expires_at": None if one.expires_at is None else instant_text(one.expires_at),
                "ended_at": None,
                "recorded_at": instant_text(one.recorded_at),
                "available": number_text(one.available),
            }
            for one in grants
        ],
    }
    document = {
        "format": 1,
        "invoice": {"currency": "USD"},
        "rates": [rate_row(one) for chain in chains for one in chain],
        "meters": [
            {
                "code": "units",
                "version": 1,
                "event_type": "used",
                "value_path": "data.units",
                "aggregation": "sum",
                "filters": [],
                "dimensions": ["model"],
                "counts_from": 0,
                "counts_before": None,
            }
        ],
    }
    return Proof(document), period


def of_verifier(proof: Proof, period: dict[str, Any], usage: PeriodUsage) -> tuple[Any, Any]:
    windows: dict[Place, Window] = {}
    for one in usage.windows:
        hour = microseconds(one.window_start.replace(minute=0))
        part = microseconds(one.window_start) - hour
        place = Place.of(hour, part, 0, tuple(one.dimensions.items()))
        before = windows.get(place, Window(Fraction(0), 0, 0))
        windows[place] = Window(before.quantity + Fraction(one.quantity), before.events + 1, 0)
    counted = {
        code: [
            Counted(
                microseconds(one.event_time),
                one.source,
                one.event_id,
                tuple(one.dimensions.items()),
                Fraction(one.quantity),
                0,
            )
            for one in events
        ]
        for code, events in usage.events.items()
    }
    paid = proof.outcome(period, windows, counted)
    rates = {key: one for key, one in paid.by_rate.items() if one != Amounts()}
    return rates, {key: use for key, use in paid.by_source.items() if any(use)}


def of_rating(terms: PeriodTerms, usage: PeriodUsage, grants: Sequence[GrantBalance], over: bool) -> tuple[Any, Any]:
    state = target(usage, terms, grants, is_over=over)
    rates = {
        key: Amounts(*(Fraction(getattr(one, name)) for name in Amounts.__slots__))
        for key, one in state.by_rate.items()
        if not one.is_zero()
    }
    paid = {(key[0], "grant", key[1]): (Fraction(amount), Fraction(0)) for key, amount in state.drawdowns.items()}
    paid |= {
        (key[0], "allowance", key[1]): (Fraction(use.amount), Fraction(use.quantity))
        for key, use in state.allowances.items()
        if not use.is_zero()
    }
    return rates, paid


windows = st.lists(st.builds(window, st.integers(0, 30), small, model=st.sampled_from(["a", "b", "c"])), max_size=14)
allowances = st.lists(
    st.builds(
        AllowanceTerms,
        allowance_id=st.integers(1, 10**6),
        measure=st.sampled_from(["units", "money", "cap"]),
        amount=st.decimals(0, 30, places=1),
        each_dimension=st.sampled_from(["", "model"]),
        covers=st.sampled_from([(), ({"dimensions": {"model": ["a", "b"]}},), ({"meter_code": "other"},)]),
    ),
    max_size=3,
    unique_by=lambda one: one.allowance_id,
)
grants = st.lists(
    st.builds(
        GrantBalance,
        grant_id=st.integers(1, 10**6),
        kind=st.sampled_from(["paid", "promotional"]),
        priority=st.integers(1, 2),
        effective_at=st.integers(0, 20).map(lambda hours: START + hours * HOUR),
        expires_at=st.none() | st.integers(21, 40).map(lambda hours: START + hours * HOUR),
        recorded_at=st.just(START),
        amount=st.just(Decimal(100)),
        available=st.decimals(0, 15, places=2),
    ),
    max_size=3,
    unique_by=lambda one: one.grant_id,
)
bounds = st.fixed_dictionaries(
    {},
    optional={
        "minimum": st.sampled_from(["3", "25"]),
        "maximum": st.sampled_from(["31", "40"]),
        "free_units": st.sampled_from(["2.5", "9"]),
        "per": st.just("window"),
    },
)
BOUNDED = {"graduated", "volume", "graduated_percentage", "blocks", "cost_plus"}


@settings(max_examples=60)
@drawn_from(models, models, bounds, windows, allowances, grants, st.booleans())
@example("volume", "graduated", {}, [window(1, 9), window(2, 25), window(13, 3), window(20, 40)], [], [], True)
def test_every_model_pays_as_rating_does(
    first: str,
    second: str,
    beside: dict[str, str],
    drawn: list[metering_queries.Window],
    pools: list[AllowanceTerms],
    given: list[GrantBalance],
    over: bool,
) -> None:
    """One price takes another's place within the period; beside them a flat charge, a commitment and an add-on."""
    pools = [replace(one, each_dimension="") if one.measure == "cap" else one for one in pools]
    bounded = {**TERMS[first], **beside} if first in BOUNDED else TERMS[first]
    plan = [
        rate(1, first, bounded),
        rate(2, second, effective_from=CHANGE),
        rate(3, "flat", {"amount": "4"}),
        rate(4, "minimum_commitment", {"amount": "50"}),
    ]
    add_on = [rate(5, "minimum_commitment", {"amount": "60"}), rate(6, "flat", {"amount": "0.5"})]
    table = RateTable([plan], [RateTable([add_on])])
    usage = PeriodUsage(drawn)
    terms = PeriodTerms(START, END, table, tuple(pools))
    proof, period = proof_of([plan, add_on], pools, given, over)

    assert of_verifier(proof, period, usage) == of_rating(terms, usage, given, over)


@settings(max_examples=30)
@drawn_from(
    st.lists(st.tuples(st.integers(0, 30), small), max_size=9),
    st.sampled_from([BY_EVENT, {"rate_percent": "2", "max_per_event": "1", "maximum": "3"}, BY_WINDOW]),
    allowances,
    grants,
)
def test_prices_by_the_event_and_by_the_window(
    drawn: list[tuple[int, Decimal]], terms: dict[str, Any], pools: list[AllowanceTerms], given: list[GrantBalance]
) -> None:
    pools = [replace(one, each_dimension="") if one.measure == "cap" else one for one in pools]
    rates = [rate(1, "package" if terms is BY_WINDOW else "percentage", terms)]
    hours: dict[int, Decimal] = {}
    for hour, quantity in drawn:
        hours[hour] = hours.get(hour, Decimal(0)) + quantity
    events = [event(START + hour * HOUR, quantity, number=place) for place, (hour, quantity) in enumerate(drawn)]
    read = {} if terms is BY_WINDOW else {"units": events}
    usage = PeriodUsage([window(hour, quantity) for hour, quantity in hours.items()], read, is_in_parts=bool(read))
    proof, period = proof_of([rates], pools, given, True)

    expected = of_rating(PeriodTerms(START, END, RateTable([rates]), tuple(pools)), usage, given, True)
    assert of_verifier(proof, period, usage) == expected


@pytest.mark.parametrize("currency", ["USD", "JPY", "KWD", "ISK"])
@settings(max_examples=30)
@drawn_from(amount=st.decimals(-(10**9), 10**9, places=12))
def test_rounding(currency: str, amount: Decimal) -> None:
    assert rounded_minor(Fraction(amount), currency) == to_minor(amount, currency)
