"""An account that was closed at the bank, and payouts that failed before anybody heard that they were paid."""

from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from django.urls import reverse
from psycopg import errors

from billing.admin_links import list_url, page_url
from billing.payments.bank.accounts import close_account
from billing.payments.bank.matches import match_by_hand, match_by_rule, undo_match
from billing.payments.bank.models import BankAccount, BankLine, BankMatch
from billing.payments.bank.queries import in_states
from billing.payments.bank.reading import BadFile
from billing.payments.models import Payout
from billing.payments.two_people import InvalidRequest, NotPermitted
from billing.reconciliation.bank_checks import bank_lines
from billing.reconciliation.comparison import Pair, Scope
from tests.billing.accounting.people import FIONA, SAM, hire
from tests.billing.payments.bank.importing import NOON, take
from tests.billing.payments.bank.test_payouts_at_the_bank import client_of
from tests.billing.payments.bank.test_statements import A, C, pairs, payout

OCT_5, OCT_6 = date(2026, 10, 5), date(2026, 10, 6)


def test_a_closed_account_takes_no_line_of_a_later_day(
    committed_db: None, app_connection: psycopg.Connection, owner_connection: psycopg.Connection
) -> None:
    hire()
    take(A)
    account = BankAccount.objects.get()
    finance, address = client_of(FIONA), reverse("admin:billing_bankaccount_close", args=[account.pk])
    assert client_of(SAM).get(address).status_code == 403
    assert finance.get(address).status_code == 200
    early = finance.post(address, {"closed_on": "2026-10-04", "reason": "moved"})
    assert (early.status_code, "has a line of 2026-10-05" in early.content.decode()) == (422, True)
    assert finance.post(address, {"closed_on": "2026-10-05", "reason": ""}).status_code == 422
    assert finance.post(address, {"closed_on": "2026-10-05", "reason": "moved to another bank"}).status_code == 302
    page = finance.get(page_url("billing.bankaccount", account.pk)).content.decode()
    assert "user:fiona: moved to another bank" in page
    assert "05 Oct 2026" in finance.get(list_url("billing.bankaccount")).content.decode()

    with pytest.raises(BadFile, match="line 3, column Date: 2026-10-06, and Main was closed on 2026-10-05 \\(moved"):
        take(A, C)
    assert take(A).line_count == 1
    attack = (
        "INSERT INTO billing_bankline (account_id, statement_id, line_number, booked_on, amount_minor, currency,"
        " reference, bank_id, identity, number) SELECT account_id, statement_id, 9, '2026-10-06', 1, 'USD', '', '',"
        " 'x', 1 FROM billing_bankline LIMIT 1"
    )
    early_closing = (
        "INSERT INTO billing_bankaccountclosing (account_id, closed_on, reason, recorded_at, recorded_by)"
        " SELECT id, '2026-10-01', 'x', now(), 'user:mallory' FROM billing_bankaccount"
    )
    for statement, rule in (
        (attack, "billing_bankline_after_closing"),
        (early_closing, "billing_bankaccountclosing_before_lines"),
        ("DELETE FROM billing_bankaccountclosing", "billing_bankaccountclosing_kept"),
        ("UPDATE billing_bankaccountclosing SET closed_on = NULL", "billing_bankaccountclosing_append_only"),
    ):
        for connection in (app_connection, owner_connection):
            with pytest.raises((errors.IntegrityError, errors.InsufficientPrivilege)) as refused:
                connection.execute(statement.encode())
            assert refused.value.diag.constraint_name in (rule, None)

    given: dict[str, Any] = {"account_id": account.pk, "actor": FIONA, "now": NOON, "reason": "it is open after all"}
    with pytest.raises(NotPermitted):
        close_account(**{**given, "actor": SAM}, closed_on=None)
    with pytest.raises(InvalidRequest, match="still to come"):
        close_account(**given, closed_on=NOON.date() + timedelta(days=1))
    assert close_account(**given, closed_on=OCT_5).pk == account.closings.get().pk
    assert close_account(**given, closed_on=None).closed_on is None
    assert take(A, C).new_count == 1


def failed(number: int, amount: int) -> Payout:
    """Of the 5th; it came back on the 7th, and nobody told us that it was paid between."""
    at = NOON.replace(month=10, day=5, hour=0)
    return Payout.objects.create(
        stripe_payout_id=f"po_{number}",
        status="failed",
        amount_minor=amount,
        currency="USD",
        is_automatic=True,
        occurred_at=at - timedelta(days=2),
        expected_at=at,
        returned_at=at + timedelta(days=2),
        projected_at=at,
    )


def discrepancies() -> list[str]:
    scope = Scope(range_start=NOON - timedelta(days=60), range_end=NOON + timedelta(days=60))
    return [pair.subject for pair in bank_lines(scope) if isinstance(pair, Pair) and pair.left != pair.right]


def test_one_that_failed_before_we_heard_that_it_was_paid(db: None) -> None:
    hire()
    one = failed(1, 500)
    take("2026-10-05,5.00,STRIPE", account="Main")
    # Without a line back it is some other payout's: nothing says that this one ever was there.
    assert (match_by_rule(currency="USD", now=NOON).made, discrepancies()) == (0, [str_of_line(500)])
    take("2026-10-07,-5.00,STRIPE RETURN")
    assert match_by_rule(currency="USD", now=NOON).made == 2
    assert sorted(BankMatch.objects.values_list("payouts__leg", "lines__line__amount_minor")) == [
        ("arrived", 500),
        ("returned", -500),
    ]
    assert discrepancies() == []
    again = match_by_rule(currency="USD", now=NOON)
    assert (again.made, again.undone) == (0, 0)

    # One of the same amount a day later: two lines and two payouts, and no word which is which.
    payout(2, 500, day=6)
    take("2026-10-06,5.00,STRIPE")
    ran = match_by_rule(currency="USD", now=NOON)
    assert (ran.made, ran.undone, pairs()) == (0, 1, {("STRIPE RETURN", "po_1")})
    five = BankLine.objects.get(booked_on=OCT_5)
    match_by_hand(
        line_ids=[five.pk], keys=[(one.pk, "arrived")], expected_difference_minor=0, why="by its day", actor=FIONA,
        now=NOON,
    )  # fmt: skip
    assert match_by_rule(currency="USD", now=NOON).made == 1
    assert pairs() == {("STRIPE", "po_1"), ("STRIPE", "po_2"), ("STRIPE RETURN", "po_1")}
    assert (in_states(BankLine.objects.all()).filter(is_waiting=True).count(), discrepancies()) == (0, [])
    back = BankMatch.objects.get(payouts__leg="returned")
    undo_match(match_id=back.pk, why="it was none", actor=FIONA, now=NOON)
    assert "payout po_1 never arrived" in discrepancies()


def str_of_line(amount: int) -> str:
    line = BankLine.objects.get(amount_minor=amount)
    return f"{line} of {line.account}, {line.booked_on}"
