"""
The two posting functions as the application's role can call them, past `ledger.operations`: with whatever JSON, under
whatever search_path. Each answers the name of a rule or breaks the call; both do the same.
"""

import json
from typing import Any

import pytest
from django.db import DataError, Error, IntegrityError, connection, transaction
from psycopg import errors

from ledger.operations import close_account
from ledger.queries import accounts_out_of_step, balance_of, count_entries, out_of_balance
from tests.ledger.chart import FIRST, GRANT, OTHERS_UNBILLED, PROMOTIONS, REVENUE, UNBILLED, accrual, issue, post

ONE_BY_ONE = "SELECT entry_id, created, rule FROM ledger_post_entry(%s::jsonb, '2026-10-01')"
IN_BATCHES = "SELECT entry_id, created, rule FROM ledger_post_entries(jsonb_build_array(%s::jsonb), '2026-10-01')"
SYSTEM_ENTRY = {
    "idempotency_key": "raw",
    "kind": "x",
    "memo": "",
    "effective_at": "2026-10-01T00:00:00Z",
    "actor": "app",
    "cause": {},
    "body_digest": "\\x" + "00" * 32,
    "lines": [[PROMOTIONS, "1"], [REVENUE, "-1"]],
}
both = pytest.mark.parametrize("function", [ONE_BY_ONE, IN_BATCHES], ids=["one by one", "in batches"])


@pytest.fixture(autouse=True)
def _world(chart: None) -> None:
    """Unbilled 5, grant 10, one closed account."""
    post(accrual("usage", "5"))
    post(issue("issue", "10"))
    close_account(code=OTHERS_UNBILLED, closed_at=FIRST)


def call(function: str, **changes: object) -> tuple[Any, ...]:
    """Call one of the functions with an entry that differs from an honest one by `changes`; nothing of it stays."""
    return call_with(function, json.dumps({**SYSTEM_ENTRY, **changes}))


def call_with(function: str, body: str) -> tuple[Any, ...]:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(function, [body])
            rows = cursor.fetchall()
        assert out_of_balance() == []
        assert accounts_out_of_step() == []
        transaction.set_rollback(True)
    (row,) = rows
    return row


def refusal_of(function: str, body: str) -> str:
    """The rule that was answered, or how PostgreSQL broke the call off."""
    try:
        _, _, rule = call_with(function, body)
    except Error as error:
        broken = error.__cause__
        return getattr(getattr(broken, "diag", None), "constraint_name", None) or type(broken).__name__
    return rule or "posted"


REFUSALS = [
    ({"lines": []}, "ledger_entry_empty"),
    ({"lines": [[REVENUE, "1"]]}, "ledger_entry_empty"),
    ({"lines": [[PROMOTIONS, "1"], [REVENUE, "-2"]]}, "ledger_entry_balanced"),
    ({"lines": [[PROMOTIONS, "0"], [REVENUE, "0"]]}, "ledger_posting_amount"),
    ({"lines": [[PROMOTIONS, "-0"], [REVENUE, "0"]]}, "ledger_posting_amount"),
    ({"lines": [[PROMOTIONS, "NaN"], [REVENUE, "NaN"]]}, "ledger_posting_amount"),
    ({"lines": [[PROMOTIONS, "1"], [PROMOTIONS, "NaN"], [REVENUE, "-1"]]}, "ledger_posting_amount"),
    ({"lines": [[PROMOTIONS, "Infinity"], [REVENUE, "-Infinity"]]}, "ledger_posting_amount"),
    ({"lines": [[PROMOTIONS, "1e30"], [REVENUE, "-1e30"]]}, "ledger_posting_amount"),
    ({"lines": [[PROMOTIONS, "1e26"], [REVENUE, "-1e26"]]}, "ledger_posting_amount"),
    ({"lines": [[PROMOTIONS, "1e-13"], [REVENUE, "-1e-13"]]}, "ledger_posting_amount"),
    ({"lines": [[PROMOTIONS, None], [REVENUE, None]]}, "ledger_posting_amount"),
    ({"lines": [[PROMOTIONS], [REVENUE]]}, "ledger_posting_amount"),
    ({"lines": [["nowhere", "1"], [REVENUE, "-1"]]}, "ledger_account_unknown"),
    ({"lines": [[None, "1"], [REVENUE, "-1"]]}, "ledger_account_unknown"),
    ({"lines": [["", "1"], [REVENUE, "-1"]]}, "ledger_account_unknown"),
    ({"lines": [[f"{REVENUE} ", "1"], [REVENUE, "-1"]]}, "ledger_account_unknown"),
    ({"lines": [[OTHERS_UNBILLED, "1"], [REVENUE, "-1"]]}, "ledger_account_closed"),
    ({"lines": [["fx:EUR", "1"], [REVENUE, "-1"]]}, "ledger_entry_currency"),
    ({"lines": [["fx:EUR", "1"], [UNBILLED, "-1"]], "kind": "fx"}, "ledger_entry_balanced"),
    ({"lines": [[GRANT, "10.000000000001"], [REVENUE, "-10.000000000001"]]}, "ledger_account_floor"),
    ({"lines": [[GRANT, "6"], [GRANT, "5"], [REVENUE, "-11"]]}, "ledger_account_floor"),
    ({"idempotency_key": "usage"}, "ledger_key_reused"),
    ({"idempotency_key": "usage", "lines": []}, "ledger_key_reused"),
    ({"idempotency_key": "usage", "actor": ""}, "ledger_key_reused"),
    ({"idempotency_key": "usage", "memo": "x" * 501}, "ledger_key_reused"),
]


