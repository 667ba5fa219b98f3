"""Statements in the database: each line once, whatever is imported again or at once; and nobody changes them."""

import threading
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections
from psycopg import errors

from billing.payments.bank.matches import decide_line, match_by_hand, match_by_rule, undo_match
from billing.payments.bank.models import BankAccount, BankLine, BankMatch, BankStatement
from billing.payments.bank.queries import in_states, live_matches
from billing.payments.bank.reading import BadFile
from billing.payments.models import Payout
from billing.payments.two_people import InvalidRequest, NotPermitted
from tests.billing.accounting.people import FIONA, SAM, hire
from tests.billing.payments.bank.importing import BY_ID, HEAD, NOON, RULES, content, take

A, B, C = "2026-10-05,5.00,STRIPE", "2026-10-05,7.00,rent", "2026-10-06,9.00,STRIPE"
BY_HAND: dict[str, Any] = {"why": "seen at the bank", "actor": FIONA, "now": NOON}


def payout(number: int, amount: int, *, day: int = 5) -> Payout:
    at = NOON.replace(month=10, day=day, hour=0)
    return Payout.objects.create(
        stripe_payout_id=f"po_{number}",
        status="paid",
        amount_minor=amount,
        currency="USD",
        is_automatic=True,
        occurred_at=at - timedelta(days=2),
        expected_at=at,
        arrived_at=at,
        projected_at=at,
    )


def pairs() -> set[tuple[str, str]]:
    """Of the matches that count: the reference's line and the payout."""
    return {
        (part.line.reference, one.payout.stripe_payout_id)
        for match in live_matches()
        for part in match.lines.all()
        for one in match.payouts.all()
    }


def test_a_line_is_kept_once_however_it_is_imported(db: None) -> None:
    hire()
    first = take(A, B)
    assert take(A, B) == first
    overlapping = take(B, C, A, A)

    assert (first.new_count, overlapping.new_count, overlapping.line_count) == (2, 2, 4)
    assert sorted(BankLine.objects.values_list("amount_minor", "number")) == [(500, 1), (500, 2), (700, 1), (900, 1)]
    assert take(A, account="Other").new_count == 1

    by_id = take(f"{A},a1", f"{A},a2", account="Ids", rules=BY_ID, head=f"{HEAD},Id")
    assert by_id.new_count == 2
    with pytest.raises(BadFile, match="line 2, column Id: a1 was imported before with another"):
        take("2026-10-05,5.01,STRIPE,a1", "2026-10-05,5.00,new,a3", account="Ids", rules=BY_ID, head=f"{HEAD},Id")
    assert BankLine.objects.filter(account__name="Ids").count() == 2


def test_what_would_take_lines_twice_or_open_an_account_by_a_slip_is_refused(db: None) -> None:
    hire()
    take(A)
    with pytest.raises(InvalidRequest, match=r"There is no account 'Mian' \(Main\)"):
        take(A, account="Mian", new_account=None)
    with pytest.raises(InvalidRequest, match="told apart without the bank's id"):
        take(f"{A},1", rules=BY_ID, head=f"{HEAD},Id")
    other = {"booked": "Date", "amount": "Amount", "reference": "Id"}
    with pytest.raises(InvalidRequest, match="told apart by the text of Text"):
        take(f"{A},1", rules=type(RULES)(other, "YYYY-MM-DD", "point"), head=f"{HEAD},Id")
    with pytest.raises(NotPermitted):
        take(B, actor=SAM)
    with pytest.raises(BadFile):
        take(B, "2026-10-05,wrong,x")
    assert (BankAccount.objects.count(), BankLine.objects.count()) == (1, 1)


def test_what_became_known_first_does_not_matter(db: None) -> None:
    hire()
    payout(1, 500), payout(2, 900)
    take(A)
    assert (match_by_rule(currency="USD", now=NOON).made, pairs()) == (1, {("STRIPE", "po_1")})
    take("2026-10-06,5.00,STRIPE again", C)
    ran = match_by_rule(currency="USD", now=NOON)

    # Two lines could be po_1 now. With both in one file neither would have been it.
    assert ((ran.made, ran.undone), pairs()) == ((1, 1), {("STRIPE", "po_2")})
    assert match_by_rule(currency="USD", now=NOON) == type(ran)(0, 0)
    waiting = in_states(BankLine.objects.all()).filter(is_waiting=True)
    assert {line.amount_minor for line in waiting} == {500}

    again = BankLine.objects.get(reference="STRIPE again")
    decide_line(line_id=again.pk, is_stripes=False, **BY_HAND)
    assert match_by_rule(currency="USD", now=NOON).made == 1
    with pytest.raises(InvalidRequest, match="matched with a payout"):
        decide_line(line_id=BankLine.objects.get(amount_minor=500, reference="STRIPE").pk, is_stripes=False, **BY_HAND)


