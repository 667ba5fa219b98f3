"""Closing and reopening periods: asked with a reason, looked at before, decided once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from config import roles
from ledger import periods, queries
from ledger.period_checks import Waiting, period_checks
from ledger.sealing import make_seals
from tests.ledger.admin.conftest import Ask
from tests.ledger.chart import FIRST, THIRD, accrual, post
from tests.settled import wait_until_settled

SECOND, NOVEMBER = FIRST + timedelta(days=1), datetime(2026, 11, 1, tzinfo=UTC)
ASKED = {"day": "2026-10-03", "reason": "September and a bit"}


def send(client: Client, name: str, **data: str) -> HttpResponse:
    answer: Any = client.post(reverse(f"admin:ledger_periodclosing_{name}"), data)
    return answer


@pytest.fixture
def finance(chart: None, sign_in: Callable[[str], Client]) -> Client:
    return sign_in(roles.FINANCE)


class TestClosing:
    def test_shows_what_would_be_closed_first(self, finance: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        post(accrual("one", "7.5"))
        post(accrual("other", "1"))
        asked: list[datetime] = []

        def waits(instant: datetime) -> list[Waiting]:
            asked.append(instant)
            return [
                Waiting("3 invoices are not final", "/closes/", "ledger.view_account"),
                Waiting("2 events are not processed", "/inbox/", "billing.view_inboxevent"),
            ]

        monkeypatch.setattr("ledger.period_checks.period_checks", {"test": waits})

        page = send(finance, "close", **ASKED).content.decode()

        assert "2, taking effect" in page
        assert "8.50 USD" in page
        assert '<a class="bb-link" href="/closes/">3 invoices are not final</a>' in page
        assert "<li>2 events are not processed</li>" in page  # finance may not open the inbox
        assert asked == [THIRD]
        assert periods.closed_before() is None

    def test_is_decided_once_and_signed(self, finance: Client) -> None:
        answer = send(finance, "close", **ASKED, confirmed="yes")
        again = send(finance, "close", **ASKED, confirmed="yes")

        assert answer.status_code == 302
        assert (again.status_code, "closed before 2026-10-03 already" in again.content.decode()) == (422, True)
        (decision,) = queries.closings()
        assert (decision.closed_before, decision.reopens) == (THIRD, False)
        assert (decision.actor, decision.reason) == ("user:fiona", "September and a bit")

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"day": "2999-01-01"}, "This day has not come yet"),
            ({"day": "x"}, "Enter a valid date"),
            ({"reason": ""}, "This field is required"),
        ],
    )
    def test_is_refused_on_the_form(self, finance: Client, wrong: dict[str, str], error: str) -> None:
        answer = send(finance, "close", **{**ASKED, **wrong, "confirmed": "yes"})

        assert (answer.status_code, error in answer.content.decode()) == (422, True)
        assert periods.closed_before() is None

    def test_can_be_changed_before_it_is_confirmed(self, finance: Client) -> None:
        answer = send(finance, "close", **ASKED, confirmed="yes", edit="yes")

        assert 'value="2026-10-03"' in answer.content.decode()
        assert periods.closed_before() is None


class TestReopening:
    @pytest.fixture(autouse=True)
    def closed(self, chart: None) -> None:
        periods.close_periods(before=THIRD, decided_at=THIRD, actor="user:fiona", reason="Reported")

    def test_is_on_record_beside_the_closing(self, finance: Client) -> None:
        day = {"day": "2026-10-02", "reason": "An invoice was missing"}

        preview = send(finance, "reopen", **day).content.decode()
        answer = send(finance, "reopen", **day, confirmed="yes")
        page = finance.get(reverse("admin:ledger_periodclosing_changelist")).content.decode()

        assert ("Open it again" in preview, answer.status_code) == (True, 302)
        assert periods.closed_before() == SECOND
        assert page.index("An invoice was missing") < page.index("Reported")
        assert 'The books are closed before <time datetime="2026-10-02T00:00:00+00:00">' in page

    def test_of_what_is_open_is_refused(self, finance: Client) -> None:
        answer = send(finance, "reopen", day="2026-10-03", reason="?", confirmed="yes")

        assert (answer.status_code, "There is nothing to open" in answer.content.decode()) == (422, True)


class TestWhoMayDecide:
    def test_engineering_only_looks(self, chart: None, sign_in: Callable[[str], Client]) -> None:
        client = sign_in(roles.ENGINEERING)

        page = client.get(reverse("admin:ledger_periodclosing_changelist")).content.decode()

        assert "Nothing was ever closed" in page
        assert "Close a period" not in page
        assert [send(client, name, **ASKED, confirmed="yes").status_code for name in ("close", "reopen")] == [403] * 2
        assert periods.closed_before() is None

    def test_customer_success_does_not(self, chart: None, sign_in: Callable[[str], Client]) -> None:
        client = sign_in(roles.CUSTOMER_SUCCESS)

        addresses = ["periodclosing_changelist", "periodclosing_close", "seal_changelist"]
        assert [client.get(reverse(f"admin:ledger_{name}")).status_code for name in addresses] == [403] * 3


def test_checks_of_other_rooms_are_registered() -> None:
    assert {"billing_periods", "invoice_closes", "inbox_events", "outbox_intents"} <= set(period_checks)


class TestSeals:
    def test_without_any_nothing_is_sealed(self, page_of: Ask, chart: None) -> None:
        post(accrual("usage", "1"))

        page = page_of("seal_changelist")

        assert "Nothing is sealed yet." in page
        assert "1 entry waits for the next seal." in page

    def test_say_up_to_where(self, committed_chart: None) -> None:
        from django.contrib.auth.models import User

        entry = post(accrual("usage", "1"))
        wait_until_settled()
        list(make_seals(sealed_at=NOVEMBER))
        client = Client()
        client.force_login(User.objects.create_superuser("finance", password="x"))
        seal = queries.last_seal()

        answer = client.get(reverse("admin:ledger_seal_changelist"))
        detail = client.get(reverse("admin:ledger_seal_change", args=[1]))

        assert seal is not None
        assert (seal.number, seal.last_entry) == (1, entry.id)
        assert "No entry waits for the next one." in answer.content.decode()
        assert seal.hash_hex in answer.content.decode()
        assert seal.hash_hex in detail.content.decode()
