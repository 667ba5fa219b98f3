"""SQL that tries to change what a backtest was asked for or found, and the rule that must refuse it."""

import psycopg
import pytest
from psycopg import errors

from billing.rollouts.backtests.operations import request_backtest, run_backtest
from tests.billing import usage
from tests.billing.rollouts.making import draft, subscribe
from tests.factories import ACTOR, NOVEMBER, OCTOBER

# Backtest 'done' has a report and lines, 'waiting' has neither, 'running' is between.
_LINE = """
INSERT INTO billing_backtestline (backtest_id, subscription_id, customer_key, starts_at, ends_at, plan_version_id,
       seats, failure_kind, failure, {columns})
SELECT (SELECT id FROM billing_backtest WHERE state = '{state}'), subscription_id, customer_key, {starts_at}, ends_at,
       plan_version_id, seats, '{kind}', '{failure}', {values} FROM billing_backtestline LIMIT 1
"""
_SIDES = [
    f"{side}_{name}"
    for side in ("current", "candidate")
    for name in ("fee", "rated", "included", "credited", "unbilled")
]


_PART = """
INSERT INTO billing_backtestpart (backtest_id, number, subscription_ids)
SELECT id, 99, '{ids}' FROM billing_backtest WHERE state = '{state}'
"""


def line(
    *, state: str = "running", kind: str = "", failure: str = "", starts_at: str = "starts_at", **values: str
) -> str:
    figures = {**dict.fromkeys(_SIDES, "0"), **values}
    return _LINE.format(
        state=state,
        kind=kind,
        failure=failure,
        starts_at=starts_at,
        columns=", ".join(figures),
        values=", ".join(figures.values()),
    )


REFUSED = (
    ("UPDATE billing_backtest SET fingerprint = repeat('0', 64) WHERE state = 'waiting'", "billing_backtest_terms"),
    ("UPDATE billing_backtest SET cohort = '{}' WHERE state = 'running'", "billing_backtest_terms"),
    ("UPDATE billing_backtest SET report = '{\"more\": []}' WHERE state = 'done'", "billing_backtest_ended"),
    ("UPDATE billing_backtest SET state = 'running', report = '{}', ended_at = NULL WHERE state = 'done'",
     "billing_backtest_ended"),
    ("UPDATE billing_backtest SET state = 'done', ended_at = now(), report = '{\"a\": 1}' WHERE state = 'waiting'",
     "billing_backtest_state"),
    ("UPDATE billing_backtest SET state = 'done', ended_at = now(), report = '{\"a\": 1}' WHERE state = 'running'",
     "billing_backtest_whole"),
    ("UPDATE billing_backtest SET state = 'stopped', ended_at = now() WHERE state = 'running'",
     "billing_backtest_stopped_says_why"),
    ("UPDATE billing_backtest SET report = '{\"a\": 1}' WHERE state = 'running'", "billing_backtest_done_has_report"),
    ("UPDATE billing_backtestpart SET subscription_ids = '{77}' WHERE done_at IS NULL", "billing_backtestpart_terms"),
    ("UPDATE billing_backtestpart SET done_at = NULL WHERE done_at IS NOT NULL", "billing_backtestpart_done"),
    (_PART.format(state="done", ids="{1}"), "billing_backtestpart_before_it_begins"),
    (_PART.format(state="waiting", ids="{}"), "billing_backtestpart_not_empty"),
    ("UPDATE billing_backtestline SET candidate_unbilled = 0, candidate_rated = 0", "billing_backtestline_append_only"),
    (line(state="done", starts_at="starts_at + interval '1 s'"), "billing_backtestline_while_running"),
    (line(current_rated="5"), "billing_backtestline_current_is_funded"),
    (line(candidate_included="NULL"), "billing_backtestline_candidate_is_funded"),
    (line(current_fee="-1"), "billing_backtestline_current_is_funded"),
    (line(kind="unrated", failure="no price"), "billing_backtestline_figures_or_failure"),
    (line(**dict.fromkeys(_SIDES, "NULL")), "billing_backtestline_figures_or_failure"),
    *((f"DELETE FROM {table}", f"{table}_kept") for table in ("billing_backtestline", "billing_backtestpart")),
    ("TRUNCATE billing_backtestline", "billing_backtestline_kept"),
)  # fmt: skip


@pytest.fixture
def three_backtests(committed_db: None) -> None:
    usage.define_token_meters()
    subscribe("acme")
    for state in ("done", "waiting", "running"):
        backtest = request_backtest(
            candidate_id=draft().pk,
            starts_at=OCTOBER,
            ends_at=NOVEMBER,
            idempotency_key=state,
            actor=ACTOR,
            now=NOVEMBER,
        )
        if state != "waiting":
            run_backtest(backtest_id=backtest.pk, clock=lambda: NOVEMBER, go_on=lambda state=state: state == "done")  # type: ignore[misc]


def test_the_owner_cannot_change_what_was_asked_for_or_found(
    three_backtests: None, owner_connection: psycopg.Connection
) -> None:
    found = {}
    for statement, _ in REFUSED:
        try:
            with owner_connection.transaction():
                owner_connection.execute(statement)
        except errors.IntegrityError as error:
            found[statement] = error.diag.constraint_name
        else:
            found[statement] = None

    assert found == dict(REFUSED)


def test_the_application_may_not_touch_lines(three_backtests: None, app_connection: psycopg.Connection) -> None:
    for statement in (
        "UPDATE billing_backtestline SET failure = ''",
        "DELETE FROM billing_backtestline",
        "DELETE FROM billing_backtest",
    ):
        with pytest.raises(errors.InsufficientPrivilege), app_connection.transaction():
            app_connection.execute(statement)