def test_several_payouts_in_one_line_and_a_difference_take_a_person(db: None) -> None:
    hire()
    take("2026-10-05,14.00,STRIPE", A)
    legs = [(payout(1, 500).pk, "arrived"), (payout(2, 900).pk, "arrived")]
    both = BankLine.objects.get(amount_minor=1400)
    match_by_rule(currency="USD", now=NOON)
    five = live_matches().get()

    with pytest.raises(InvalidRequest, match="matched already"):
        match_by_hand(line_ids=[both.pk], keys=legs, expected_difference_minor=0, **BY_HAND)
    undo_match(match_id=five.pk, **BY_HAND)
    assert match_by_rule(currency="USD", now=NOON).made == 0  # what a person undid is not said again
    with pytest.raises(InvalidRequest, match=r"differ by \$5\.00 now"):
        match_by_hand(line_ids=[both.pk], keys=legs[1:], expected_difference_minor=0, **BY_HAND)
    for wrong in ({"why": " "}, {"actor": SAM}):
        with pytest.raises((InvalidRequest, NotPermitted)):
            match_by_hand(line_ids=[both.pk], keys=legs, expected_difference_minor=0, **{**BY_HAND, **wrong})

    match = match_by_hand(line_ids=[both.pk], keys=legs, expected_difference_minor=0, **BY_HAND)
    assert (match.kind, match.payouts.count(), match.matched_by) == ("by_hand", 2, FIONA)
    with pytest.raises(InvalidRequest, match="one line and any payouts"):
        match_by_hand(line_ids=[both.pk, five.pk], keys=legs, expected_difference_minor=0, **BY_HAND)


def test_two_at_once_keep_each_line_and_match_each_payout_once(committed_db: None) -> None:
    hire()
    payout(1, 500)
    start = threading.Barrier(2)
    failures: list[Exception] = []

    def work(name: str) -> None:
        try:
            start.wait(timeout=20)
            take(A, B, file_name=name)
            match_by_rule(currency="USD", now=NOON)
        except (DatabaseError, InvalidRequest) as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one.csv", "two.csv")]
    for one in threads:
        one.start()
    for one in threads:
        one.join(timeout=30)

    assert failures == []
    assert (BankAccount.objects.count(), BankStatement.objects.count(), BankLine.objects.count()) == (1, 1, 2)
    assert pairs() == {("STRIPE", "po_1")}


@pytest.fixture
def matched(committed_db: None) -> dict[str, Any]:
    hire()
    payout(1, 500), payout(2, 700)
    take(A, B)
    match_by_rule(currency="USD", now=NOON)
    return {"five": BankLine.objects.get(amount_minor=500).pk, "seven": BankLine.objects.get(amount_minor=700).pk}


TABLES = ("bankaccount", "bankstatement", "bankline", "bankmatch", "bankmatchline", "bankmatchpayout")
MATCH = (
    "WITH made AS (INSERT INTO billing_bankmatch (kind, currency, difference_minor, why, matched_at, matched_by) VALUES"
    " ('{kind}', 'USD', {difference}, 'x', now(), 'user:mallory') RETURNING id), line AS (INSERT INTO"
    " billing_bankmatchline (match_id, line_id, number) SELECT id, {line}, {number} FROM made) INSERT INTO"
    " billing_bankmatchpayout (match_id, payout_id, leg, number) SELECT made.id, payout.id, 'arrived', 1 FROM made,"
    " billing_payout payout WHERE stripe_payout_id = '{payout}'"
)


