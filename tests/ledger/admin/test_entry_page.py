"""An entry's page: both sides, their sums, and everything that is known of why and when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.urls import reverse

from ledger import periods
from ledger.causes import cause_links
from ledger.entry_actions import EntryAction
from ledger.models import Account
from ledger.operations import AccountSpec, credit, debit, open_accounts, post_journal_entry, reverse_journal_entry
from ledger.queries import seal_of
from ledger.sealing import make_seals
from tests.ledger.admin.conftest import Ask
from tests.ledger.chart import FIRST, FX_EUR, FX_USD, REVENUE, THIRD, UNBILLED, accrual, draft, post
from tests.settled import wait_until_settled

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.usefixtures("chart")
def test_shows_both_sides_and_their_sums(page_of: Ask) -> None:
    posted = post(accrual("usage", "7.25"))

    page = page_of("journalentry_change", posted.id)

    assert page.count(">7.25<") == 4
    account_page = reverse("admin:ledger_account_change", args=[Account.objects.get(code=UNBILLED).pk])
    assert f'href="{account_page}">{UNBILLED}</a>' in page
    left, right = page.split("Total debits")
    assert (UNBILLED in left, REVENUE in left, REVENUE in right) == (True, False, True)


@pytest.mark.usefixtures("chart")
def test_shows_a_t_for_each_currency(page_of: Ask) -> None:
    one, other = Decimal("1.5"), Decimal("1.25")
    euros = (debit(FX_EUR, other), credit("bank:EUR", other))
    dollars = (debit("bank:USD", one), credit(FX_USD, one))
    open_banks()
    posted = post(draft("fx", *dollars, *euros, kind="fx"))

    page = page_of("journalentry_change", posted.id)

    assert (page.count("Total debits"), page.count(">1.50<"), page.count(">1.25<")) == (2, 4, 4)


@pytest.mark.usefixtures("chart")
def test_links_what_caused_it(page_of: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cause_links, "invoice", lambda value: f"/invoices/{value}")
    posted = post(draft("usage", *accrual("of", "1").lines, cause={"invoice": "in_<1>", "window": "w_1"}))

    page = page_of("journalentry_change", posted.id)

    assert 'invoice <a class="bb-link" href="/invoices/in_&lt;1&gt;">in_&lt;1&gt;</a>' in page
    assert "window w_1" in page


@pytest.mark.usefixtures("chart")
def test_leads_to_its_reversal_and_back(page_of: Ask) -> None:
    posted = post(accrual("usage", "1"))
    reversal = reverse_journal_entry(
        entry_id=posted.id, effective_at=THIRD, recorded_at=THIRD, actor="user:7", memo="", cause={}
    )

    assert f">#{reversal.id}</a>" in page_of("journalentry_change", posted.id)
    assert f">#{posted.id}</a>" in page_of("journalentry_change", reversal.id)


@pytest.mark.usefixtures("chart")
def test_says_when_it_happened_if_a_closed_period_moved_it(page_of: Ask) -> None:
    periods.close_periods(before=NOVEMBER, decided_at=NOVEMBER, actor="user:fiona", reason="October")
    late = replace(accrual("late", "1"), effective_at=THIRD, moves_to_open_period=True)
    posted = post_journal_entry(late, recorded_at=NOVEMBER)

    page = page_of("journalentry_change", posted.id)

    assert "Moved to the open period" in page
    assert "2026-10-03 00:00:00 UTC</time>, in a closed period" in page
    assert "2026-11-01 00:00:00 UTC" in page
    assert "occurred at" not in page


@pytest.mark.usefixtures("chart")
def test_leads_to_the_entry_it_corrects(page_of: Ask) -> None:
    wrong = post(accrual("wrong", "1"))
    posted = post(draft("right", *accrual("of", "2").lines, cause={"corrects": str(wrong.id)}))

    assert f'href="{reverse("admin:ledger_journalentry_change", args=[wrong.id])}">{wrong.id}</a>' in page_of(
        "journalentry_change", posted.id
    )


@pytest.mark.usefixtures("chart")
def test_shows_what_others_offer_to_do_with_it(page_of: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    posted = post(accrual("usage", "1"))
    offered = [
        lambda entry, may: EntryAction("Undo it", f"/undo/{entry.id}") if may("anything") else None,
        lambda entry, may: EntryAction(note="Void the invoice instead."),
        lambda entry, may: None,
    ]
    monkeypatch.setattr("ledger.entry_actions.entry_actions", offered)

    page = page_of("journalentry_change", posted.id)

    assert f'href="/undo/{posted.id}"' in page
    assert "Void the invoice instead." in page
    assert page.count('class="bb-button"') == 1


@pytest.mark.usefixtures("chart")
def test_without_anything_to_do_has_no_button(page_of: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.entry_actions.entry_actions", [])

    assert 'class="bb-button"' not in page_of("journalentry_change", post(accrual("usage", "1")).id)


def test_seal_that_holds_it(committed_chart: None) -> None:
    first = post(accrual("first", "1"))
    wait_until_settled()
    list(make_seals(sealed_at=FIRST + timedelta(days=1)))
    second = post_journal_entry(accrual("second", "1"), recorded_at=THIRD)
    waiting = seal_of(second.id)
    wait_until_settled()
    list(make_seals(sealed_at=THIRD))

    found = [seal_of(entry.id) for entry in (first, second)]

    assert waiting is None
    assert [seal and (seal.number, seal.sealed_at) for seal in found] == [
        (1, FIRST + timedelta(days=1)),
        (2, THIRD),
    ]
    assert seal_of(10**12) is None


def open_banks() -> None:
    open_accounts([AccountSpec(f"bank:{currency}", "bank", currency, "D") for currency in ("USD", "EUR")])
