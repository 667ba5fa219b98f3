"""
SQL that tries to get around the second person, the guards and the pins, as the owner of the tables and as the
application's role, and the name of the rule that refuses it.
"""

from datetime import timedelta

import psycopg
import pytest
from psycopg import errors

from billing.catalog.models import PlanVersion
from billing.rollouts import operations as rollouts
from billing.rollouts.models.rollouts import Rollout
from billing.subscriptions.models import Subscription
from tests.billing.rollouts.world import (
    FIONA,
    LATE_OCTOBER,
    approved,
    asked,
    backtest_of,
    draft,
    hire,
    rolling,
    subscribe,
    two_versions,
)
from tests.factories import OCTOBER

FACTS = (
    "billing_approvalrequest",
    "billing_approvaldecision",
    "billing_rolloutstage",
    "billing_rolloutlimits",
    "billing_rolloutcheck",
    "billing_rolloutevent",
)
KEPT = (*FACTS, "billing_rollout", "billing_rolloutmove")
DECIDE = """
    INSERT INTO billing_approvaldecision (request_id, outcome, requested_by, decided_by, decided_at, reason)
    VALUES ({request}, '{outcome}', '{requested_by}', '{decided_by}', now(), '{reason}')
"""
ASK = """
    INSERT INTO billing_approvalrequest (plan_version_id, backtest_id, fingerprint, reason, requested_by, requested_at)
    VALUES ({version}, {backtest}, '{fingerprint}', 'why', '{by}', now())
"""
CHECK = """
    INSERT INTO billing_rolloutcheck (rollout_id, limits_id, stage, is_before_stage, checked_at, reached, examined,
        compared, worse_off, failed, moved, current_total, candidate_total, breaches, failures)
    SELECT rollout_id, id, {stage}, true, '{at}', 1, 1, 1, 0, 0, 0, 1, 1, '{breaches}', '[]'
    FROM billing_rolloutlimits
"""
EVENT = """
    INSERT INTO billing_rolloutevent (rollout_id, kind, state, stage, at, actor, reason)
    SELECT id, '{kind}', '{state}', {stage}, '{at}', '{actor}', '{reason}' FROM billing_rollout
"""
MOVE = """
    INSERT INTO billing_rolloutmove (rollout_id, subscription_id, direction, from_version_id, to_version_id, stage,
        because, state, intended_at, detail)
    SELECT rollout.id, subscription.id, '{direction}', {old}, {new}, 1, '', '{state}', now(), ''
    FROM billing_rollout AS rollout, billing_subscription AS subscription ORDER BY subscription.id LIMIT 1
"""
AT = (LATE_OCTOBER + timedelta(days=1)).isoformat()


@pytest.fixture
def versions(committed_db: None) -> tuple[PlanVersion, PlanVersion]:
    hire()
    return two_versions()


@pytest.fixture
def rollout(versions: tuple[PlanVersion, PlanVersion]) -> Rollout:
    """A rollout that runs, its stage begun, with one subscription on its way."""
    subscribe(versions[0], 2)
    running = rolling(versions[0], approved(versions[1]))
    assert rollouts.advance(rollout_id=running.pk, now=LATE_OCTOBER + timedelta(hours=1)) is not None
    return rollouts.by_id(running.pk)


def refused(connection: psycopg.Connection, rule: str, *statements: str) -> None:
    """All in one transaction; the rule may speak at its end."""
    with pytest.raises(errors.IntegrityError) as refusal:
        _together(connection, statements)
    assert refusal.value.diag.constraint_name == rule


def _together(connection: psycopg.Connection, statements: tuple[str, ...]) -> None:
    with connection.transaction():
        for statement in statements:
            connection.execute(statement)