@pytest.mark.parametrize("role", ["app_connection", "owner_connection"])
def test_attack(matched: dict[str, Any], role: str, request: pytest.FixtureRequest) -> None:
    connection: psycopg.Connection = request.getfixturevalue(role)

    def refused(statement: str, rule: str) -> None:
        with pytest.raises((errors.IntegrityError, errors.InsufficientPrivilege)) as error:
            connection.execute(statement.encode())
        if not isinstance(error.value, errors.InsufficientPrivilege):
            assert rule in str(error.value.diag.constraint_name), statement

    for table in TABLES:
        refused(f"UPDATE billing_{table} SET id = id + 100", f"billing_{table}_append_only")
        refused(f"DELETE FROM billing_{table}", f"billing_{table}_kept")
    refused("UPDATE billing_bankline SET amount_minor = 1", "billing_bankline_append_only")
    five, seven = matched["five"], matched["seven"]
    given = {"kind": "by_hand", "difference": 0, "line": seven, "number": 1, "payout": "po_2"}
    refused(MATCH.format(**{**given, "line": five, "difference": -200}), "billing_bankmatchline_one_at_once")
    refused(
        MATCH.format(**{**given, "line": five, "number": 2, "difference": -200}), "billing_bankmatchline_one_at_once"
    )
    refused(MATCH.format(**{**given, "payout": "po_1", "difference": 200}), "billing_bankmatchpayout_o")
    refused(MATCH.format(**{**given, "difference": 1}), "billing_bankmatch_whole")
    refused(MATCH.format(**{**given, "kind": "exact"}), "billing_bankmatch_by_whom")
    refused(
        "INSERT INTO billing_bankmatch (kind, currency, difference_minor, why, matched_at, matched_by)"
        " VALUES ('by_hand', 'USD', 0, 'x', now(), 'user:mallory')",
        "billing_bankmatch_whole",
    )
    refused(
        f"INSERT INTO billing_bankmatchline (match_id, line_id, number) SELECT id, {seven}, 1 FROM billing_bankmatch",
        "billing_bankmatch_whole",
    )
    refused(
        "INSERT INTO billing_bankline (account_id, statement_id, line_number, booked_on, amount_minor, currency,"
        " reference, bank_id, identity, number) SELECT account_id, statement_id, 9, booked_on, 1, 'EUR', '', '', 'x', 1"
        " FROM billing_bankline LIMIT 1",
        "billing_bankline_of_account",
    )
    connection.execute(MATCH.format(**given).encode())
    assert BankMatch.objects.count() == 2


def test_the_command_looks_imports_and_refuses(db: None, tmp_path: Path) -> None:
    hire()
    payout(1, 500)
    file = tmp_path / "october.csv"
    file.write_bytes(content(A, B))
    options = ["--account=Main", "--dates=YYYY-MM-DD", "--decimal=point", "--by=user:fiona", "--map=booked=Date"]
    options += ["--map=amount=Amount", "--map=reference=Text"]

    def run(*more: str) -> str:
        said = StringIO()
        call_command("import_bank_statement", str(file), *options, *more, stdout=said)
        return said.getvalue()

    with pytest.raises(CommandError, match="account: There is no account 'Main'") as refused:
        run()
    assert refused.value.returncode == 2
    assert "2 lines, together $12.00; 2 of them are new" in run("--new-account=USD", "--look")
    assert BankAccount.objects.count() == 0
    assert "2 of 2 lines are new\n1 matched with payouts" in run("--new-account=USD")
    assert "2 of 2 lines are new\n0 matched" in run()  # the statement that is there already
    file.write_bytes(content(A, "2026-10-05,x,y"))
    with pytest.raises(CommandError, match="line 3, column Amount: 'x' is no amount"):
        run()


def test_two_by_sql_at_once_match_one_line_once(
    matched: dict[str, Any], app_connection: psycopg.Connection, owner_connection: psycopg.Connection
) -> None:
    """Past the lock of our operations: the second waits for the first, and then has its number."""
    given = {"kind": "by_hand", "difference": 0, "line": matched["seven"], "number": 1, "payout": "po_2"}
    refused: list[str | None] = []

    def second() -> None:
        try:
            owner_connection.execute(MATCH.format(**given).encode())
        except errors.UniqueViolation as error:
            refused.append(error.diag.constraint_name)

    with app_connection.transaction():
        app_connection.execute(MATCH.format(**given).encode())
        other = threading.Thread(target=second)
        other.start()
        other.join(timeout=0.2)
        assert other.is_alive()
    other.join(timeout=20)

    assert refused[0] in ("billing_bankmatchline_once", "billing_bankmatchpayout_once")
    assert BankMatch.objects.count() == 2
