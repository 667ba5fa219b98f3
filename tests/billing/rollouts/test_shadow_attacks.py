"""SQL that would rewrite a shadow, the rule that refuses it, and who waits for whom."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from unittest.mock import patch

import psycopg
import pytest
from psycopg import errors

from billing.catalog.models import PlanVersion
from billing.rollouts.models.shadow import ShadowRating
from billing.rollouts.shadow import operations as shadow
from billing.rollouts.shadow.operations import end_shadow, rate_shadow, rate_shadows, start_shadow
from tests.billing import usage
from tests.billing.usage import MODEL, PRICES, october_of, use_dollars
from tests.factories import ACTOR, OCTOBER, PlanVersionFactory, RateCardFactory, RateFactory

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = OCTOBER + 10 * DAY
LATER = NOW + timedelta(minutes=5)
POINT = (
    "INSERT INTO billing_shadowpoint (shadow_id, recorded_at, compared, failed, due, worse, better, beyond,"
    " current_total, candidate_total)"
)
ATTACKS = (
    ("UPDATE billing_shadowrating SET terms_fingerprint = 'x'", "billing_shadowrating_terms"),
    ("UPDATE billing_shadowrating SET tolerance_percent = 90", "billing_shadowrating_terms"),
    ("UPDATE billing_shadowrating SET ended_at = now()", "billing_shadowrating_ended_says_why"),
    (
        "UPDATE billing_shadowperiod SET candidate_rated = candidate_rated + 1",
        "billing_shadowperiod_candidate_is_funded",
    ),
    ("UPDATE billing_shadowperiod SET current_unbilled = 0", "billing_shadowperiod_current_is_funded"),
    ("UPDATE billing_shadowperiod SET candidate_fee = NULL", "billing_shadowperiod_known_or_failed"),
    ("UPDATE billing_shadowperiod SET failure = 'x'", "billing_shadowperiod_known_or_failed"),
    ("UPDATE billing_shadowperiod SET is_final = true, is_due = true", "billing_shadowperiod_final_is_done"),
    (
        "UPDATE billing_shadowperiod SET period_id = (SELECT max(id) FROM billing_billingperiod) + 1",
        "billing_shadowperiod_of",
    ),
    ("UPDATE billing_shadowpoint SET current_total = 0", "billing_shadowpoint_append_only"),
    (f"{POINT} SELECT id, now(), 1, 0, 0, 1, 1, 0, 0, 0 FROM billing_shadowrating", "billing_shadowpoint_counts"),
)
AFTER_THE_END = (
    ("UPDATE billing_shadowrating SET ended_because = 'other'", "billing_shadowrating_ended"),
    (
        "UPDATE billing_shadowrating SET ended_at = NULL, ended_by = '', ended_because = ''",
        "billing_shadowrating_ended",
    ),
    ("UPDATE billing_shadowperiod SET is_due = true WHERE NOT is_final", "billing_shadowperiod_live"),
    (f"{POINT} SELECT id, now(), 0, 0, 0, 0, 0, 0, 0, 0 FROM billing_shadowrating", "billing_shadowpoint_live"),
)


def test_the_database_refuses_what_would_rewrite_a_shadow(
    version: PlanVersion, candidate: PlanVersion, owner_connection: psycopg.Connection
) -> None:
    october_of("acme", version=version)
    use_dollars("acme", OCTOBER + HOUR, "30")
    found = started(candidate)
    rate_shadows(now=NOW)

    assert {sql: _rule(owner_connection, sql) for sql, _ in ATTACKS} == dict(ATTACKS)
    owner_connection.execute("UPDATE billing_shadowperiod SET is_final = true")
    assert _rule(owner_connection, "UPDATE billing_shadowperiod SET is_final = false") == "billing_shadowperiod_final"
    october_of("another", version=version)
    rate_shadows(now=LATER)
    end_shadow(shadow_id=found.pk, because="over", actor=ACTOR, now=LATER)
    assert {sql: _rule(owner_connection, sql) for sql, _ in AFTER_THE_END} == dict(AFTER_THE_END)
    for table in ("rating", "period", "point"):
        assert _rule(owner_connection, f"DELETE FROM billing_shadow{table}") == f"billing_shadow{table}_kept"
        assert _rule(owner_connection, f"TRUNCATE billing_shadow{table} CASCADE").endswith("_kept")


def test_an_end_waits_for_the_periods_under_way_and_a_run_for_nobody(
    version: PlanVersion, candidate: PlanVersion, app_connection: psycopg.Connection
) -> None:
    october_of("acme", version=version)
    found = started(candidate)

    def hold_and_be_refused(compared: Callable[..., object]) -> Callable[..., object]:
        def work(*arguments: object) -> object:
            with pytest.raises(errors.LockNotAvailable):
                app_connection.execute("SELECT 1 FROM billing_shadowrating FOR UPDATE NOWAIT")
            return compared(*arguments)

        return work

    with patch.object(shadow, "_compared", side_effect=hold_and_be_refused(shadow._compared)) as compared:
        rate_shadow(shadow_id=found.pk, now=NOW)

    assert compared.call_count == 1
    app_connection.execute("SELECT 1 FROM billing_shadowrating FOR UPDATE NOWAIT")


@pytest.fixture
def version(committed_db: None) -> PlanVersion:
    """20 USD a month, which are included as usage."""
    usage.define_token_meters()
    return PlanVersionFactory(rate_card=usage.rate_card(), included_amount=Decimal(20))


@pytest.fixture
def candidate(version: PlanVersion) -> PlanVersion:
    """A draft at twice the prices, with the fee and the included usage of `version`."""
    card = RateCardFactory()
    for meter_code, price in PRICES.items():
        RateFactory(rate_card=card, meter_code=meter_code, model=MODEL, unit_price=2 * Decimal(price))
    return PlanVersionFactory(plan=version.plan, version=2, rate_card=card, included_amount=Decimal(20), is_draft=True)


def started(candidate: PlanVersion, **asked: object) -> ShadowRating:
    return start_shadow(candidate_id=candidate.pk, reason="dearer tokens", actor=ACTOR, now=NOW, **asked)  # type: ignore[arg-type]


def _rule(connection: psycopg.Connection, statement: str) -> str:
    with pytest.raises(errors.IntegrityError) as refused, connection.transaction():
        connection.execute(statement)
    return str(refused.value.diag.constraint_name)
