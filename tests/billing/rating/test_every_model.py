# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""Every way of pricing through windows, ledger and reconciliation, and prices that change within an hour."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.catalog.models import Allowance, PlanVersion, Rate, RateCard
from billing.catalog.operations import publish_plan_version
from billing.invoicing.wording import how_priced
from billing.rating import queries
from billing.rating.explanation.gather import explain_period
from billing.rating.operations import accrue_period
from billing.rating.rating import InexactAmount
from billing.rating.target import allocate, target
from billing.rating.terms import terms_of, usage_of
from billing.reconciliation import usage_checks
from billing.reconciliation.comparison import Pair, Scope
from billing.subscriptions.models import PeriodAddOn
from ledger import queries as ledger
from metering import operations as metering
from metering import queries as metering_queries
from tests.billing import usage
from tests.billing.rating.pricing import BY_EVENT, BY_WINDOW, TERMS
from tests.billing.usage import AFTER_OCTOBER, october_of, use
from tests.factories import NOVEMBER, OCTOBER, CreditGrantFactory, PlanVersionFactory, RateCardFactory, RateFactory

US = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
# Within an hour, to the microsecond.
CHANGE = OCTOBER + 9 * DAY + timedelta(minutes=20, seconds=3, microseconds=7)
METERS = {"graduated": "input_tokens", "by_event": "output_tokens", "by_window": "cache_write_tokens"}


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


def price(card: RateCard, model: str, terms: Mapping[str, Any], meter: str = "", **values: Any) -> Rate:
    given = {"dimensions": {}, "unit_price": None, "unit_size": None, "charge_model": model, "terms": dict(terms)}
    return RateFactory(rate_card=card, meter_code=meter, **given | values)


def every_model() -> PlanVersion:
    """Four meters priced in four ways, a flat charge, a commitment, and three pools."""
    card = RateCardFactory()
    tiers = TERMS["graduated"]["tiers"]
    price(card, "graduated", {"tiers": tiers}, "input_tokens")
    price(card, "volume", TERMS["volume"], "input_tokens", effective_from=CHANGE)
    price(card, "percentage", BY_EVENT, "output_tokens")
    price(card, "package", BY_WINDOW, "cache_write_tokens")
    price(card, "matrix", TERMS["matrix"], "cache_read_tokens")
    price(card, "flat", {"amount": "9"})
    price(card, "minimum_commitment", {"amount": "80"})
    version = PlanVersionFactory(rate_card=card, included_amount=Decimal(0), is_draft=True)
    pools: list[dict[str, Any]] = [
        {"code": "tokens", "measure": "units", "amount": 6, "covers": [{"meter_code": "input_tokens"}]},
        {"code": "each", "amount": 2, "each_dimension": "model", "is_per_seat": False},
        {"code": "rest", "amount": 5},
    ]
    for position, pool in enumerate(pools, start=1):
        Allowance.objects.create(plan_version=version, position=position, name=pool["code"].title(), **pool)
    return publish_plan_version(plan_version_id=version.pk, now=OCTOBER)


def parted() -> list[tuple[str, object, object]]:
    """What reconciliation finds unequal, of usage against accruals and of who paid."""
    scope = Scope(range_start=OCTOBER, range_end=NOVEMBER + DAY)
    found = [*usage_checks.windows_rated(scope), *usage_checks.rated_funded(scope)]
    return [(pair.subject, pair.left, pair.right) for pair in found if isinstance(pair, Pair) and not pair.agrees]


events = st.lists(
    st.tuples(
        st.sampled_from([OCTOBER + DAY, CHANGE - US, CHANGE, CHANGE + HOUR, NOVEMBER - US]),
        st.sampled_from(["a", "b"]),
        st.fixed_dictionaries({meter: st.integers(0, 30) for meter in usage.PRICES}),
    ),
    max_size=7,
)
_numbers = iter(range(10**6))


@settings(max_examples=10)
@given(events)
def test_accruing_often_is_accruing_once_and_reconciliation_agrees(
    drawn: list[tuple[datetime, str, dict[str, int]]],
) -> None:
    version, number = every_model(), next(_numbers)
    often, once = (october_of(f"{name}-{number}", version=version) for name in ("often", "once"))
    for period in (often, once):
        key = period.subscription.customer.customer_key
        CreditGrantFactory(customer_key=key, amount=Decimal(7), expires_at=OCTOBER + 20 * DAY)
    for at, model, tokens in drawn:
        use("often-" + str(number), at, model=model, **tokens)
        accrue_period(period_id=often.pk, now=NOVEMBER - HOUR)
        usage.send("once-" + str(number), at, model=model, **tokens)
    metering.catch_up_windows(now=AFTER_OCTOBER)

    for period in (often, once):
        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
        assert accrue_period(period_id=period.pk, now=AFTER_OCTOBER) is None

    totals = queries.period_totals(once.pk)
    assert queries.period_totals(often.pk) == totals
    assert totals.rated == totals.included + totals.credited + totals.unbilled >= 80
    assert parted() == []
    assert ledger.out_of_balance() == []


