"""Where a line could be taken twice, lost, or for another payout, and where two things happen at once."""

import threading
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction
from django.test import Client
from django.urls import reverse

from billing.accounting.chart import system_account_specs
from billing.accounting.payouts import post_payout_arrived
from billing.admin_links import list_url
from billing.payments.bank.composition import record_composition
from billing.payments.bank.matches import LOOK_BACK_DAYS, match_by_hand, match_by_rule
from billing.payments.bank.models import BankLine, BankMatch
from billing.payments.bank.reading import BadFile
from billing.payments.bank.showing import account_sections, comparison_of
from billing.payments.bank.statements import NewAccount
from billing.payments.models import BalanceTransaction, Payout
from billing.payments.two_people import InvalidRequest
from billing.reconciliation.bank_checks import bank_lines
from billing.reconciliation.comparison import Scope
from billing.takeover.models import Takeover
from ledger.operations import open_accounts
from tests.billing.accounting.people import FIONA, hire, user_of
from tests.billing.payments.bank.importing import BY_ID, HEAD, NOON, take
from tests.billing.payments.bank.test_statements import BY_HAND, A, B, C, pairs, payout


def test_a_file_that_lacks_a_line_of_a_day_it_shares_is_refused(db: None) -> None:
    """The morning's coffee and the evening's are equal: a file of half a day would lose one of them in silence."""
    hire()
    coffee = "2026-10-05,-3.00,coffee"
    take(coffee, B)
    with pytest.raises(BadFile, match=r"2026-10-05: line 3 of october\.csv \(.*7.00, rent\) was kept .* whole days"):
        take(coffee, C, file_name="evening.csv")
    take(coffee, B, coffee, C, file_name="whole.csv")
    assert BankLine.objects.filter(reference="coffee").count() == 2
    assert take(C, file_name="later.csv").new_count == 0

    # Ids tell lines apart whatever else is in the file.
    take(f"{A},a1", account="Ids", rules=BY_ID, head=f"{HEAD},Id")
    assert take(f"{B},a2", account="Ids", rules=BY_ID, head=f"{HEAD},Id").new_count == 1


@pytest.mark.parametrize("currency", ["A1B", "XXXX", "eur", "EUR\n", ""])
def test_what_is_no_currency_opens_no_account(currency: str, db: None) -> None:
    hire()
    with pytest.raises(InvalidRequest, match="currency of three letters"):
        take(A, new_account=NewAccount(currency))


def test_a_line_that_names_one_payout_is_no_other(db: None) -> None:
    """po_1 came too late for the rule; po_2 is near and of the same amount, but it is not what the line names."""
    hire()
    one, _ = payout(1, 500, day=5), payout(2, 500, day=14)
    Payout.objects.filter(pk=one.pk).update(trace_id="TRACE00001")
    take("2026-10-14,5.00,STRIPE TRACE00001")
    assert (match_by_rule(currency="USD", now=NOON).made, pairs()) == (0, set())


def test_a_match_at_the_border_of_the_look_back_stays(db: None) -> None:
    """The payout before it is not looked at any more, but its line is still its line."""
    hire()
    old, _ = payout(1, 500, day=5), payout(2, 500, day=6)
    Payout.objects.filter(pk=old.pk).update(trace_id="TRACE00001")
    take("2026-10-05,5.00,STRIPE TRACE00001", "2026-10-06,5.00,STRIPE")
    assert match_by_rule(currency="USD", now=NOON).made == 2

    later = old.expected_at + timedelta(days=LOOK_BACK_DAYS, hours=12)
    ran = match_by_rule(currency="USD", now=later)
    assert ((ran.made, ran.undone), len(pairs())) == ((0, 0), 2)


def test_a_leg_that_stripe_does_not_know_of_is_nobodys(db: None) -> None:
    hire()
    sent = payout(1, 500)
    take("2026-10-05,-5.00,STRIPE back")
    with pytest.raises(InvalidRequest, match="never went back"):
        match_by_hand(
            line_ids=[BankLine.objects.get().pk], keys=[(sent.pk, "returned")], expected_difference_minor=0, **BY_HAND
        )
    assert not BankMatch.objects.exists()


