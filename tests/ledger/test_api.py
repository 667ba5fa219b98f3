"""The ledger's API: what it answers, at which instants, page by page, and what it refuses."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from config.api_keys.models import ApiKey
from ledger.operations import AccountSpec, credit, debit, open_accounts, post_journal_entry, reverse_journal_entry
from tests.ledger.chart import FIRST, GRANT, RECEIVABLE, REVENUE, THIRD, UNBILLED, accrual, burn, draft, issue, post

pytestmark = pytest.mark.usefixtures("chart")
SECOND = FIRST + timedelta(days=1)
Ask = Callable[..., tuple[int, dict[str, Any]]]


def ask_with(client: Client, key: str | None, path: str, **query: str) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Api-Key {key}"} if key else {}
    answer = client.get(path, query, headers=headers)
    expected = "application/json" if answer.status_code == 200 else "application/problem+json"
    assert answer["Content-Type"] == expected
    body: dict[str, Any] = json.loads(answer.content)
    if answer.status_code != 200:
        assert body["status"] == answer.status_code
        assert body["detail"]
    return answer.status_code, body


@pytest.fixture
def key(db: None) -> str:
    _, key = ApiKey.objects.create_key(name="service", scopes=["billing:read"])
    return str(key)


@pytest.fixture
def ask(client: Client, key: str) -> Ask:
    def with_key(path: str, **query: str) -> tuple[int, dict[str, Any]]:
        return ask_with(client, key, f"/api/v1/{path}", **query)

    return with_key


def post_late(idempotency_key: str, amount: str) -> None:
    """Usage of the first, written down on the third."""
    late = draft(idempotency_key, debit(UNBILLED, Decimal(amount)), credit(REVENUE, Decimal(amount)))
    post_journal_entry(late, recorded_at=THIRD)


class TestBalances:
    def test_of_a_customer_name_every_account_with_its_currency(self, ask: Ask) -> None:
        post(accrual("a", "12.345678901234"))
        post(issue("b", "10"))

        status, body = ask("customers/acme/balances")

        assert (status, body) == (
            200,
            {
                "customer_key": "acme",
                "effective_at": None,
                "known_at": None,
                "balances": [
                    {"account": GRANT, "kind": "grant", "currency": "USD", "balance": "10"},
                    {"account": RECEIVABLE, "kind": "receivable", "currency": "USD", "balance": "0"},
                    {"account": UNBILLED, "kind": "unbilled", "currency": "USD", "balance": "12.345678901234"},
                ],
            },
        )

    def test_can_be_narrowed_by_currency_and_kind(self, ask: Ask) -> None:
        open_accounts([AccountSpec("unbilled:acme:EUR", "unbilled", "EUR", "D", "acme")])

        def codes(**query: str) -> list[str]:
            return [row["account"] for row in ask("customers/acme/balances", **query)[1]["balances"]]

        assert codes(currency="EUR") == ["unbilled:acme:EUR"]
        assert codes(kind="unbilled") == ["unbilled:acme:EUR", UNBILLED]
        assert codes(kind="unbilled", currency="USD") == [UNBILLED]
        assert codes(kind="no_such_kind") == []

    def test_at_two_instants_say_what_was_believed_and_what_was_so(self, ask: Ask) -> None:
        post(accrual("a", "10"))
        post_late("late", "2.5")
        third = accrual("third", "4")
        post_journal_entry(
            draft("third", *third.lines, effective_at=THIRD), recorded_at=THIRD + timedelta(microseconds=1)
        )

        def unbilled(**query: str) -> str:
            (row,) = ask("customers/acme/balances", kind="unbilled", **query)[1]["balances"]
            assert row["balance"] == ask(f"accounts/{UNBILLED}/balance", **query)[1]["balance"]
            return str(row["balance"])

        second, third_day = "2026-10-02T00:00:00Z", "2026-10-03T00:00:00Z"
        assert unbilled(effective_at=second, known_at=second) == "10"
        assert unbilled(effective_at=second, known_at=third_day) == "12.5"
        assert unbilled(effective_at=second) == "12.5"
        assert unbilled(known_at=second) == "10"
        assert unbilled(known_at=third_day) == "12.5"
        assert unbilled(known_at="2026-10-03T00:00:00.000001Z") == "16.5"
        assert unbilled(effective_at="2026-09-30T23:59:59Z") == "0"
        assert unbilled(effective_at="2026-10-03T02:00:00+02:00", known_at="2026-10-04T00:00:00Z") == "16.5"

    def test_of_an_account_of_the_house_is_the_sum_of_its_postings(self, ask: Ask) -> None:
        post(accrual("a", "10"))

        status, body = ask(f"accounts/{REVENUE}/balance")

        assert (status, body["balance"], body["customer_key"]) == (200, "10", None)
        assert ask(f"accounts/{REVENUE}/balance", known_at="2026-10-01T00:00:00Z")[1]["balance"] == "10"
        assert ask(f"accounts/{REVENUE}/balance", known_at="2026-09-01T00:00:00Z")[1]["balance"] == "0"

    def test_echo_the_instants_in_utc(self, ask: Ask) -> None:
        body = ask("customers/acme/balances", effective_at="2026-10-03T02:00:00.5+02:00")[1]

        assert (body["effective_at"], body["known_at"]) == ("2026-10-03T00:00:00.500000Z", None)


class TestStatements:
    def test_show_each_line_with_its_cause_and_the_balance_it_left(self, ask: Ask) -> None:
        invoice = draft(
            "invoice",
            debit(RECEIVABLE, Decimal("3.70")),
            credit(UNBILLED, Decimal("3.70")),
            kind="invoice_finalized",
            cause={"invoice": "in_1"},
        )
        post(accrual("a", "3.703701"))
        entry = post(invoice)

        body = ask(f"accounts/{UNBILLED}/statement")[1]

        assert (body["account"], body["kind"], body["currency"], body["next"]) == (UNBILLED, "unbilled", "USD", None)
        assert [line["balance_after"] for line in body["lines"]] == ["0.003701", "3.703701"]
        assert body["lines"][0] == {
            "entry": entry.id,
            "line": 2,
            "account": UNBILLED,
            "account_kind": "unbilled",
            "kind": "invoice_finalized",
            "memo": "",
            "effective_at": "2026-10-01T00:00:00Z",
            "recorded_at": "2026-10-01T00:00:00Z",
            "cause": {"invoice": "in_1"},
            "currency": "USD",
            "debit": None,
            "credit": "3.7",
            "balance_after": "0.003701",
        }

    def test_of_a_customer_hold_all_its_accounts_and_nobody_elses(self, ask: Ask) -> None:
        post(issue("grant", "5"))
        post(accrual("a", "1"))
        post(accrual("others", "9", account="unbilled:zeta:USD"))
        post(burn("b", "2"))

        body = ask("customers/acme/statement")[1]

        assert [(line["account"], line["debit"], line["credit"]) for line in body["lines"]] == [
            (GRANT, "2", None),
            (UNBILLED, "1", None),
            (GRANT, None, "5"),
        ]
        assert [line["account"] for line in ask("customers/acme/statement", kind="grant")[1]["lines"]] == [GRANT, GRANT]
        assert ask("customers/acme/statement", currency="EUR")[1]["lines"] == []

    def test_leave_out_what_was_not_known_or_not_so_yet(self, ask: Ask) -> None:
        post(accrual("a", "10"))
        post_late("late", "2.5")

        def amounts(**query: str) -> list[str]:
            return [line["debit"] for line in ask("customers/acme/statement", **query)[1]["lines"]]

        assert amounts() == ["2.5", "10"]
        assert amounts(known_at="2026-10-02T00:00:00Z") == ["10"]
        assert amounts(effective_at="2026-09-30T00:00:00Z") == []

    @pytest.mark.parametrize("path", ["customers/acme/statement", f"accounts/{UNBILLED}/statement"])
    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
    def test_pages_hold_every_line_once_while_new_entries_arrive(
        self, client: Client, key: str, ask: Ask, path: str, limit: int
    ) -> None:
        post(issue("grant", "5"))
        for number in range(7):
            post(accrual(f"a{number}", str(number + 1)))
            post(burn(f"b{number}", "0.1"))
        (complete,) = (ask(path, limit="500")[1]["lines"],)

        status, body = ask(path, limit=str(limit))
        seen, pages = list(body["lines"]), 1
        while body["next"]:
            post(accrual(f"new{pages}", "100"))
            post(issue(f"new grant{pages}", "1"))
            address = urlsplit(body["next"])
            status, body = ask_with(client, key, f"{address.path}?{address.query}")
            assert (status, len(body["lines"]) <= limit) == (200, True)
            seen, pages = [*seen, *body["lines"]], pages + 1

        assert seen == complete
        assert pages == -(-len(complete) // limit)

    def test_pages_of_an_account_of_the_house_hold_every_line_once(self, client: Client, key: str, ask: Ask) -> None:
        for number in range(5):
            post(accrual(f"a{number}", str(number + 1)))
        _, first = ask(f"accounts/{REVENUE}/statement", limit="3")
        post(accrual("new", "100"))

        address = urlsplit(first["next"])
        _, second = ask_with(client, key, f"{address.path}?{address.query}")

        lines = [*first["lines"], *second["lines"]]
        assert ([line["credit"] for line in lines], second["next"]) == (["5", "4", "3", "2", "1"], None)
        assert {line["balance_after"] for line in lines} == {None}

    def test_a_page_asks_as_often_deep_down_as_at_the_top(self, client: Client, key: str, ask: Ask) -> None:
        for number in range(40):
            post(accrual(f"a{number}", "1"))
        with CaptureQueriesContext(connection) as first:
            _, body = ask("customers/acme/statement", limit="2")
        for _ in range(15):
            address = urlsplit(body["next"])
            with CaptureQueriesContext(connection) as deep:
                _, body = ask_with(client, key, f"{address.path}?{address.query}")

        assert (len(first), len(deep)) == (3, 3)


class TestAnEntry:
    def test_can_be_read_by_its_number_and_by_its_key(self, ask: Ask) -> None:
        entry = post(draft("the key", *accrual("x", "2").lines, cause={"period": "7"}))

        status, by_number = ask(f"entries/{entry.id}")

        assert status == 200
        assert by_number == ask("entries", idempotency_key="the key")[1]
        assert {name: by_number[name] for name in ("kind", "actor", "cause", "effective_at", "reverses")} == {
            "kind": "usage_accrued",
            "actor": "system:test",
            "cause": {"period": "7"},
            "effective_at": "2026-10-01T00:00:00Z",
            "reverses": None,
        }
        assert by_number["lines"] == [
            {"line": 1, "account": UNBILLED, "currency": "USD", "debit": "2", "credit": None},
            {"line": 2, "account": REVENUE, "currency": "USD", "debit": None, "credit": "2"},
        ]

    def test_leads_to_its_reversal_and_back(self, client: Client, key: str, ask: Ask) -> None:
        entry = post(accrual("a", "2"))
        reversal = reverse_journal_entry(
            entry_id=entry.id, effective_at=FIRST, recorded_at=FIRST, actor="user:x", memo="wrong", cause={}
        )

        body = ask(f"entries/{entry.id}")[1]
        _, mirrored = ask_with(client, key, urlsplit(body["links"]["reversed_by"]).path)

        assert (body["reversed_by"], mirrored["entry"], mirrored["reverses"]) == (reversal.id, reversal.id, entry.id)
        assert mirrored["links"]["reverses"] == body["links"]["self"]


def test_the_trial_balance_adds_up_at_any_instants(ask: Ask) -> None:
    post(accrual("a", "10"))
    post_late("late", "2.5")

    status, body = ask("trial-balance", known_at="2026-10-02T00:00:00Z")

    assert (status, body["totals"]) == (200, [{"currency": "USD", "debit": "10", "credit": "10"}])
    assert body["accounts"] == [
        {"account": REVENUE, "currency": "USD", "debit": "0", "credit": "10"},
        {"account": UNBILLED, "currency": "USD", "debit": "10", "credit": "0"},
    ]
    assert ask("trial-balance")[1]["totals"] == [{"currency": "USD", "debit": "12.5", "credit": "12.5"}]


PATHS = (
    "customers/acme/balances",
    "customers/acme/statement",
    f"accounts/{UNBILLED}/balance",
    f"accounts/{UNBILLED}/statement",
    "trial-balance",
)


class TestARefusalNamesTheParameter:
    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("name", ["effective_at", "known_at"])
    @pytest.mark.parametrize(
        "value",
        ["", "yesterday", "2026-10-01", "2026-10-01T00:00:00", "2026-02-30T00:00:00Z", "2026-10-01T00:00:00 02:00",
         "0001-01-01T00:00:00+02:00", "2026-10-01T00:00:00Z\x00", "٢٠٢٦-10-01T00:00:00Z"],
    )  # fmt: skip
    def test_of_an_instant(self, ask: Ask, path: str, name: str, value: str) -> None:
        status, body = ask(path, **{name: value})

        assert (status, body["field"]) == (400, name)
        assert "RFC 3339" in body["detail"]

    @pytest.mark.parametrize("value", ["", "0", "501", "-1", "1.5", "ten", "²", "9" * 50])
    def test_of_a_limit(self, ask: Ask, value: str) -> None:
        status, body = ask("customers/acme/statement", limit=value)

        assert (status, body["field"]) == (400, "limit")
        assert "1 to 500" in body["detail"]

    @pytest.mark.parametrize("value", ["", "x", "!!!", "ü", "AAAA", "A" * 24, "A" * 5000])
    def test_of_a_cursor(self, ask: Ask, value: str) -> None:
        status, body = ask("customers/acme/statement", cursor=value)

        assert (status, body["field"]) == (400, "cursor")

    def test_of_a_cursor_of_another_list(self, ask: Ask) -> None:
        for number in range(3):
            post(accrual(f"a{number}", "1"))
        following = ask("customers/acme/statement", limit="1")[1]["next"]
        cursor = dict(part.split("=") for part in urlsplit(following).query.split("&"))["cursor"]

        assert ask("customers/acme/statement", cursor=cursor)[0] == 200
        for path, query in (
            ("customers/zeta/statement", {}),
            (f"accounts/{UNBILLED}/statement", {}),
            ("customers/acme/statement", {"kind": "unbilled"}),
            ("customers/acme/statement", {"known_at": "2026-10-02T00:00:00Z"}),
        ):
            status, body = ask(path, cursor=cursor, **query)
            assert (status, body["field"]) == (400, "cursor")

    @pytest.mark.parametrize(
        ("query", "field"),
        [({"currency": "usd"}, "currency"), ({"currency": "US$"}, "currency"), ({"kind": ""}, "kind"),
         ({"kind": "a\x00b"}, "kind"), ({"currancy": "USD"}, "currancy"), ({"limit": "5"}, "limit")],
    )  # fmt: skip
    def test_of_a_filter_or_one_that_is_not_known(self, ask: Ask, query: dict[str, str], field: str) -> None:
        status, body = ask("customers/acme/balances", **query)

        assert (status, body["field"]) == (400, field)

    def test_that_is_said_twice(self, client: Client, key: str) -> None:
        status, body = ask_with(client, key, "/api/v1/customers/acme/balances?currency=USD&currency=EUR")

        assert (status, body["field"]) == (400, "currency")

    @pytest.mark.parametrize(
        ("path", "field"),
        [("customers/nobody/balances", "customer_key"), ("customers/nobody/statement", "customer_key"),
         ("customers/a%00b/balances", "customer_key"), ("accounts/nothing:USD/balance", "account"),
         ("accounts/a%00b/statement", "account"), ("entries/999999999", "entry"), (f"entries/{10**30}", "entry")],
    )  # fmt: skip
    def test_or_what_is_not_there(self, ask: Ask, path: str, field: str) -> None:
        status, body = ask(path)

        assert (status, body["field"]) == (404, field)

    def test_or_the_key_of_an_entry(self, ask: Ask) -> None:
        assert ask("entries", idempotency_key="never")[0] == 404
        assert ask("entries")[1]["field"] == "idempotency_key"
        assert ask("entries", idempotency_key="a\x00")[0] == 400


def test_balances_ask_twice_whatever_the_customer_holds(ask: Ask) -> None:
    post(accrual("a", "1"))
    with CaptureQueriesContext(connection) as few:
        ask("customers/acme/balances")
    open_accounts([AccountSpec(f"grant:{n}", "grant", "USD", "C", "acme", floor=Decimal(0)) for n in range(100, 150)])
    with CaptureQueriesContext(connection) as many:
        ask("customers/acme/balances")
    with CaptureQueriesContext(connection) as at_an_instant:
        ask("customers/acme/balances", known_at=datetime(2026, 10, 2, tzinfo=UTC).isoformat().replace("+00:00", "Z"))

    # The key and the accounts; at an instant, their sums too.
    assert (len(few), len(many), len(at_an_instant)) == (2, 2, 3)