def test_a_late_event_moves_every_kind_of_price_by_its_marginal_effect() -> None:
    period = october_of("acme", version=every_model())
    use("acme", OCTOBER + DAY, model="a", input_tokens=30, output_tokens=20, cache_write_tokens=8, cache_read_tokens=20)
    accrue_period(period_id=period.pk, now=NOVEMBER - HOUR)
    before = {row.rate.meter_code: row.rated for row in queries.rate_totals(period.pk)}

    use("acme", OCTOBER, model="a", input_tokens=20, output_tokens=60, cache_write_tokens=1, cache_read_tokens=5)
    accrue_period(period_id=period.pk, now=NOVEMBER - HOUR)

    after = {row.rate.meter_code: row.rated for row in queries.rate_totals(period.pk)}
    # 20 tokens of which 10 at 0.50 and 10 at 0.25, and the third tier's flat 3; the event of 60 is now the first, so
    # that it alone has what is free: 50 at 3 % and 0.30, and that of 20 pays 0.90; a package of
    # another hour; 5 at 0.50.
    assert {code: after[code] - before[code] for code in usage.PRICES} == {
        "input_tokens": Decimal("10.5"),
        "output_tokens": Decimal("1.80") + Decimal("0.90") - Decimal("0.60"),
        "cache_write_tokens": 3,
        "cache_read_tokens": Decimal("2.5"),
    }
    assert parted() == []


class TestPriceChangesWithinAnHour:
    def test_split_the_quantity_at_their_microsecond(self) -> None:
        card = RateCardFactory()
        RateFactory(rate_card=card, unit_price=Decimal(5), unit_size=1, model="a")
        RateFactory(rate_card=card, unit_price=Decimal(7), unit_size=1, model="a", effective_from=CHANGE)
        period = october_of("acme", version=PlanVersionFactory(rate_card=card, included_amount=Decimal(0)))
        for at, tokens in ((CHANGE - US, 1), (CHANGE, 2), (CHANGE + US, 4)):
            use("acme", at, model="a", input_tokens=tokens)

        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert [(one.rate.unit_price, one.quantity) for one in queries.rate_totals(period.pk)] == [(5, 1), (7, 6)]
        assert parted() == []

    def test_bring_no_second_flat_amount_and_no_minimum_beside_usage_that_meets_it(self) -> None:
        """The engine, reconciliation and the words of the invoice say so alike."""
        card = RateCardFactory()
        graduated = {"tiers": [{"up_to": None, "unit_price": "1", "flat": "5"}], "minimum": "30"}
        for start in (OCTOBER, CHANGE):
            price(card, "graduated", graduated, "input_tokens", effective_from=start)
        period = october_of("acme", version=PlanVersionFactory(rate_card=card, included_amount=Decimal(0)))
        for at, tokens in ((OCTOBER, 3), (CHANGE, 4), (CHANGE + HOUR, 8)):
            use("acme", at, model="a", input_tokens=tokens)

        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        totals = queries.rate_totals(period.pk)
        assert [(one.quantity, one.rated) for one in totals] == [(3, 18), (12, 12)]
        assert parted() == []
        words = how_priced(period, totals)
        assert ["minimum" in words[totals[0].rate.pk], "not owed again" in words[totals[1].rate.pk]] == [True, True]
        assert all(one.is_followed for one in explain_period(period.pk, now=AFTER_OCTOBER).prices)

    def test_leave_whole_what_they_do_not_concern(self) -> None:
        """The highest value of an hour is not the sum of its parts'."""
        metering.define_meter(
            code="peak",
            event_type="llm.request",
            value_path="data.peak",
            aggregation="max",
            dimensions=["model"],
            unit="x",
        )
        card = RateCardFactory()
        for model, price_of_one, start in (("a", 1, OCTOBER), ("b", 1, OCTOBER), ("b", 10, CHANGE)):
            RateFactory(
                rate_card=card, meter_code="peak", model=model, unit_price=Decimal(price_of_one), unit_size=1,
                effective_from=start,
            )  # fmt: skip
        period = october_of("acme", version=PlanVersionFactory(rate_card=card, included_amount=Decimal(0)))
        for at in (CHANGE - US, CHANGE):
            for model in "ab":
                use("acme", at, model=model, peak=3)

        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        rated = {
            (one.rate.dimensions["model"], one.rate.unit_price): one.rated for one in queries.rate_totals(period.pk)
        }
        assert rated == {("a", 1): 3, ("b", 1): 3, ("b", 10): 30}
        assert parted() == []