def test_two_accounts_of_one_currency_are_imported_at_once_as_the_page_does(committed_db: None) -> None:
    """Each imports, and weighs the lines of both, in one transaction."""
    hire()
    take(C, account="One")
    take(C, account="Two")
    imported = threading.Barrier(2)
    failures: list[Exception] = []

    def work(account: str) -> None:
        try:
            with transaction.atomic():
                take(A, account=account)
                with suppress(threading.BrokenBarrierError):  # the other waits until this one has committed
                    imported.wait(timeout=0.3)
                match_by_rule(currency="USD", now=NOON)
        except DatabaseError as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("One", "Two")]
    for one in threads:
        one.start()
    for one in threads:
        one.join(timeout=30)
    assert (failures, BankLine.objects.count()) == ([], 4)


def test_a_payout_before_the_first_day_whose_line_is_in_the_file_makes_no_difference(db: None) -> None:
    hire()
    early = payout(1, 500, day=2)
    open_accounts(system_account_specs("USD"))
    post_payout_arrived(
        payout_id="po_1", amount=Decimal(5), currency="USD", arrived_at=early.expected_at, recorded_at=NOON
    )
    take(A)
    assert match_by_rule(currency="USD", now=NOON).made == 1
    compared = comparison_of("USD", since=BankLine.objects.get().booked_on)
    assert (compared.lines_minor, compared.ledger, compared.difference) == (500, Decimal(5), 0)


def test_a_payout_that_arrived_before_the_takeover_makes_no_difference(db: None) -> None:
    """The bank has it, and our books begin after it."""
    hire()
    Takeover.objects.create(as_of=NOON.replace(month=10, day=20), started_at=NOON, started_by=FIONA)
    payout(1, 500)
    take(A)
    assert match_by_rule(currency="USD", now=NOON).made == 1
    compared = comparison_of("USD", since=BankLine.objects.get().booked_on)
    assert (compared.lines_minor, compared.ledger, compared.difference) == (0, 0, 0)


def test_each_account_says_until_when_it_was_imported(db: None) -> None:
    """Not until when another account of its currency was."""
    hire()
    first = take(A).account
    take(C, account="Other")
    figures = account_sections(first, today=NOON.date())["figures"]
    assert [one.value for one in figures if one.name == "Imported until"] == ["05 Oct 2026"]


def movement(id_: str, kind: str, amount: int, source: str) -> dict[str, Any]:
    return {
        "id": id_,
        "type": kind,
        "reporting_category": kind,
        "currency": "usd",
        "amount": amount,
        "fee": 0,
        "net": amount,
        "source": source,
        "created": int(NOON.timestamp()),
    }


def test_a_payout_is_made_of_what_an_earlier_one_brought_back(db: None) -> None:
    hire()
    again = payout(2, 1400)
    listed = [
        movement("txn_1", "payout_failure", 500, "po_1"),
        movement("txn_2", "charge", 900, "ch_1"),
        movement("txn_3", "payout", -1400, "po_2"),
    ]
    record_composition(listed, payout=again, now=NOON)
    found = BalanceTransaction.objects.filter(paid_out_by__payout=again)
    assert sum(one.net_minor for one in found) == again.amount_minor


def test_an_account_that_is_no_number_of_ours_is_none(db: None) -> None:
    hire()
    client = Client()
    client.force_login(user_of(FIONA))
    address = reverse("admin:billing_bankstatement_import")
    for account in ("9" * 30, "9" * 5000, "\u0663", "x"):
        assert client.get(address, {"account": account}).status_code == 200, account[:30]
    nothing = client.get(list_url("billing.bankline", booked_on__exact="2026-01-01")).content.decode()
    assert ("was asked for" in nothing, "There is nothing yet" in nothing) == (True, False)


def test_the_check_asks_no_more_for_more_payouts(db: None, django_assert_max_num_queries: Any) -> None:
    hire()
    take("2026-10-01,-5.00,rent")
    for number in range(9):
        payout(number, 500 + number)
    with django_assert_max_num_queries(6):
        found = list(bank_lines(Scope(range_start=NOON - timedelta(days=40), range_end=NOON)))
    assert len(found) == 10