@both
@pytest.mark.parametrize(("changes", "rule"), REFUSALS)
def test_it_answers_the_rule(function: str, changes: dict[str, object], rule: str) -> None:
    assert call(function, **changes) == (None, False, rule)


@both
@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"idempotency_key": "reversal:1"}, "ledger_entry_reversal_key"),
        ({"idempotency_key": "reversal:9999999", "reverses_id": 9999999}, "ledger_reversal_mirrors"),
        ({"reverses_id": 9999999}, "ledger_entry_reversal_key"),
        ({"body_digest": "\\x00"}, "ledger_entry_digest"),
        ({"body_digest": "\\x" + "00" * 33}, "ledger_entry_digest"),
        ({"body_digest": "00" * 32}, "ledger_entry_digest"),
        ({"actor": ""}, "ledger_entry_named"),
        ({"kind": ""}, "ledger_entry_named"),
        ({"idempotency_key": ""}, "ledger_entry_named"),
    ],
)
def test_what_it_takes_the_rules_refuse(function: str, changes: dict[str, object], rule: str) -> None:
    with pytest.raises(IntegrityError) as refusal:
        call(function, **changes)

    assert isinstance(refusal.value.__cause__, errors.CheckViolation)
    assert refusal.value.__cause__.diag.constraint_name == rule


@both
@pytest.mark.parametrize("column", ["idempotency_key", "kind", "memo", "effective_at", "actor", "cause", "body_digest"])
def test_it_takes_no_entry_without(function: str, column: str) -> None:
    for changed in ({**SYSTEM_ENTRY, column: None}, {k: v for k, v in SYSTEM_ENTRY.items() if k != column}):
        with pytest.raises(IntegrityError) as refusal:
            call_with(function, json.dumps(changed))

        assert isinstance(refusal.value.__cause__, errors.NotNullViolation)
        assert refusal.value.__cause__.diag.column_name == column


@both
@pytest.mark.parametrize(
    "body",
    [
        '{"idempotency_key": "a\\u0000b"}',
        '{"lines": [["a\\u0000b", "1"]]}',
        json.dumps({**SYSTEM_ENTRY, "lines": {}}),
        json.dumps({**SYSTEM_ENTRY, "lines": "x"}),
        json.dumps({**SYSTEM_ENTRY, "lines": None}),
        json.dumps({**SYSTEM_ENTRY, "lines": [[PROMOTIONS, "one"], [REVENUE, "-1"]]}),
        json.dumps({**SYSTEM_ENTRY, "lines": [[PROMOTIONS, "1; DROP TABLE x"], [REVENUE, "-1"]]}),
        json.dumps({**SYSTEM_ENTRY, "effective_at": "yesterdayish"}),
        json.dumps({**SYSTEM_ENTRY, "body_digest": "\\xzz"}),
        json.dumps({**SYSTEM_ENTRY, "reverses_id": "x"}),
        json.dumps({**SYSTEM_ENTRY, "idempotency_key": "k" * 201}),
        json.dumps({**SYSTEM_ENTRY, "memo": "x" * 501}),
    ],
    ids=lambda body: body[:60],
)
def test_what_is_no_entry_breaks_the_call(function: str, body: str) -> None:
    with pytest.raises(DataError):
        call_with(function, body)


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "{}",
        "null",
        '"x"',
        json.dumps([SYSTEM_ENTRY]),
        json.dumps({**SYSTEM_ENTRY, "lines": [{PROMOTIONS: "1"}, [REVENUE, "-1"]]}),
        json.dumps({**SYSTEM_ENTRY, "lines": [PROMOTIONS, REVENUE]}),
        json.dumps({**SYSTEM_ENTRY, "lines": [[PROMOTIONS, 1], [REVENUE, -1]]}),
        json.dumps({**SYSTEM_ENTRY, "lines": [[PROMOTIONS, "1.0000000000000"], [REVENUE, "-1"]]}),
        json.dumps({**SYSTEM_ENTRY, "lines": [[[PROMOTIONS], "1"], [REVENUE, "-1"]]}),
        json.dumps({**SYSTEM_ENTRY, "cause": ["x"]}),
        json.dumps({**SYSTEM_ENTRY, "effective_at": "infinity"}),
        json.dumps({**SYSTEM_ENTRY, "created": True, "id": 1, "recorded_xid": 1, "entry_id": 7}),
        json.dumps({**SYSTEM_ENTRY, "idempotency_key": "usage", "effective_at": None}),
    ],
    ids=lambda body: body.removeprefix(json.dumps(SYSTEM_ENTRY)[:80])[-60:],
)
def test_both_say_the_same(body: str) -> None:
    assert refusal_of(ONE_BY_ONE, body) == refusal_of(IN_BATCHES, body)


