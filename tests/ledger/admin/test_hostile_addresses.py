"""What no page of ours links to: hostile addresses are refused or shown nothing, and none of them breaks a page."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from ledger.models import Account, PeriodClosing
from ledger.operations import AccountSpec, credit, debit, open_accounts
from tests.ledger.chart import REVENUE, UNBILLED, accrual, post

pytestmark = pytest.mark.usefixtures("chart", "without_menu")

# With an offset, an instant at either end of the calendar has no instant of UTC.
NO_INSTANTS = ("0001-01-01T00:00:00", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "infinity", "1\x00")
NO_MONTHS = ("9999-12", "0001-01", "2026-13", "2026-1", "infinity", "2026-10\x00")
NO_PLACES = (
    "2026-10-01T00:00:00Z_99999999999999999999999_1",
    "2026-10-01T00:00:00Z_1_99999999999999999999999",
    "0001-01-01T00:00:00+05:00_-1_-1",
    "9999-12-31T23:59:59-05:00_1_1",
    f"2026-10-01T00:00:00Z_{'9' * 5_000}_1",
    "\x00",
)
SPANS = [
    *({"month": text} for text in NO_MONTHS),
    *({"from": text, "before": text} for text in NO_INSTANTS),
    {"from": "9000-01-01", "before": "9999-12-31"},
    {"from": "2026-10-01"},
    *({"month": "2026-10", "known_at": text} for text in NO_INSTANTS),
]
POINTS = [{name: text} for name, text in itertools.product(("before", "known_at", "then"), NO_INSTANTS)]


def status_of(client: Client, address: str, query: dict[str, str] | None = None) -> int:
    """Of the whole answer: what is streamed may break after its status is sent."""
    answer: Any = client.get(address, query)
    if answer.streaming:
        b"".join(answer.streaming_content)
    return int(answer.status_code)


@pytest.fixture
def account_id(chart: None) -> int:
    post(accrual("a", "1"))
    return Account.objects.get(code=UNBILLED).pk


class TestAnInstantOrASpanThatIsNone:
    @pytest.mark.parametrize(("name", "argument"), [("account_change", None), ("customer_statement", "acme")])
    def test_is_said_on_the_page_of_a_statement(
        self, staff: Client, account_id: int, name: str, argument: str | None
    ) -> None:
        page = reverse(f"admin:ledger_{name}", args=[argument or account_id])

        assert {status_of(staff, page, query) for query in SPANS} == {422}

    @pytest.mark.parametrize(("name", "argument"), [("account", None), ("customer_statement", "acme")])
    def test_makes_no_file_of_a_statement(
        self, staff: Client, account_id: int, name: str, argument: str | None
    ) -> None:
        """And not that of another span, which nobody asked for."""
        file = reverse(f"admin:ledger_{name}_download", args=[argument or account_id, "csv"])

        assert {status_of(staff, file, {"currency": "USD", **query}) for query in SPANS} == {400}

    def test_is_said_on_the_trial_balance(self, staff: Client) -> None:
        page = reverse("admin:ledger_trial_balance")
        file = reverse("admin:ledger_trial_balance_download", args=["csv"])

        assert {status_of(staff, page, query) for query in POINTS} == {422}
        assert {status_of(staff, file, query) for query in POINTS} == {400}


def test_a_place_that_is_none_shows_a_page(staff: Client, account_id: int) -> None:
    pages = [
        reverse("admin:ledger_account_change", args=[account_id]),
        reverse("admin:ledger_customer_statement", args=["acme"]),
    ]
    for page, name, place in itertools.product(pages, ("after_line", "before_line"), NO_PLACES):
        assert status_of(staff, page, {"month": "2026-10", name: place}) == 200


LISTS = ("account", "journalentry")


class TestALookUpThatFindsNothing:
    @pytest.mark.parametrize("number", ["9" * 30, "9" * 5_000, "a\x00b", "²", "٣" * 30, "-1"])
    @pytest.mark.parametrize("model", LISTS)
    def test_leads_back(self, staff: Client, model: str, number: str) -> None:
        assert status_of(staff, reverse(f"admin:ledger_{model}_change", args=[number])) == 302

    @pytest.mark.parametrize("query", [{"q": "\x00"}, {"kind": "\x00"}, {"kind__exact": "a\x00"}, {"nonsense": "1"}])
    @pytest.mark.parametrize("model", LISTS)
    def test_with_signs_that_no_text_holds_leads_back(self, staff: Client, model: str, query: dict[str, str]) -> None:
        assert status_of(staff, reverse(f"admin:ledger_{model}_changelist"), query) == 302

    @pytest.mark.parametrize("model", LISTS)
    @pytest.mark.parametrize("words", ["9" * 30, "9" * 5_000, "²", "%", "' or 1=1"])
    def test_by_words_is_an_empty_list(self, staff: Client, model: str, words: str) -> None:
        answer = staff.get(reverse(f"admin:ledger_{model}_changelist"), {"q": words})

        assert (answer.status_code, answer.context["cl"].result_count) == (200, 0)

    def test_by_a_customer_of_no_key_is_not_there(self, staff: Client) -> None:
        page = reverse("admin:ledger_customer_statement", args=["x"]).replace("/x/", "/a%00b/")

        assert status_of(staff, page) == 404
        assert status_of(staff, f"{page}statement.csv?currency=USD") == 404


def test_what_was_written_down_is_shown_as_it_stands(staff: Client) -> None:
    """A memo, a cause, a key and the code of an account are other people's words."""
    attack = '<script>alert("x")</script>'
    code, customer = f"unbilled:{attack}", "<b>bold</b>"
    open_accounts([AccountSpec(code, "unbilled", "USD", "D", customer)])
    lines = (debit(code, Decimal(1)), credit(REVENUE, Decimal(1)))
    entry = post(replace(accrual(attack, "1"), lines=lines, memo=attack, cause={"invoice": attack, "other": attack}))
    account = Account.objects.get(code=code)

    for name, arguments in (
        ("account_change", [account.pk]),
        ("journalentry_change", [entry.id]),
        ("customer_statement", [customer]),
        ("account_changelist", []),
        ("journalentry_changelist", []),
        ("trial_balance", []),
    ):
        page = staff.get(reverse(f"admin:ledger_{name}", args=arguments)).content.decode()
        assert "<script>alert(" not in page
        assert "<b>bold" not in page