class TestAddOns:
    def test_price_what_the_plan_does_not_and_charge_beside_it(self) -> None:
        add_on = RateCardFactory()
        price(add_on, "package", {"package_size": "10", "package_price": "2"}, "output_tokens")
        price(add_on, "flat", {"amount": "3"})
        version = PlanVersionFactory(rate_card=add_on, included_amount=Decimal(0))
        period = october_of("acme", included="0")
        PeriodAddOn.objects.create(period=period, plan_version=version, seats=1)
        use("acme", OCTOBER + DAY, model="other", output_tokens=11)

        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert queries.period_totals(period.pk).rated == 7
        assert parted() == []


class TestInvoiceWords:
    def test_every_price_tells_its_steps(self) -> None:
        period = october_of("acme", version=every_model())
        use(
            "acme",
            OCTOBER + DAY,
            model="a",
            input_tokens=12,
            output_tokens=20,
            cache_write_tokens=8,
            cache_read_tokens=4,
        )
        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

        totals = queries.rate_totals(period.pk)
        words = {
            row.rate.meter_code or row.rate.charge_model: how_priced(period, totals)[row.rate.pk] for row in totals
        }

        assert words["input_tokens"] == (
            "Up to 10: flat 2 USD + 10 × 1 USD = 12 USD; Above 10 up to 40: 2 × 0.5 USD = 1 USD"
        )
        assert words["flat"] == "Flat: 9 USD"
        assert "minimum" in words["minimum_commitment"]
        assert all(words.values())


class TestExactness:
    def test_a_price_that_cannot_be_written_is_refused_until_it_can(self) -> None:
        card = RateCardFactory()
        RateFactory(rate_card=card, unit_price=Decimal(1), unit_size=3, model="a")
        period = october_of("acme", version=PlanVersionFactory(rate_card=card, included_amount=Decimal(0)))
        use("acme", OCTOBER, model="a", input_tokens=2)

        with pytest.raises(InexactAmount):
            accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
        assert ledger.count_entries() == 0

        use("acme", OCTOBER, model="a", input_tokens=4)
        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
        assert queries.period_totals(period.pk).rated == 2

    def test_more_than_twelve_places_are_refused_where_they_would_be_written(self) -> None:
        card = RateCardFactory()
        RateFactory(rate_card=card, unit_price=Decimal("0.000000000001"), unit_size=1000, model="a")
        period = october_of("acme", version=PlanVersionFactory(rate_card=card, included_amount=Decimal(0)))
        use("acme", OCTOBER, model="a", input_tokens=500)

        with pytest.raises(InexactAmount, match=r"of rate \d+ is 0.0000000000005, .* would be rounded"):
            accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
        assert target(usage_of(period), terms_of(period), [], is_over=False).total().rated == Decimal("5E-13")


def test_the_trace_of_a_period_adds_up_to_what_was_posted() -> None:
    period = october_of("acme", version=every_model())
    for at in (OCTOBER + DAY, CHANGE - US, CHANGE):
        use("acme", at, model="b", input_tokens=9, output_tokens=40, cache_write_tokens=9, cache_read_tokens=9)
    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

    found = allocate(usage_of(period), terms_of(period), [], is_over=True)

    paid = {kind: Decimal(0) for kind in ("allowance", "unbilled")}
    for one in found:
        for source in one.sources:
            paid[source.kind] += source.amount
    totals = queries.period_totals(period.pk)
    assert (paid["allowance"], paid["unbilled"]) == (totals.included, totals.unbilled)


def test_events_are_told_in_one_order_and_only_those_that_count() -> None:
    october_of("acme")
    for at, tokens in ((OCTOBER + HOUR, 3), (OCTOBER, 1), (OCTOBER + HOUR, 2)):
        usage.send("acme", at, model="a", output_tokens=tokens)
    assert metering_queries.events_between("acme", OCTOBER, NOVEMBER, ["output_tokens"]) == []
    metering.catch_up_windows(now=AFTER_OCTOBER)
    usage.send("acme", OCTOBER + 2 * HOUR, model="a", output_tokens=9)

    found = metering_queries.events_between("acme", OCTOBER, OCTOBER + 2 * HOUR + US, ["output_tokens"])

    assert [(one.event_time, one.quantity, one.dimensions) for one in found] == [
        (OCTOBER, 1, {"model": "a"}), (OCTOBER + HOUR, 3, {"model": "a"}), (OCTOBER + HOUR, 2, {"model": "a"}),
    ]  # fmt: skip
    assert metering_queries.events_between("acme", OCTOBER + US, OCTOBER + HOUR, ["output_tokens"]) == []