class TestApproval:
    def test_is_not_given_by_who_asked(
        self, versions: tuple[PlanVersion, PlanVersion], owner_connection: psycopg.Connection
    ) -> None:
        request = asked(versions[1])
        honest = {
            "request": request.pk,
            "outcome": "approved",
            "requested_by": "user:emre",
            "decided_by": "user:fiona",
            "reason": "read",
        }
        for rule, changes in (
            ("billing_approvaldecision_second_person", {"decided_by": "user:emre"}),
            ("billing_approvaldecision_second_person", {"outcome": "withdrawn"}),
            ("billing_approvaldecision_second_person", {"outcome": "perhaps"}),
            ("billing_approvaldecision_as_requested", {"requested_by": "user:x", "decided_by": "user:emre"}),
            ("billing_approvaldecision_says_why", {"reason": ""}),
            ("billing_approvaldecision_says_why", {"decided_by": "service:rollout"}),
        ):
            refused(owner_connection, rule, DECIDE.format(**{**honest, **changes}))
        owner_connection.execute(DECIDE.format(**{**honest, "outcome": "rejected"}))
        with pytest.raises(errors.UniqueViolation):
            owner_connection.execute(DECIDE.format(**{**honest, "decided_by": "user:fred"}))

    def test_names_a_finished_backtest_of_these_terms(
        self, versions: tuple[PlanVersion, PlanVersion], owner_connection: psycopg.Connection
    ) -> None:
        good = backtest_of(versions[1])
        running = backtest_of(versions[1], is_done=False)
        of_another = backtest_of(draft(plan_of=versions[0], version=3))
        honest = {"version": versions[1].pk, "backtest": good.pk, "fingerprint": good.fingerprint, "by": "user:emre"}
        for changes in ({"backtest": running.pk}, {"backtest": of_another.pk}, {"fingerprint": "0" * 64}):
            refused(owner_connection, "billing_approvalrequest_tested", ASK.format(**{**honest, **changes}))
        refused(owner_connection, "billing_approvalrequest_says_why", ASK.format(**{**honest, "by": "service:x"}))

    def test_comes_before_the_status(
        self, versions: tuple[PlanVersion, PlanVersion], owner_connection: psycopg.Connection
    ) -> None:
        asked(versions[1])
        sets = f"UPDATE billing_planversion SET status = 'approved', approved_at = now() WHERE id = {versions[1].pk}"

        refused(owner_connection, "billing_planversion_approved_on_report", sets)


class TestRollout:
    def test_begins_no_stage_without_a_check_that_passed(
        self, rollout: Rollout, owner_connection: psycopg.Connection
    ) -> None:
        begin = f"UPDATE billing_rollout SET stage = 2, stage_began_at = '{AT}', changed_at = '{AT}'"
        rule = "billing_rollout_stage_checked"
        refused(owner_connection, rule, begin)
        refused(owner_connection, rule, CHECK.format(stage=1, at=AT, breaches="[]"), begin)
        refused(owner_connection, rule, CHECK.format(stage=2, at=AT, breaches='["x"]'), begin)
        refused(owner_connection, "billing_rollout_stage_planned", CHECK.format(stage=2, at=AT, breaches="[]"), begin)
        jump = "UPDATE billing_rollout SET stage = 3"
        refused(owner_connection, "billing_rollout_one_stage_at_a_time", jump)
        again = f"UPDATE billing_rollout SET stage_began_at = '{AT}'"
        refused(owner_connection, "billing_rollout_one_stage_at_a_time", again)

    def test_does_not_go_on_past_a_breach(self, rollout: Rollout, app_connection: psycopg.Connection) -> None:
        refused(app_connection, "billing_rolloutcheck_halts", CHECK.format(stage=1, at=AT, breaches='["worse off"]'))

    def test_changes_nothing_silently(self, rollout: Rollout, app_connection: psycopg.Connection) -> None:
        halts = f"UPDATE billing_rollout SET state = 'halted', changed_at = '{AT}'"
        event = {"kind": "halted", "state": "halted", "stage": 1, "at": AT, "actor": "user:x", "reason": "y"}
        refused(app_connection, "billing_rollout_told", halts)
        refused(app_connection, "billing_rollout_told", halts, EVENT.format(**{**event, "at": "2020-01-01"}))
        refused(app_connection, "billing_rolloutevent_says_why", EVENT.format(**{**event, "reason": ""}))
        refused(app_connection, "billing_rolloutevent_kind_and_state", EVENT.format(**{**event, "state": "running"}))
        robot = {**event, "kind": "resumed", "state": "running", "actor": "service:rollout"}
        refused(app_connection, "billing_rolloutevent_by_a_person", EVENT.format(**robot))

    def test_keeps_its_terms_and_its_end(self, rollout: Rollout, owner_connection: psycopg.Connection) -> None:
        refused(owner_connection, "billing_rollout_terms", "UPDATE billing_rollout SET salt = 'x'")
        refused(owner_connection, "billing_rollout_state_follows", "UPDATE billing_rollout SET state = 'planned'")
        stage = "INSERT INTO billing_rolloutstage (rollout_id, position, percent, customer_kind, observe_hours)"
        refused(
            owner_connection, "billing_rolloutstage_planned", f"{stage} SELECT id, 2, 100, '', 0 FROM billing_rollout"
        )
        rollouts.roll_back(rollout_id=rollout.pk, reason="no", actor=FIONA, now=LATE_OCTOBER + timedelta(hours=2))
        refused(owner_connection, "billing_rollout_state_follows", "UPDATE billing_rollout SET state = 'running'")

    def test_is_between_two_versions_that_fit(
        self, versions: tuple[PlanVersion, PlanVersion], owner_connection: psycopg.Connection
    ) -> None:
        baseline, candidate = versions[0], approved(versions[1])
        yearly = approved(draft(plan_of=baseline, version=3, interval="year"))
        unapproved = draft(plan_of=baseline, version=4)
        insert = """
            INSERT INTO billing_rollout (plan_id, currency, baseline_id, candidate_id, salt, state, stage, changed_at)
            VALUES ({plan}, '{currency}', {baseline}, {candidate}, 's', '{state}', 0, now())
        """
        honest = {
            "plan": baseline.plan_id,
            "currency": "USD",
            "baseline": baseline.pk,
            "candidate": candidate.pk,
            "state": "planned",
        }
        for rule, changes in (
            ("billing_rollout_versions", {"candidate": yearly.pk}),
            ("billing_rollout_versions", {"candidate": unapproved.pk}),
            ("billing_rollout_versions", {"currency": "EUR"}),
            ("billing_rollout_begins", {"state": "running"}),
            ("billing_rollout_two_versions", {"candidate": baseline.pk}),
            ("billing_rollout_told", {}),
        ):
            refused(owner_connection, rule, insert.format(**{**honest, **changes}))