@both
@pytest.mark.parametrize("count", [2, 20, 22, 32_766])
def test_an_entry_may_have_as_many_lines_as_there_are_numbers(function: str, count: int) -> None:
    lines = [[UNBILLED, "1"], [REVENUE, "-1"]] * (count // 2)

    assert refusal_of(function, json.dumps({**SYSTEM_ENTRY, "lines": lines})) == "posted"


@both
def test_an_entry_has_no_more_lines_than_there_are_numbers(function: str) -> None:
    lines = [[UNBILLED, "1"], [REVENUE, "-1"]] * 16_384

    assert refusal_of(function, json.dumps({**SYSTEM_ENTRY, "lines": lines})) == "NumericValueOutOfRange"


@both
@pytest.mark.parametrize(
    "lines",
    [
        [[REVENUE, "-1"], [GRANT, "11"], [GRANT, "-10"]],
        [[GRANT, "4"], [UNBILLED, "-1"], [GRANT, "-3"]],
        [[REVENUE, "-1"], [REVENUE, "2"], [REVENUE, "-1"]],
        [[REVENUE, "-3"], [PROMOTIONS, "1"], [UNBILLED, "1"], [UNBILLED, "1"]],
    ],
)
def test_an_account_may_stand_in_several_lines(function: str, lines: list[list[str]]) -> None:
    assert call(function, lines=lines)[1:] == (True, None)


@both
def test_tables_of_the_same_names_do_not_mislead_it(function: str) -> None:
    with connection.cursor() as cursor:
        for table in ("ledger_account", "ledger_posting", "ledger_journalentry", "ledger_periodclosing", "ledger_seal"):
            cursor.execute(f"CREATE TEMPORARY TABLE {table} (LIKE public.{table} INCLUDING ALL)")
        cursor.execute("INSERT INTO pg_temp.ledger_account SELECT * FROM public.ledger_account")
        cursor.execute("UPDATE pg_temp.ledger_account SET floor = NULL, balance = 1000, version = 9 WHERE floor = 0")
        cursor.execute("SET LOCAL search_path = pg_temp, public")

        with transaction.atomic():
            cursor.execute(function, [json.dumps({**SYSTEM_ENTRY, "lines": [[GRANT, "11"], [REVENUE, "-11"]]})])
            assert cursor.fetchall() == [(None, False, "ledger_account_floor")]
            cursor.execute(function, [json.dumps({**SYSTEM_ENTRY, "lines": [[GRANT, "1"], [REVENUE, "-1"]]})])
            assert cursor.fetchall()[0][1:] == (True, None)
        cursor.execute("SELECT count(*) FROM pg_temp.ledger_posting")
        assert cursor.fetchone() == (0,)
        cursor.execute("SET LOCAL search_path = public, pg_temp")

    assert balance_of(GRANT) == 9
    assert count_entries() == 3


@both
def test_functions_of_the_same_names_do_not_mislead_it(function: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION pg_temp.abs(numeric) RETURNS numeric LANGUAGE sql RETURN 1")
        cursor.execute("CREATE FUNCTION pg_temp.jsonb_array_length(jsonb) RETURNS integer LANGUAGE sql RETURN 2")
        cursor.execute("SET LOCAL search_path = pg_temp, public, pg_catalog")

    assert call(function, lines=[[PROMOTIONS, "0"], [REVENUE, "0"]])[2] == "ledger_posting_amount"
