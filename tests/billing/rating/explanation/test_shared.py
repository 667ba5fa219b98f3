"""All shares of a period's events, and what it owes without usage, are what was allocated: exactly, payer by payer."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings

from billing.catalog.models import Rate
from billing.catalog.queries import RateTable
from billing.rating.allocation import AllowanceTerms
from billing.rating.explanation.recomputed import Recomputed
from billing.rating.explanation.shared import SharedPeriod
from billing.rating.target import PeriodTerms, PeriodUsage, allocate
from metering.queries import MeterEvent, WeighedEvent, Window
from tests.billing.rating.explanation.worlds import END, METER, START, TIERS, World, worlds
from tests.factories import OCTOBER


def _summed(rows: Iterable[tuple[object, Decimal]]) -> dict[object, Fraction]:
    sums: dict[object, Fraction] = defaultdict(Fraction)
    for key, amount in rows:
        sums[key] += Fraction(amount)
    return {key: amount for key, amount in sums.items() if amount}


@settings(max_examples=150)
@given(worlds())
def test_shares_and_what_is_owed_without_usage_are_the_period(world: World) -> None:
    shared = list(SharedPeriod(world.recomputed, caps=world.caps).share_out(world.events))
    allocated = world.recomputed.allocated

    owed = [
        ((one.rate_id, source.kind, source.id), source.amount)
        for one in allocated
        if not one.quantity
        for source in one.sources
    ]
    mine = [((one.rate and one.rate.pk, paid.kind, paid.id), paid.amount) for one in shared for paid in one.share.paid]
    expected = [((one.rate_id, source.kind, source.id), source.amount) for one in allocated for source in one.sources]
    assert _summed([*mine, *owed]) == _summed(expected)
    units = [((one.rate and one.rate.pk), one.share.quantity) for one in shared]
    assert _summed(units) == _summed([(one.rate_id, one.quantity) for one in allocated])
    assert {one.event.key for one in shared} == {event.key for event in world.events}
    assert all(one.share.amount >= 0 and one.share.quantity == one.event.value for one in shared)


@settings(max_examples=60)
@given(worlds())
def test_a_window_alone_is_shared_out_as_within_the_period(world: World) -> None:
    period = SharedPeriod(world.recomputed, caps=world.caps)
    whole = {one.event.key: one for one in period.share_out(world.events)}

    for start in {event.window_start for event in world.events}:
        of_window = [event for event in world.events if event.window_start == start]
        fresh = SharedPeriod(world.recomputed, caps=world.caps)
        assert all(whole[one.event.key] == one for one in fresh.share_out(reversed(of_window)))


def test_the_events_that_reach_the_agreed_maximum_are_the_later_ones() -> None:
    rate = Rate(pk=1, rate_card_id=1, meter_code=METER, unit_price=Decimal(1), unit_size=1, effective_from=OCTOBER)
    table = RateTable([[rate]])
    events = [
        WeighedEvent(START, "tests", name, START, METER, 1, {}, Decimal(8), Decimal(8)) for name in ("first", "second")
    ]
    terms = PeriodTerms(START, END, table, (AllowanceTerms(allowance_id=5, measure="cap", amount=Decimal(10)),))
    usage = PeriodUsage([Window(START, "acme", METER, 1, {}, Decimal(16), 2, 1)])
    recomputed = Recomputed.of(terms, usage, allocate(usage, terms, [], is_over=False))

    shared = SharedPeriod(recomputed, caps=frozenset({5})).share_out(reversed(events))

    assert [(one.event.event_id, [(paid.kind, paid.amount) for paid in one.share.paid]) for one in shared] == [
        ("first", [("unbilled", Decimal(8))]),
        ("second", [("unbilled", Decimal(2)), ("allowance", Decimal(6))]),
    ]


def test_an_event_pays_what_it_adds_to_the_tiers_that_its_period_has_reached() -> None:
    terms_of_price = {"tiers": TIERS}
    rate = Rate(
        pk=1, rate_card_id=1, meter_code=METER, charge_model="graduated", terms=terms_of_price, effective_from=OCTOBER
    )
    later = START.replace(minute=0) + timedelta(hours=1)
    used = [(START, "before", 99), (later, "first", 1), (later, "second", 10)]
    events = [WeighedEvent(at, "tests", name, at, METER, 1, {}, Decimal(n), Decimal(n)) for at, name, n in used]
    windows = [
        Window(START, "acme", METER, 1, {}, Decimal(99), 1, 1),
        Window(later, "acme", METER, 1, {}, Decimal(11), 2, 1),
    ]
    terms, usage = PeriodTerms(START, END, RateTable([[rate]]), ()), PeriodUsage(windows)
    recomputed = Recomputed.of(terms, usage, allocate(usage, terms, [], is_over=False))

    shared = list(SharedPeriod(recomputed, caps=frozenset()).share_out(events))

    # 3 flat were owed at the start; 2 a unit up to 100, then 0.5 and a flat 1 with the first unit above.
    assert [one.share.amount for one in shared] == [Decimal(198), Decimal(2), Decimal(6)]
    assert [one.quantity_before for one in shared] == [Decimal(0), Decimal(99), Decimal(100)]


def test_events_that_take_each_other_away_have_their_prices_all_the_same() -> None:
    by_event = {"rate_percent": "3", "fixed_per_event": "0.30"}
    rate = Rate(
        pk=1, rate_card_id=1, meter_code=METER, charge_model="percentage", terms=by_event, effective_from=OCTOBER
    )
    used = [("payment", Decimal(50)), ("refund", Decimal(-50))]
    events = [WeighedEvent(START, "tests", name, START, METER, 1, {}, n, n) for name, n in used]
    usage = PeriodUsage(
        [Window(START, "acme", METER, 1, {}, Decimal(0), 2, 1)],
        {METER: [MeterEvent(START, "tests", name, METER, {}, n) for name, n in used]},
    )
    terms = PeriodTerms(START, END, RateTable([[rate]]), ())
    shared = SharedPeriod(Recomputed.of(terms, usage, allocate(usage, terms, [], is_over=True)), caps=frozenset())

    shares = [one.share for one in shared.share_out(events)]

    assert [(one.quantity, one.amount) for one in shares] == [(50, Decimal("1.80")), (-50, 0)]
    assert shared.owed(1) == ()