class TestMove:
    def test_is_of_a_running_rollout_and_of_nobody_pinned(
        self, rollout: Rollout, owner_connection: psycopg.Connection
    ) -> None:
        honest = {
            "direction": "forward",
            "old": rollout.baseline_id,
            "new": rollout.candidate_id,
            "state": "intended",
        }
        rollout.moves.update(state="dropped", detail="for the test")
        refused(owner_connection, "billing_rolloutmove_begins", MOVE.format(**{**honest, "state": "told"}))
        refused(owner_connection, "billing_rolloutmove_versions", MOVE.format(**{**honest, "direction": "back"}))
        Subscription.objects.update(pinned_at=OCTOBER, pinned_because="promised")
        refused(owner_connection, "billing_rolloutmove_pinned", MOVE.format(**honest))
        Subscription.objects.update(pinned_at=None, pinned_because="")
        rollouts.halt(rollout_id=rollout.pk, reason="no", actor=FIONA, now=LATE_OCTOBER + timedelta(hours=2))
        refused(owner_connection, "billing_rolloutmove_running", MOVE.format(**honest))

    def test_that_waits_is_not_told_past_a_halt_or_a_pin(
        self, rollout: Rollout, owner_connection: psycopg.Connection
    ) -> None:
        tell = "UPDATE billing_rolloutmove SET state = 'telling'"
        Subscription.objects.update(pinned_at=OCTOBER, pinned_because="promised")
        refused(owner_connection, "billing_rolloutmove_pinned", tell)
        rollouts.halt(rollout_id=rollout.pk, reason="no", actor=FIONA, now=LATE_OCTOBER + timedelta(hours=2))
        refused(owner_connection, "billing_rolloutmove_running", tell)

    def test_keeps_its_terms_and_its_end(self, rollout: Rollout, owner_connection: psycopg.Connection) -> None:
        refused(owner_connection, "billing_rolloutmove_terms", "UPDATE billing_rolloutmove SET stage = 9")
        refused(owner_connection, "billing_rolloutmove_state_follows", "UPDATE billing_rolloutmove SET state = 'told'")
        owner_connection.execute("UPDATE billing_rolloutmove SET state = 'dropped', detail = 'x'")
        refused(
            owner_connection, "billing_rolloutmove_state_follows", "UPDATE billing_rolloutmove SET state = 'intended'"
        )


def test_facts_stay_and_nothing_is_deleted(
    rollout: Rollout, owner_connection: psycopg.Connection, app_connection: psycopg.Connection
) -> None:
    rollouts.halt(rollout_id=rollout.pk, reason="no", actor=FIONA, now=LATE_OCTOBER + timedelta(hours=2))
    for table in FACTS:
        refused(owner_connection, f"{table}_append_only", f"UPDATE {table} SET id = id")
        with pytest.raises(errors.InsufficientPrivilege):
            app_connection.execute(f"UPDATE {table} SET id = id")
    for table in KEPT:
        refused(owner_connection, f"{table}_kept", f"DELETE FROM {table}")
        refused(owner_connection, f"{table}_kept", f"TRUNCATE {table} CASCADE")
        with pytest.raises(errors.InsufficientPrivilege):
            app_connection.execute(f"DELETE FROM {table}")