EVERY = ("Finance", "Engineering", "Customer success")
BOOKS = ("Finance", "Engineering")


class TestWhoMayOpen:
    @pytest.mark.parametrize(
        ("name", "arguments", "who"),
        [
            ("account_changelist", [], BOOKS),
            ("account_change", ["account"], BOOKS),
            ("account_download", ["account", "csv"], BOOKS),
            ("journalentry_changelist", [], BOOKS),
            ("journalentry_change", ["entry"], BOOKS),
            ("customer_statement", ["acme"], EVERY),
            ("customer_statement_download", ["acme", "csv"], EVERY),
            ("trial_balance", [], BOOKS),
            ("trial_balance_download", ["xlsx"], BOOKS),
            ("periodclosing_changelist", [], BOOKS),
            ("periodclosing_close", [], ("Finance",)),
            ("periodclosing_reopen", [], ("Finance",)),
            ("seal_changelist", [], BOOKS),
        ],
    )
    def test_each_page_and_file(
        self,
        sign_in: Callable[[str], Client],
        account_id: int,
        name: str,
        arguments: list[str],
        who: tuple[str, ...],
    ) -> None:
        numbers = {"account": account_id, "entry": post(accrual("b", "1")).id}
        address = reverse(f"admin:ledger_{name}", args=[numbers.get(argument, argument) for argument in arguments])
        query = {"currency": "USD"} if name == "customer_statement_download" else {}

        assert {role: status_of(sign_in(role), address, query) for role in EVERY} == {
            role: 200 if role in who else 403 for role in EVERY
        }
        assert Client().get(address)["Location"].startswith("/admin/login/")


class TestADecisionAboutAPeriod:
    def test_is_not_taken_by_following_a_link(self, staff: Client) -> None:
        decision = {"day": "2026-10-01", "reason": "x", "confirmed": "yes"}

        assert status_of(staff, reverse("admin:ledger_periodclosing_close"), decision) == 200
        assert not PeriodClosing.objects.exists()

    def test_is_not_taken_for_a_page_of_somebody_else(self, staff: Client) -> None:
        elsewhere = Client(enforce_csrf_checks=True)
        elsewhere.cookies[settings.SESSION_COOKIE_NAME] = staff.cookies[settings.SESSION_COOKIE_NAME].value
        decision = {"day": "2026-10-01", "reason": "x", "confirmed": "yes"}

        answer = elsewhere.post(reverse("admin:ledger_periodclosing_close"), decision)

        assert (answer.status_code, PeriodClosing.objects.exists()) == (403, False)
