"""Backtests in the admin: asked for on a form, read by everybody who reads prices, downloaded whole."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from billing.rating.operations import accrue_period
from billing.rollouts.backtests.operations import request_backtest, run_backtest, stop_backtest
from billing.rollouts.backtests.tasks import task_work_on_backtests
from billing.rollouts.models.backtests import Backtest
from config import roles
from config.roles import CUSTOMER_SUCCESS, FINANCE
from tests.billing import usage
from tests.billing.rollouts.making import NOON, aggregate, close, draft, spend, subscribe
from tests.browser import PASSWORD, visiting
from tests.factories import ACTOR, DECEMBER, NOVEMBER, OCTOBER, PlanVersionFactory
from tests.processes import WebServer

NEW = "/admin/billing/backtest/new/"
PLANS = ("Starter", "Team", "Business")


@pytest.fixture(autouse=True)
def _world(committed_db: None, settings: Settings, request: pytest.FixtureRequest) -> None:
    if "web_process" not in request.fixturenames:
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the server has slow ones
    settings.STATIC_ROOT = None
    usage.define_token_meters()


def sign_in(role: str) -> Client:
    roles.sync_roles()
    people = roles.create_sign_ins(passwords=dict.fromkeys(roles.ROLES, PASSWORD))
    client = Client()
    client.force_login(next(user for user in people if user.groups.get().name == role))
    return client


def a_month(customers: int) -> None:
    """October of so many customers on three plans, who use from nothing to much; the last one has no price."""
    versions = [
        PlanVersionFactory(rate_card=usage.rate_card(), plan__name=name, fee_minor=2000 * number)
        for number, name in enumerate(PLANS, start=1)
    ]
    periods = [
        subscribe(f"customer-{number}", version=versions[number % 3], seats=1 + number % 4)
        for number in range(customers)
    ]
    for number, period in enumerate(periods):
        days = 1 + number * 7 % 28
        if number % 9:
            spend(period.subscription.customer.customer_key, (NOON + timedelta(days=days), number**2 * 77_000))
    usage.send(f"customer-{customers - 1}", NOON, output_tokens=5000)
    aggregate()
    for period in periods:
        accrue_period(period_id=period.pk, now=NOVEMBER)
        close(period)


def tried(*, key: str = "one", is_run: bool = True, **terms: object) -> Backtest:
    candidate = draft(price="7.5", included="25", fee_minor=2500, plan__name="Team 2027", **terms)
    backtest = request_backtest(
        candidate_id=candidate.pk,
        starts_at=OCTOBER,
        ends_at=NOVEMBER,
        idempotency_key=key,
        actor=ACTOR,
        now=DECEMBER,
    )
    return run_backtest(backtest_id=backtest.pk, clock=lambda: DECEMBER) if is_run else backtest


def address(backtest: Backtest) -> str:
    return reverse("admin:billing_backtest_change", args=[backtest.pk])


def form(**changed: str) -> dict[str, object]:
    candidate = draft(price="7.5")
    return {
        "candidate": candidate.pk,
        "baseline": "",
        "unit": "periods",
        "starts_on": "2026-10-01",
        "ends_on": "2026-11-01",
        "share_percent": "",
        "threshold_percent": "10",
        "idempotency_key": "abc",
    } | changed


def test_a_person_of_finance_asks_and_everybody_reads() -> None:
    a_month(6)
    finance = sign_in(FINANCE)
    asked = form()

    answers = [finance.post(NEW, asked), finance.post(NEW, asked)]
    backtest = Backtest.objects.get()
    waiting = sign_in(CUSTOMER_SUCCESS).get(address(backtest)).content.decode()
    task_work_on_backtests()
    done = sign_in(CUSTOMER_SUCCESS).get(address(backtest)).content.decode()

    assert [answer.status_code for answer in answers] == [302, 302]
    assert backtest.requested_by.startswith("user:")
    assert "It waits to begin" in waiting
    assert "Customers by what they would pay" in done
    assert "output_tokens" in done
    assert sign_in(CUSTOMER_SUCCESS).get(NEW).status_code == 403
    assert sign_in(CUSTOMER_SUCCESS).post(NEW, asked).status_code == 403


NONSENSE = (
    ({"candidate": "x"}, "Select a valid choice"),
    ({"candidate": "\x00"}, "Select a valid choice"),
    ({"customer_keys": "\x00"}, "Null characters are not allowed"),
    ({"starts_on": "2026-11-01"}, "ends before it begins"),
    ({"starts_on": "0001-01-01"}, "Choose a day from 1970"),
    ({"ends_on": "2199-01-01"}, "Usage is known until now"),
    ({"unit": "months", "starts_on": "2026-10-02"}, "begin on the first of a month"),
    ({"share_percent": "0"}, "above 0, at most 100"),
    ({"share_percent": "1e999"}, "above 0, at most 100"),
    ({"customer_keys": "nobody"}, "there is no customer"),
    ({"customer_keys": "a " * 1001}, "at most 1,000"),
    ({"threshold_percent": "NaN"}, "Enter a number"),
    ({"kinds": "nonsense"}, "Select a valid choice"),
    ({"idempotency_key": ""}, "This field is required"),
)


def test_nonsense_is_told_kindly() -> None:
    client, asked = sign_in(FINANCE), form()

    for changed, text in NONSENSE:
        answer = client.post(NEW, asked | changed)

        assert answer.status_code == 422, changed
        assert text in str(answer.context["form"].errors), changed
    assert client.get(f"{NEW}?candidate=%00").status_code == 200
    assert not Backtest.objects.exists()


def test_files_hold_every_customer_and_every_period() -> None:
    a_month(6)
    client, backtest = sign_in(CUSTOMER_SUCCESS), tried()

    def lines(rows: str) -> list[str]:
        answer = client.get(f"/admin/billing/backtest/{backtest.pk}/{rows}.csv")
        return b"".join(answer.streaming_content).decode().splitlines()  # type: ignore[attr-defined]

    # A heading of five lines with the columns, an empty one, and the customer that could not be compared in one only.
    assert [len(lines("customers")), len(lines("periods"))] == [6 + 5, 6 + 6]
    workbook = client.get(f"/admin/billing/backtest/{backtest.pk}/customers.xlsx")
    workbook.close()
    assert workbook.status_code == 200
    for rows in ("nothing.csv", "customers.pdf"):
        assert client.get(f"/admin/billing/backtest/{backtest.pk}/{rows}").status_code == 404
    assert client.get("/admin/billing/backtest/999/customers.csv").status_code == 404


def test_a_report_costs_as_many_queries_for_many_as_for_few() -> None:
    a_month(3)
    few = tried()
    client = sign_in(FINANCE)
    client.get(address(few))
    with CaptureQueriesContext(connection) as of_few:
        client.get(address(few))
    for number in range(100, 112):
        spend(subscribe(f"more-{number}").subscription.customer.customer_key, (NOON, number * 100_000))
    aggregate()
    many = tried(key="two")

    with CaptureQueriesContext(connection) as of_many:
        client.get(address(many))

    assert len(of_many) == len(of_few) <= 16


def test_a_person_stops_one_with_a_reason() -> None:
    backtest = tried(is_run=False)
    client, stop = sign_in(FINANCE), f"/admin/billing/backtest/{backtest.pk}/stop/"

    assert client.post(stop, {"because": " "}).status_code == 422
    assert client.post(stop, {"because": "Wrong customers"}).status_code == 302
    assert "Wrong customers" in client.get(address(backtest)).content.decode()
    assert client.post(stop, {"because": "again"}).status_code == 422
    assert sign_in(CUSTOMER_SUCCESS).post(stop, {"because": "x"}).status_code == 403


def pages(customers: int) -> dict[str, str]:
    User.objects.create_superuser("root", password=PASSWORD)
    nobody = tried(key="empty")
    a_month(customers)
    report, waiting, stopped = tried(), tried(key="two", is_run=False), tried(key="three", is_run=False)
    stop_backtest(backtest_id=stopped.pk, because="Wrong customers", actor=ACTOR, now=DECEMBER)
    return {
        "empty": address(nobody),
        "report": address(report),
        "waiting": address(waiting),
        "stopped": address(stopped),
        "list": reverse("admin:billing_backtest_changelist"),
        "new": NEW,
        "stop": reverse("admin:billing_backtest_stop", args=[waiting.pk]),
    }


def test_pages_work_and_fit(web_process: WebServer) -> None:
    addresses = pages(6)
    with visiting(web_process.address) as visitor:
        visitor.sign_in("root")
        for name, path in addresses.items():
            visitor.go(path)
            assert visitor.page.url == f"{web_process.address}{path}"
            visitor.look(name)
    assert (visitor.complaints, visitor.too_wide) == ([], {})
