"""What a preview says is what accruing then posts."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.rating import queries
from billing.rating.models import UsageAccrual
from billing.rating.operations import accrue_period
from billing.rating.preview import money_effects, period_effects
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.operations import close_period
from ledger import queries as ledger
from metering.effects import WindowChange
from metering.operations import catch_up_windows
from tests.billing import usage
from tests.billing.usage import AFTER_OCTOBER, MODEL, october_of, use, use_dollars
from tests.factories import (
    NOVEMBER,
    OCTOBER,
    BillingPeriodFactory,
    CreditGrantFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
)

HOUR = timedelta(hours=1)
TOKENS_PER_DOLLAR = usage.INPUT_TOKENS_PER_DOLLAR


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


def change(key: str, hour: int, before: int, after: int) -> WindowChange:
    return WindowChange(
        window_start=OCTOBER + hour * HOUR,
        customer_key=key,
        meter_code="input_tokens",
        meter_version=1,
        dimensions={"model": MODEL},
        quantity_before=Decimal(before * TOKENS_PER_DOLLAR),
        quantity_after=Decimal(after * TOKENS_PER_DOLLAR),
        events_before=bool(before),
        events_after=bool(after),
    )


def shown(changes: Sequence[WindowChange]) -> list[tuple[str, str, str, str]]:
    return [(found.label.split(": ")[-1], found.before, found.after, found.change) for found in money_effects(changes)]


class TestTexts:
    def test_say_what_each_figure_of_a_period_would_become(self) -> None:
        october_of("acme", included="3")
        CreditGrantFactory(customer_key="acme", amount=Decimal(2))
        use_dollars("acme", OCTOBER + HOUR, "4")

        # 4 + 3 = 7: 3 included, 2 credited, 2 to invoice.
        assert shown([change("acme", 5, 0, 3)]) == [
            ("Rated", "4 USD", "7 USD", "+3 USD"),
            ("Credited", "1 USD", "2 USD", "+1 USD"),
            ("To invoice", "0 USD", "2 USD", "+2 USD"),
        ]

    def test_write_nothing(self) -> None:
        october_of("acme", included="0")
        use_dollars("acme", OCTOBER + HOUR, "4")
        money_effects([change("acme", 1, 4, 1)])

        assert not UsageAccrual.objects.exists()
        assert ledger.count_entries() == 0

    @pytest.mark.parametrize(
        ("terms", "after", "text"),
        [
            ({}, 7, "The next invoice would ask for 3 USD"),
            ({}, 1, "The next invoice would take off 3 USD"),
            ({"late_policy": "credit_or_debit_note"}, 7, "An invoice of its own would ask for 3 USD"),
            ({"late_policy": "credit_or_debit_note"}, 1, "A credit note would give 3 USD back"),
            (
                {"late_policy": "absorb", "late_absorb_up_to": Decimal(5)},
                7,
                "3 USD would be absorbed if all that is absorbed of the period stays within 5 USD",
            ),
        ],
    )
    def test_say_of_a_closed_period_what_the_contract_would_do(
        self, terms: dict[str, object], after: int, text: str
    ) -> None:
        version = PlanVersionFactory(rate_card=usage.rate_card(), included_amount=Decimal(0), **terms)
        period = october_of("acme", version=version)
        use_dollars("acme", OCTOBER + HOUR, "4")
        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)
        close_period(period_id=period.pk, now=AFTER_OCTOBER)

        assert shown([change("acme", 1, 4, after)])[-1] == (f"{period} is closed", "", "", text)

    def test_name_usage_without_a_price_and_usage_of_no_period(self) -> None:
        october_of("acme")
        unpriced = change("acme", 1, 0, 1)
        unpriced.dimensions["model"] = "unheard-of"
        assert "have no rate" in shown([unpriced])[0][3]
        assert shown([change("acme", -5, 0, 1)])[0][0] == "Usage of 1 hour in no billing period"


_numbers = iter(range(10**6))
amounts = st.integers(0, 6)
worlds = st.tuples(
    st.integers(0, 8),
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 40), st.booleans()), max_size=3),
    st.lists(st.tuples(st.integers(0, 60), amounts, amounts), min_size=1, max_size=6, unique_by=lambda row: row[0]),
)


@settings(max_examples=15)
@given(worlds)
def test_a_preview_is_what_accruing_then_posts(
    world: tuple[int, list[tuple[int, int, bool]], list[tuple[int, int, int]]],
) -> None:
    """Hours of October and November (from hour 31 on), an allowance each, and grants that both draw on."""
    included, grants, hours = world
    key = f"customer-of-chance-{next(_numbers)}"
    october = october_of(key, included=str(included))
    both = [october, BillingPeriodFactory(subscription=october.subscription)]
    for amount, days, expires in grants:
        until = NOVEMBER + timedelta(days=days) if expires else None
        CreditGrantFactory(customer_key=key, amount=Decimal(amount), expires_at=until)
    offsets = {hour: hour if hour <= 30 else 31 * 24 + hour for hour, _, _ in hours}
    for hour, before, _ in hours:
        if before:
            usage.send(key, OCTOBER + offsets[hour] * HOUR, input_tokens=before * TOKENS_PER_DOLLAR)
    catch_up_windows(now=AFTER_OCTOBER)
    _accrue(both)

    # What can be added is added; taking out is the same arithmetic with the other sign.
    changes = [change(key, offsets[hour], before, before + more) for hour, before, more in hours]
    previewed = period_effects(both, changes)
    for hour, _, more in hours:
        if more:
            usage.send(key, OCTOBER + offsets[hour] * HOUR, input_tokens=more * TOKENS_PER_DOLLAR)
    catch_up_windows(now=AFTER_OCTOBER)
    _accrue(both)

    for effect in previewed:
        posted = queries.posted_state(effect.period.pk)
        assert {key: value for key, value in effect.after.by_rate.items() if not value.is_zero()} == posted.by_rate
        assert effect.after.drawdowns == posted.drawdowns


def _accrue(periods: Sequence[BillingPeriod]) -> None:
    for period in periods:
        accrue_period(period_id=period.pk, now=AFTER_OCTOBER)


def test_prices_by_the_event_are_previewed_too() -> None:
    card = RateCardFactory()
    RateFactory(
        rate_card=card, dimensions={}, unit_price=None, unit_size=None, charge_model="percentage",
        terms={"rate_percent": "1", "fixed_per_event": "2"},
    )  # fmt: skip
    october_of("acme", version=PlanVersionFactory(rate_card=card, included_amount=Decimal(0)))
    use("acme", OCTOBER + HOUR, input_tokens=TOKENS_PER_DOLLAR)
    use("acme", OCTOBER + 2 * HOUR, input_tokens=TOKENS_PER_DOLLAR)

    # An event of 200,000 costs 2,000 and 2: one more, and one less.
    rated = [figures for name, *figures in shown([change("acme", 5, 0, 1)]) if name == "Rated"]
    rated += [figures for name, *figures in shown([change("acme", 2, 1, 0)]) if name == "Rated"]
    assert rated == [["4,004 USD", "6,006 USD", "+2,002 USD"], ["4,004 USD", "2,002 USD", "−2,002 USD"]]
