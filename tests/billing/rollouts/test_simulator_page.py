"""The simulator's page: who may open it, what it shows, and what it says to an address that makes no sense."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.catalog.models import PlanVersion
from billing.rollouts.simulator.page import percent_text, simulator_url
from billing.subscriptions.models import BillingPeriod
from config.roles import CUSTOMER_SUCCESS, ENGINEERING, FINANCE
from metering.operations import catch_up_windows
from tests.billing import usage
from tests.billing.rollouts.reading import SignIn, as_role
from tests.billing.usage import AFTER_OCTOBER, MODEL, PRICES, october_of, send
from tests.factories import OCTOBER, CustomerFactory, PlanVersionFactory, RateCardFactory, RateFactory

HOUR = timedelta(hours=1)
__all__ = ["as_role"]


@pytest.fixture
def period(committed_db: None) -> BillingPeriod:
    """Usage of 31 dollars of input and 10 of output in October."""
    usage.define_token_meters()
    period = october_of("acme")
    send("acme", OCTOBER + HOUR, input_tokens=6_200_000)
    send("acme", OCTOBER + 50 * HOUR, output_tokens=400_000)
    catch_up_windows(now=AFTER_OCTOBER)
    return period


@pytest.fixture
def candidate(period: BillingPeriod) -> PlanVersion:
    card = RateCardFactory()
    for meter_code, price in {**PRICES, "output_tokens": "50"}.items():
        RateFactory(rate_card=card, meter_code=meter_code, model=MODEL, unit_price=Decimal(price))
    plan = period.plan_version.plan
    return PlanVersionFactory(plan=plan, version=2, rate_card=card, fee_minor=3000, is_draft=True)


def test_shows_both_sides_and_what_differs(as_role: SignIn, period: BillingPeriod, candidate: PlanVersion) -> None:
    answer = as_role(CUSTOMER_SUCCESS).get(simulator_url("acme", period=period.pk, right=candidate.pk))

    shown = answer.content.decode()
    assert answer.status_code == 200
    # 20 of fee and 41 − 20 of usage; then 30, and 51 − 20.
    for text in ("$41.00", "$61.00", "$20.00 more", "+48.8 %", f"{MODEL} output_tokens adds $10.00", "Fee adds $10.00"):
        assert text in shown, text
    assert answer.context["in_all"] == "+$20.00"
    assert [row.change for row in answer.context["causes"]] == ["+$10.00", "+$10.00"]


def test_answers_only_who_may(as_role: SignIn, candidate: PlanVersion) -> None:
    address = simulator_url("acme", right=candidate.pk)

    answers = {role: as_role(role).get(address).status_code for role in (CUSTOMER_SUCCESS, FINANCE, ENGINEERING)}

    assert answers == {CUSTOMER_SUCCESS: 200, FINANCE: 200, ENGINEERING: 200}
    assert as_role("nobody").get(address).status_code == 403
    assert Client().get(address).status_code == 302


def test_asks_for_what_is_missing(as_role: SignIn, period: BillingPeriod) -> None:
    client = as_role(FINANCE)

    empty = client.get(reverse("simulator:show"))
    without_version = client.get(simulator_url("acme"))

    assert (empty.status_code, without_version.status_code) == (200, 200)
    # A version's page leads here without a customer, and the version is kept until one is named.
    of_version = client.get(f"{reverse('simulator:show')}?right=7")
    assert '<input type="hidden" name="right" value="7">' in of_version.content.decode()
    assert "Choose the version to compare with." in without_version.content.decode()


NONSENSE = (
    "customer=",
    "customer=nobody",
    "customer=%00",
    "customer=acme%00",
    "customer=acme&period=99999999999999999999999",
    "customer=acme&period=%00",
    "customer=acme&right=-1",
    "customer=acme&right=%00",
    "customer=acme&left=x",
    "customer=acme&month=2026-13",
    "customer=acme&month=%00",
    "customer=acme&month=0000-01",
    "customer=acme&month=9999-12",
    "customer=acme&month=٢٠٢٦-10",
    "customer=acme&right_seats=0",
    "customer=acme&right_seats=99999999999999999999",
    "customer=acme&left_seats=1e5",
    "customer=acme&credit=perhaps",
    "customer=" + "x" * 5000,
)


def test_says_what_is_wrong_with_an_address(as_role: SignIn, period: BillingPeriod) -> None:
    client = as_role(FINANCE)

    answers = {asked: client.get(f"{reverse('simulator:show')}?{asked}") for asked in NONSENSE}

    assert {asked: answer.status_code for asked, answer in answers.items()} == dict.fromkeys(NONSENSE, 422)
    assert all('role="alert"' in answer.content.decode() for answer in answers.values())


def test_a_customer_without_a_period_has_months(as_role: SignIn, candidate: PlanVersion) -> None:
    CustomerFactory(customer_key="new")
    client = as_role(FINANCE)

    without_month = client.get(simulator_url("new", right=candidate.pk))
    without_terms = client.get(simulator_url("new", month="2026-10", right=candidate.pk))
    shown = client.get(simulator_url("new", month="2026-10", left=candidate.pk, right=candidate.pk, right_seats=3))

    assert [answer.status_code for answer in (without_month, without_terms, shown)] == [422, 422, 200]
    assert "A month has no terms of its own" in without_terms.content.decode()
    assert shown.context["change"]["words"] == "$60.00 more"


def test_a_month_takes_the_version_the_customer_has(
    as_role: SignIn,
    period: BillingPeriod,
    candidate: PlanVersion,
) -> None:
    answer = as_role(FINANCE).get(simulator_url("acme", month="2026-10", right=candidate.pk))

    assert answer.status_code == 200
    assert answer.context["left"].title == f"{period.plan_version}, 1 seat"
    assert answer.context["change"]["words"] == "$20.00 more"


def test_says_all_that_has_no_price(as_role: SignIn, period: BillingPeriod) -> None:
    other = PlanVersionFactory(rate_card=RateFactory(model=MODEL, meter_code="input_tokens").rate_card, is_draft=True)
    for hour in range(3):
        send("acme", OCTOBER + hour * HOUR, cache_read_tokens=1000)
    catch_up_windows(now=AFTER_OCTOBER)
    RateFactory(rate_card=period.plan_version.rate_card, model="x")

    answer = as_role(FINANCE).get(simulator_url("acme", period=period.pk, right=other.pk))

    assert [name for name, _ in answer.context["right"].without_price] == [
        f"{MODEL} output_tokens",
        f"{MODEL} cache_read_tokens",
    ]
    assert "$41.00" in answer.content.decode()
    assert answer.context["change"] is None


def test_asks_as_often_whatever_was_used(as_role: SignIn, period: BillingPeriod, candidate: PlanVersion) -> None:
    client, address = as_role(FINANCE), simulator_url("acme", period=period.pk, right=candidate.pk)
    client.get(address)
    with CaptureQueriesContext(connection) as little:
        client.get(address)
    for hour in range(60):
        send("acme", OCTOBER + hour * HOUR, input_tokens=10, output_tokens=20, cache_read_tokens=30)
    catch_up_windows(now=AFTER_OCTOBER)

    with CaptureQueriesContext(connection) as much:
        client.get(address)

    assert len(much) == len(little) < 45


@pytest.mark.parametrize(
    ("change", "of", "text"),
    [
        ("1", "8", "+12.5 %"),
        ("-1", "3", "−33.3 %"),
        ("0", "3", "0.0 %"),
        ("0.0005", "1", "+0.1 %"),
        ("0.0004", "1", "less than +0.1 %"),
        ("-0.0004", "1", "less than −0.1 %"),
        ("5", "0", ""),
        ("30000", "1", "+3,000,000.0 %"),
    ],
)
def test_percentages_are_rounded_for_people(change: str, of: str, text: str) -> None:
    assert percent_text(Decimal(change), Decimal(of)) == text
