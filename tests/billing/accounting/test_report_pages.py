"""Finance's reports as pages and files: who opens them, that numbers lead on, and that files hold every row."""

import csv
import io
import re
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.http import HttpResponseBase
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from billing.accounting.chart import receivable, system
from config import roles
from ledger.queries import trial_balance
from tests.billing.accounting.books import day, months_of_receivables, owes, post
from tests.factories import CreditGrantFactory, CustomerFactory

pytestmark = pytest.mark.django_db
AT = {"before": "2027-01-01T00:00:00", "known_at": "2027-01-02T00:00:00"}
PAGES = ("ageing", "credit", "income")
FILES = ("ageing-download", "credit-download", "movement-download", "income-download")


@pytest.fixture
def finance(settings: Settings) -> Client:
    settings.STATIC_ROOT = None
    roles.sync_roles()
    person = User.objects.create_user("fiona", is_staff=True)
    person.groups.set([Group.objects.get(name=roles.FINANCE)])
    client = Client()
    client.force_login(person)
    return client


def some_of_everything() -> None:
    months_of_receivables()
    CreditGrantFactory(customer_key="acme", amount=Decimal("10.000000000001"), name="=cmd|' /C calc'!A0")
    fee = ((system("fees:stripe", "USD"), "0.88"), (system("stripe:clearing", "USD"), "-0.88"))
    post("fee", *fee, kind="stripe_fee", at=day("2026-11-02"))


def shown(client: Client, name: str, **query: str) -> str:
    answer = client.get(reverse(f"reports:{name}"), {**AT, **query})
    assert answer.status_code == 200
    return str(answer.content.decode())


def body_of(answer: HttpResponseBase) -> bytes:
    """The whole body: reading it to its end closes the file behind it."""
    return b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]


def status_of(client: Client, address: str) -> int:
    answer = client.get(address)
    body_of(answer)
    return int(answer.status_code)


def rows_of(client: Client, name: str, **query: str) -> list[dict[str, str]]:
    """The rows of a CSV file, below its heading."""
    answer = client.get(reverse(f"reports:{name}", args=["csv"]), {**AT, **query})
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/csv; charset=utf-8")
    lines = list(csv.reader(io.StringIO(body_of(answer).decode())))
    columns, *rows = lines[lines.index([]) + 1 :]
    return [dict(zip(columns, row, strict=True)) for row in rows]


class TestAccess:
    def addresses(self) -> list[str]:
        pages = [reverse(f"reports:{name}") for name in PAGES]
        return pages + [reverse(f"reports:{name}", args=[suffix]) for name in FILES for suffix in ("csv", "xlsx")]

    def test_is_for_finance(self, finance: Client) -> None:
        assert {status_of(finance, address) for address in self.addresses()} == {200}

    @pytest.mark.parametrize("role", [roles.CUSTOMER_SUCCESS, roles.ENGINEERING])
    def test_is_for_nobody_else(self, role: str) -> None:
        roles.sync_roles()
        person = User.objects.create_user("other", is_staff=True)
        person.groups.set([Group.objects.get(name=role)])
        client = Client()
        client.force_login(person)

        assert {status_of(client, address) for address in self.addresses()} == {403}

    def test_asks_to_sign_in(self) -> None:
        assert {Client().get(address).status_code for address in self.addresses()} == {302}

    def test_of_a_reader_who_may_open_nothing_else_shows_no_link_to_it(self) -> None:
        some_of_everything()
        person = User.objects.create_user("reader", is_staff=True)
        person.user_permissions.add(Permission.objects.get(codename="view_financereport"))
        client = Client()
        client.force_login(person)

        for name in PAGES:
            assert "/admin/reports/" in (page := shown(client, name))
            assert not re.findall(r'href="/admin/(?:billing|ledger|promotions)/', page)


@pytest.mark.parametrize("name", PAGES)
class TestEveryPage:
    def test_opens_when_there_is_nothing(self, finance: Client, name: str) -> None:
        assert "bb-empty" in shown(finance, name)

    def test_leads_only_to_pages_that_open(self, finance: Client, name: str) -> None:
        some_of_everything()
        page = shown(finance, name)

        addresses = {address.replace("&amp;", "&") for address in re.findall(r'class="bb-link" href="([^"]+)"', page)}

        assert len(addresses) > 8
        for address in addresses:
            where = reverse(f"reports:{name}") + address if address.startswith("?") else address
            answer = finance.get(where, follow=True)
            body_of(answer)
            assert answer.status_code == 200, where

    def test_asks_as_often_however_much_there_is(self, finance: Client, name: str) -> None:
        some_of_everything()
        shown(finance, name)
        with CaptureQueriesContext(connection) as few:
            shown(finance, name)
        for number in range(20):
            customer = CustomerFactory(customer_key=f"more-{number}")
            owes(customer, f"in_{number}", "5", at=day("2026-10-01"))
            CreditGrantFactory(customer_key=customer.customer_key)
        with CaptureQueriesContext(connection) as many:
            shown(finance, name)

        assert len(many) == len(few) <= 20

    @pytest.mark.parametrize(
        ("query", "field"),
        [({"before": "soon"}, "With effect before"), ({"known_at": "2026-13-01"}, "As known at"),
         ({"before": "0001-01-01T00:00"}, "With effect before"), ({"currency": "dollars"}, "Currency")],
    )  # fmt: skip
    def test_says_what_of_an_address_cannot_be_read(
        self, finance: Client, name: str, query: dict[str, str], field: str
    ) -> None:
        answer = finance.get(reverse(f"reports:{name}"), query)

        assert answer.status_code == 422
        assert field in answer.content.decode().split('role="alert"')[1].split("</div>")[0]
        assert finance.get(reverse(f"reports:{name}-download", args=["csv"]), query).status_code == 400


