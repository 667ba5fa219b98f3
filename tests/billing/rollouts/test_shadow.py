"""A candidate on live usage: what it would cost, worked out again only where something changed, and posting nothing."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from unittest.mock import patch

import pytest
from django.db import connection, connections

from billing.catalog.models import Allowance, PlanVersion
from billing.rating.operations import accrue_period
from billing.rating.queries import period_totals
from billing.rollouts.comparing.cohorts import Cohort
from billing.rollouts.comparing.comparison import compare_period
from billing.rollouts.models.shadow import FIGURES, ShadowPoint, ShadowRating
from billing.rollouts.shadow import operations as shadow
from billing.rollouts.shadow.operations import (
    ShadowEnded,
    ShadowNotFound,
    ShadowRefused,
    end_shadow,
    rate_shadow,
    rate_shadows,
    start_shadow,
    totals,
)
from metering.operations import catch_up_windows
from tests.billing.rollouts.shadowing import HOUR, LATER, NOW, candidate, changes, started, version
from tests.billing.usage import AFTER_OCTOBER, october_of, send, use_dollars
from tests.factories import (
    ACTOR,
    OCTOBER,
    CreditGrantFactory,
    PlanFactory,
    PlanVersionFactory,
)

__all__ = ["candidate", "version"]


class TestRating:
    def test_says_what_each_open_period_comes_to_beside_what_it_does(
        self, version: PlanVersion, candidate: PlanVersion
    ) -> None:
        for customer_key, dollars in (("heavy", "30"), ("light", "8"), ("medium", "15")):
            october_of(customer_key, version=version)
            use_dollars(customer_key, OCTOBER + HOUR, dollars)
        found = started(candidate)

        assert rate_shadow(shadow_id=found.pk, now=NOW) == 3

        # 60 − 20 included instead of 30 − 20; 16 and 30 of usage: the first stays within what is included.
        assert changes(found) == {"heavy": 30, "light": 0, "medium": 10}
        point = ShadowPoint.objects.get()
        assert (point.compared, point.worse, point.better, point.beyond, point.failed, point.due) == (3, 2, 0, 2, 0, 0)
        assert (point.current_total, point.candidate_total) == (70, 110)

    def test_is_what_the_comparison_says_of_each_period(self, version: PlanVersion, candidate: PlanVersion) -> None:
        period = october_of("acme", version=version, seats=3)
        CreditGrantFactory(customer_key="acme", amount=Decimal(7))
        use_dollars("acme", OCTOBER + HOUR, "71.5")
        found = started(candidate)
        rate_shadow(shadow_id=found.pk, now=NOW)

        row, expected = found.periods.get(), compare_period(period, candidate)

        assert expected.current is not None
        assert expected.candidate is not None
        assert [getattr(row, f"current_{name}") for name in FIGURES] == [
            getattr(expected.current, name) for name in FIGURES
        ]
        assert [getattr(row, f"candidate_{name}") for name in FIGURES] == [
            getattr(expected.candidate, name) for name in FIGURES
        ]
        assert row.change == expected.change

    def test_posts_nothing(self, version: PlanVersion, candidate: PlanVersion) -> None:
        period = october_of("acme", version=version)
        use_dollars("acme", OCTOBER + HOUR, "30")
        accrue_period(period_id=period.pk, now=NOW)
        before = _everything_but_shadows()

        rate_shadow(shadow_id=started(candidate).pk, now=NOW)

        assert _everything_but_shadows() == before
        assert period_totals(period.pk).unbilled == 10

    def test_works_out_again_only_what_changed(self, version: PlanVersion, candidate: PlanVersion) -> None:
        for customer_key in ("one", "two", "three"):
            october_of(customer_key, version=version)
            use_dollars(customer_key, OCTOBER + HOUR, "20")
        found = started(candidate)
        assert [rate_shadow(shadow_id=found.pk, now=NOW) for _ in range(2)] == [3, 0]
        use_dollars("two", OCTOBER + 2 * HOUR, "1")

        assert [rate_shadow(shadow_id=found.pk, now=LATER) for _ in range(2)] == [1, 0]

        assert changes(found) == {"one": 20, "two": 21, "three": 20}
        # A run that finds nothing to do leaves no point behind.
        assert ShadowPoint.objects.count() == 2

    def test_takes_up_every_period_once_an_hour(self, version: PlanVersion, candidate: PlanVersion) -> None:
        october_of("acme", version=version)
        use_dollars("acme", OCTOBER + HOUR, "20")
        found = started(candidate)
        rate_shadow(shadow_id=found.pk, now=NOW)
        CreditGrantFactory(customer_key="acme", amount=Decimal(5))  # changes no window

        done = [rate_shadow(shadow_id=found.pk, now=NOW + minutes * timedelta(minutes=1)) for minutes in (59, 60)]

        assert done == [0, 1]
        assert changes(found) == {"acme": 15}

    def test_goes_on_where_a_short_run_stopped(self, version: PlanVersion, candidate: PlanVersion) -> None:
        for number in range(5):
            october_of(f"customer-{number}", version=version)
            use_dollars(f"customer-{number}", OCTOBER + HOUR, "20")
        found = started(candidate)

        done = [rate_shadows(now=NOW, periods_max=2) for _ in range(4)]

        assert done == [2, 2, 1, 0]
        assert [point.due for point in found.points.all()] == [3, 1, 0]
        assert set(changes(found).values()) == {Decimal(20)}

    def test_a_crash_in_the_middle_loses_nothing(self, version: PlanVersion, candidate: PlanVersion) -> None:
        october_of("acme", version=version)
        use_dollars("acme", OCTOBER + HOUR, "20")
        found = started(candidate)

        with (
            patch.object(shadow, "_compared", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            rate_shadow(shadow_id=found.pk, now=NOW)

        assert found.periods.get().computed_at is None
        assert rate_shadow(shadow_id=found.pk, now=NOW) == 1

    def test_runs_at_the_same_time_share_the_work(self, version: PlanVersion, candidate: PlanVersion) -> None:
        for number in range(24):
            october_of(f"customer-{number}", version=version)
        found = started(candidate)

        def run(_: int) -> int:
            try:
                return rate_shadow(shadow_id=found.pk, now=NOW)
            finally:
                connections.close_all()

        with patch.object(shadow, "BATCH", 5), ThreadPoolExecutor(3) as pool:
            done = list(pool.map(run, range(3)))

        assert sum(done) == 24
        assert totals(found)["compared"] == 24


class TestStartAndEnd:
    def test_other_terms_are_found_and_nothing_more_is_worked_out(
        self, version: PlanVersion, candidate: PlanVersion
    ) -> None:
        october_of("acme", version=version)
        found = started(candidate)
        Allowance.objects.filter(plan_version=candidate).update(amount=Decimal(5))

        assert rate_shadows(now=NOW) == 0

        found.refresh_from_db()
        assert (found.outdated_at, found.periods.count()) == (NOW, 0)

    def test_ends_once_and_its_figures_stay(self, version: PlanVersion, candidate: PlanVersion) -> None:
        october_of("acme", version=version)
        use_dollars("acme", OCTOBER + HOUR, "20")
        found = started(candidate)
        rate_shadows(now=NOW)

        end_shadow(shadow_id=found.pk, because="we know enough", actor=ACTOR, now=LATER)
        use_dollars("acme", OCTOBER + 2 * HOUR, "1")

        assert rate_shadow(shadow_id=found.pk, now=LATER) == 0
        assert changes(found) == {"acme": 20}
        with pytest.raises(ShadowEnded, match="was ended by user:tester"):
            end_shadow(shadow_id=found.pk, because="again", actor="user:other", now=LATER)

    @pytest.mark.parametrize(
        ("asked", "field"),
        [
            ({"candidate_id": 10**15}, "candidate"),
            ({"cohort": Cohort(plans=("no\x01thing",))}, "cohort"),
            ({"tolerance_percent": -1}, "tolerance_percent"),
            ({"tolerance_percent": 1_001}, "tolerance_percent"),
            ({"reason": "  "}, "reason"),
        ],
    )
    def test_says_what_to_mend(self, candidate: PlanVersion, asked: dict[str, object], field: str) -> None:
        terms = {"candidate_id": candidate.pk, "reason": "to learn", "actor": ACTOR, "now": NOW} | asked

        with pytest.raises(ShadowRefused) as refused:
            start_shadow(**terms)  # type: ignore[arg-type]

        assert refused.value.field == field
        assert not ShadowRating.objects.exists()

    def test_refuses_what_is_not_sold_and_a_second_one(self, version: PlanVersion, candidate: PlanVersion) -> None:
        add_on = PlanVersionFactory(plan=PlanFactory(is_add_on=True), rate_card=version.rate_card, is_draft=True)
        retired = PlanVersionFactory(rate_card=version.rate_card)
        PlanVersion.objects.filter(pk=retired.pk).update(status="retired", retired_at=NOW)
        first = started(candidate)

        for refused in (add_on, retired, candidate):
            with pytest.raises(ShadowRefused):
                started(refused)

        end_shadow(shadow_id=first.pk, because="over", actor=ACTOR, now=LATER)
        assert started(candidate).pk != first.pk

    def test_ends_with_a_reason_or_not_at_all(self, candidate: PlanVersion) -> None:
        found = started(candidate)

        with pytest.raises(ShadowRefused, match="Say why"):
            end_shadow(shadow_id=found.pk, because=" ", actor=ACTOR, now=LATER)
        with pytest.raises(ShadowNotFound):
            end_shadow(shadow_id=found.pk + 1, because="over", actor=ACTOR, now=LATER)


def test_many_small_runs_come_to_what_one_does(version: PlanVersion, candidate: PlanVersion) -> None:
    chance = random.Random(6)
    periods = {name: october_of(name, version=version) for name in ("a", "b", "c")}
    found = started(candidate)
    for number in range(12):
        at: datetime = OCTOBER + chance.randrange(200) * HOUR
        send(chance.choice("abc"), at, input_tokens=chance.randrange(1, 4_000_000))
        if number % 3 == 2:
            catch_up_windows(now=AFTER_OCTOBER)
            rate_shadow(shadow_id=found.pk, now=NOW + number * timedelta(minutes=1), periods_max=chance.randint(1, 2))
    while rate_shadow(shadow_id=found.pk, now=NOW + timedelta(minutes=30)):
        pass

    assert changes(found) == {name: compare_period(period, candidate).change for name, period in periods.items()}


def _everything_but_shadows() -> dict[str, int]:
    """The rows of every table that billing, promotions and the ledger write."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relname ~ '^(billing|promotions|ledger|metering)_' AND relname !~ 'shadow' ORDER BY 1"
        )
        tables = [name for (name,) in cursor.fetchall()]
        counts = {}
        for table in tables:
            cursor.execute(f"SELECT count(*), coalesce(sum(hashtext(t::text)), 0) FROM {table} AS t")
            counts[table] = cursor.fetchone()
    assert len(counts) > 50
    return counts
