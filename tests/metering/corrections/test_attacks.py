"""The tables of corrections, attacked by SQL: nothing of a correction is changed, and no step is taken out of turn."""

from typing import Any

import psycopg
import pytest
from psycopg import errors

from metering import operations
from metering.models import Correction
from tests.metering.corrections.making import ADA, apply, asked, backfill, of_acme, of_ids, void
from tests.metering.usage import NOW, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
TABLES = (
    "metering_correction",
    "metering_correctionpreview",
    "metering_correctionwindow",
    "metering_correctionstep",
    "metering_correctionline",
    "metering_correctionevent",
    "metering_correctionreject",
)
STEP = """INSERT INTO metering_correctionstep
                 (correction_id, position, step, at, actor, words, preview_id, caused_by_id)
          VALUES (%s, %s, %s, now(), %s, '', %s, %s)"""


@pytest.fixture(autouse=True)
def _corrected(metered: None) -> None:
    ingest(event("e1"), event("e2"))
    apply(backfill(event("new1"), event("e1")))


@pytest.fixture
def draft(_corrected: None) -> Correction:
    return operations.draft_void(of_acme(), asked(), now=NOW)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("statement", ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_nothing_of_a_correction_is_changed_or_removed(
    app_connection: psycopg.Connection, owner_connection: psycopg.Connection, table: str, statement: str
) -> None:
    assert owner_connection.execute(f"SELECT count(*) > 0 FROM {table}").fetchone() == (True,)
    with pytest.raises(errors.InsufficientPrivilege):
        app_connection.execute(statement.format(table))
    with pytest.raises(errors.RestrictViolation) as refusal:
        owner_connection.execute(statement.format(table))

    assert refusal.value.diag.constraint_name == "metering_corrections_are_kept"


@pytest.mark.parametrize(
    ("position", "step", "actor", "with_preview", "rule"),
    [
        (2, "applied", ADA, False, "metering_correction_step_order"),
        (2, "reverted", ADA, False, "metering_correction_step_order"),
        (3, "withdrawn", ADA, False, "metering_correction_step_order"),
        (1, "drafted", ADA, False, "metering_correction_step_order"),
        (2, "approved", ADA, True, "metering_correction_second_person"),
        (2, "rejected", ADA, False, "metering_correction_second_person"),
        (2, "applying", ADA, False, "metering_correctionstep_preview"),
        (2, "withdrawn", ADA, True, "metering_correctionstep_preview"),
    ],
)
def test_a_step_out_of_turn_is_refused_by_a_named_rule(
    app_connection: psycopg.Connection,
    draft: Correction,
    position: int,
    step: str,
    actor: str,
    with_preview: bool,
    rule: str,
) -> None:
    preview = draft.previews.get().pk if with_preview else None

    assert refused(app_connection, STEP, [draft.pk, position, step, actor, preview, None]) == rule


def test_a_step_names_a_preview_of_its_own_correction(app_connection: psycopg.Connection, draft: Correction) -> None:
    other = Correction.objects.get(kind="backfill").previews.get().pk

    rule = refused(app_connection, STEP, [draft.pk, 2, "applying", ADA, other, None])
    assert rule == "metering_correction_own_preview"


def test_what_needs_two_people_is_not_begun_by_one(app_connection: psycopg.Connection, settings: Any) -> None:
    settings.METERING_CORRECTION_ALONE_EVENTS = 0
    large = operations.draft_void(of_acme(), asked(), now=NOW)

    rule = refused(app_connection, STEP, [large.pk, 2, "applying", ADA, large.previews.get().pk, None])
    assert rule == "metering_correction_needs_approval"


def test_only_a_correction_that_says_so_reverts_another(app_connection: psycopg.Connection, draft: Correction) -> None:
    applied = Correction.objects.get(kind="backfill")

    rule = refused(app_connection, STEP, [applied.pk, 4, "reverting", ADA, None, draft.pk])
    assert rule == "metering_correction_reverted_by"


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ("'delete', 'other', 'why', NULL", "metering_correction_kind"),
        ("'void', 'other', '', NULL", "metering_correction_reason_given"),
        ("'void', '', 'why', NULL", "metering_correction_reason_given"),
        ("'revert', 'other', 'why', NULL", "metering_correction_reverts"),
    ],
)
def test_a_correction_says_what_and_why(app_connection: psycopg.Connection, columns: str, rule: str) -> None:
    statement = (
        "INSERT INTO metering_correction (kind, reason_code, reason, reverts_id, selection, drafted_by, drafted_at,"
        f" idempotency_key) VALUES ({columns}, '{{}}', 'user:ada', now(), 'attack')"
    )

    assert refused(app_connection, statement, []) == rule


def test_an_event_is_marked_once_at_each_position(app_connection: psycopg.Connection) -> None:
    void(of_ids("e1"))
    again = (
        "INSERT INTO metering_event_mark (key, event_time, position, sign, correction_id, marked_at)"
        " SELECT key, event_time, 1, -1, correction_id, marked_at FROM metering_event_mark"
    )

    assert refused(app_connection, again, []) == "metering_mark_once"


def test_an_event_is_brought_by_one_correction_only(app_connection: psycopg.Connection, draft: Correction) -> None:
    statement = (
        "INSERT INTO metering_correctionevent (correction_id, key, event_time, role, line_number)"
        f" SELECT {draft.pk}, key, event_time, role, line_number FROM metering_correctionevent"
        " WHERE role = 'backfilled'"
    )

    assert refused(app_connection, statement, []) == "metering_correctionevent_brought_once"


def refused(connection: psycopg.Connection, statement: str, values: list[Any]) -> str | None:
    """The name of the rule that refuses the statement."""
    with pytest.raises(errors.IntegrityError) as refusal:
        connection.execute(statement, values)
    return refusal.value.diag.constraint_name