class TestOtherThingsAskedFor:
    @pytest.mark.parametrize(
        ("name", "query"),
        [("ageing", {"age": "ancient"}), ("ageing", {"customer": "x" * 65}), ("credit", {"month": "2026-13"}),
         ("credit", {"month": "0001-01"}), ("credit", {"kind": "a b"}), ("income", {"months": "25"}),
         ("income", {"months": "0"})],
    )  # fmt: skip
    def test_are_refused_where_they_cannot_be(self, finance: Client, name: str, query: dict[str, str]) -> None:
        assert finance.get(reverse(f"reports:{name}"), query).status_code == 422

    def test_narrow_the_ageing(self, finance: Client) -> None:
        some_of_everything()

        def invoices(**query: str) -> list[str]:
            return [row["Invoice"] for row in rows_of(finance, "ageing-download", **query)]

        assert invoices() == ["in_a1", "in_a2", "in_a3", "in_e1", "", "in_z1"]
        assert invoices(customer="acme") == ["in_a1", "in_a2", "in_a3"]
        assert invoices(currency="EUR") == ["in_e1"]
        assert invoices(age="over_90") == ["in_a1"]
        assert invoices(age="unallocated") == [""]


class TestFiles:
    def test_of_the_ageing_add_up_to_the_trial_balance(self, finance: Client) -> None:
        some_of_everything()

        rows = rows_of(finance, "ageing-download")

        rows_at = trial_balance(effective_at=day("2026-12-31"), known_at=day("2027-01-01"))
        for currency in ("USD", "EUR"):
            accounts = [row for row in rows_at if row.code.startswith("receivable:") and row.currency == currency]
            listed = [Decimal(row["Open"]) for row in rows if row["Currency"] == currency]
            assert sum(listed) == sum(row.debit - row.credit for row in accounts)

    def test_hold_every_digit_and_no_formula(self, finance: Client) -> None:
        some_of_everything()

        (grant,) = rows_of(finance, "credit-download", kind="promotional")

        assert (grant["Outstanding"], grant["Name"]) == ("10.000000000001", "'=cmd|' /C calc'!A0")

    def test_of_credit_list_the_other_kinds_too(self, finance: Client) -> None:
        some_of_everything()
        lines = (("balance:acme:USD", "-12"), (system("contra:adjustments", "USD"), "12"))
        post("b", *lines, kind="customer_balance", at=day("2026-10-06"))

        rows = rows_of(finance, "credit-download")

        assert [(row["Kind"], row["Customer"], row["Outstanding"]) for row in rows] == [
            ("promotional", "acme", "10.000000000001"),
            ("balance", "acme", "12.000000000000"),
        ]

    def test_of_the_movement_hold_its_sum(self, finance: Client) -> None:
        some_of_everything()

        (row,) = rows_of(finance, "movement-download", month="2026-10")

        assert (row["Issued"], row["Closing"], row["Burnt"]) == ("10.000000000001", "10.000000000001", "0.000000000000")

    def test_of_revenue_have_a_column_for_each_month(self, finance: Client) -> None:
        some_of_everything()

        rows = rows_of(finance, "income-download", months="2")

        fees = next(row for row in rows if row["Accounts"] == "fees:stripe" and row["Currency"] == "USD")
        assert (fees["2026-11"], fees["2026-12"], fees["Total"]) == (
            "-0.880000000000",
            "0.000000000000",
            "-0.880000000000",
        )

    @pytest.mark.parametrize("name", FILES)
    def test_are_made_as_workbooks_too(self, finance: Client, name: str) -> None:
        some_of_everything()

        answer = finance.get(reverse(f"reports:{name}", args=["xlsx"]), AT)

        assert body_of(answer).startswith(b"PK")
        assert finance.get(reverse(f"reports:{name}", args=["pdf"])).status_code == 404


def test_a_page_of_many_shows_the_largest_and_says_so(finance: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing.accounting.reports.ageing_page.CUSTOMERS_SHOWN", 2)
    monkeypatch.setattr("billing.accounting.reports.ageing_page.ITEMS_SHOWN", 3)
    some_of_everything()

    page = shown(finance, "ageing")

    assert "The largest 2 of 3; the file has all." in page
    assert "The oldest 3 of 6; the file has all." in page
    assert len(rows_of(finance, "ageing-download")) == 6


def test_the_number_of_a_customer_leads_to_the_account_as_it_was_known(finance: Client) -> None:
    some_of_everything()
    account = next(code for code in [receivable("acme", "USD")])
    page = shown(finance, "ageing", customer="acme")

    (address,) = set(re.findall(r'href="(/admin/ledger/account/\d+/change/[^"]*)"', page))
    answer = finance.get(address.replace("&amp;", "&"))

    assert "known_at=2027-01-02T00%3A00%3A00" in address
    assert account in answer.content.decode()


def test_the_sidebar_has_them_for_finance_only(finance: Client, admin_client: Client) -> None:
    def leads_there(client: Any) -> bool:
        return reverse("reports:ageing") in client.get(reverse("admin:index")).content.decode()

    roles.sync_roles()
    person = User.objects.create_user("emre", is_staff=True)
    person.groups.set([Group.objects.get(name=roles.ENGINEERING)])
    engineer = Client()
    engineer.force_login(person)

    assert (leads_there(finance), leads_there(admin_client), leads_there(engineer)) == (True, True, False)
