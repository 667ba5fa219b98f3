"""The pages of shadow ratings: who starts and ends one, and what is told of it while it runs and after."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.admin_links import page_url
from billing.catalog.models import PlanVersion
from billing.rollouts.models.shadow import ShadowPoint, ShadowRating
from billing.rollouts.shadow.operations import end_shadow, rate_shadows, start_shadow
from billing.rollouts.shadow.page import POINTS_DRAWN, drawn_points, sections
from billing.rollouts.shadow.tasks import task_rate_shadows
from config.roles import CUSTOMER_SUCCESS, ENGINEERING, FINANCE
from metering.operations import catch_up_windows
from tests.billing import usage
from tests.billing.rollouts.reading import SignIn, as_role
from tests.billing.usage import AFTER_OCTOBER, MODEL, PRICES, october_of, send
from tests.factories import ACTOR, OCTOBER, PlanVersionFactory, RateCardFactory, RateFactory

__all__ = ["as_role"]
HOUR = timedelta(hours=1)
NOW = OCTOBER + timedelta(days=9)
START, LIST = "admin:billing_shadowrating_start", "admin:billing_shadowrating_changelist"


@pytest.fixture
def candidate(committed_db: None) -> PlanVersion:
    """Twice the prices of what `customers` pay."""
    usage.define_token_meters()
    version = PlanVersionFactory(rate_card=usage.rate_card())
    card = RateCardFactory()
    for meter_code, price in PRICES.items():
        RateFactory(rate_card=card, meter_code=meter_code, model=MODEL, unit_price=2 * Decimal(price))
    return PlanVersionFactory(plan=version.plan, version=2, rate_card=card, is_draft=True)


@pytest.fixture
def customers(candidate: PlanVersion) -> Callable[..., None]:
    """Lets customers use so many dollars in October."""
    version = candidate.plan.versions.get(version=1)

    def use(**dollars: int) -> None:
        for customer_key, spent in dollars.items():
            october_of(customer_key, version=version)
            send(customer_key, OCTOBER + HOUR, input_tokens=spent * usage.INPUT_TOKENS_PER_DOLLAR)
        catch_up_windows(now=AFTER_OCTOBER)

    return use


def started(candidate: PlanVersion) -> ShadowRating:
    return start_shadow(candidate_id=candidate.pk, reason="dearer tokens", actor=ACTOR, now=NOW)


def test_is_started_and_ended_by_people_who_may(as_role: SignIn, candidate: PlanVersion) -> None:
    asked = {"candidate": candidate.pk, "tolerance_percent": "10", "reason": "to learn", "share_percent": "12.5"}
    assert as_role(CUSTOMER_SUCCESS).post(reverse(START), asked).status_code == 403
    client = as_role(FINANCE)

    answer = client.post(reverse(START), {**asked, "plan": candidate.plan.code, "customer_kind": "team"})

    found = ShadowRating.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, page_url("billing.shadowrating", found.pk))
    assert (found.started_by, found.tolerance_percent, found.reason) == ("user:fiona", 10, "to learn")
    assert found.cohort == {
        "plans": [candidate.plan.code],
        "kinds": ["team"],
        "customer_keys": [],
        "share_percent": "12.5",
        "also": [],
    }
    end = reverse("admin:billing_shadowrating_end", args=[found.pk])
    assert as_role(CUSTOMER_SUCCESS).post(end, {"because": "over"}).status_code == 403
    assert client.post(end, {"because": " "}).status_code == 422
    assert as_role(ENGINEERING).post(end, {"because": "we know"}).status_code == 302
    assert client.post(end, {"because": "again"}).status_code == 422
    found.refresh_from_db()
    assert (found.ended_by, found.ended_because) == ("user:emre", "we know")
    assert LogEntry.objects.count() == 2


def test_says_what_to_mend(as_role: SignIn, candidate: PlanVersion) -> None:
    client = as_role(FINANCE)
    right = {"candidate": candidate.pk, "tolerance_percent": "5", "reason": "to learn"}
    wrong = (
        {"candidate": "10000000000000000000000"},
        {"candidate": "\x00"},
        {"plan": "nothing"},
        {"customer_kind": "robots"},
        {"share_percent": "0"},
        {"share_percent": "NaN"},
        {"share_percent": "1e-9"},
        {"share_percent": "12.345"},
        {"tolerance_percent": "-1"},
        {"tolerance_percent": "1e9"},
        {"reason": "\x00"},
        {"reason": ""},
    )

    answers = [client.post(reverse(START), {**right, **one}) for one in wrong]

    assert [answer.status_code for answer in answers] == [422] * len(wrong)
    assert [sorted(answer.context["form"].errors) for answer in answers] == [[*one] for one in wrong]
    assert client.post(reverse(START), right).status_code == 302
    assert client.post(reverse(START), right).status_code == 422  # it is under way already
    assert client.get(f"{reverse(START)}?candidate=%00").status_code == 200
    for number in ("999999999", "99999999999999999999999"):
        assert client.get(f"{reverse(LIST)}{number}/end/").status_code == 404


def test_tells_who_would_pay_more_and_leads_to_why(
    as_role: SignIn, candidate: PlanVersion, customers: Callable[..., None]
) -> None:
    customers(heavy=30, light=8)
    found = started(candidate)
    rate_shadows(now=NOW)

    answer = as_role(CUSTOMER_SUCCESS).get(page_url("billing.shadowrating", found.pk))

    shown = answer.content.decode()
    assert answer.status_code == 200
    ((_, more), (_, less)) = answer.context["lists"]
    assert [(row.name, row.now, row.instead, row.change, row.percent) for row in more] == [
        ("Heavy", "$30.00", "$60.00", "+$30.00", "+100.0 %")
    ]
    assert less == []
    assert f"customer=heavy&amp;period={found.periods.get(change__gt=0).period_id}&amp;right={candidate.pk}" in shown
    assert "End" not in [button.strip() for button in shown.split("</span>")]
    distribution = answer.context["charts"][-1]
    assert {row.label: row.values[0] for row in distribution.rows if row.values[0]} == {"the same": 1, "above +50 %": 1}


def test_groups_periods_by_percent_of_what_is_paid(candidate: PlanVersion, customers: Callable[..., None]) -> None:
    # Of 20 included, so they pay 20 + x now and 20 + 2x + 20 then, once x is above nothing: 10, 15 and 20 pay 20 now.
    customers(a=10, b=11, c=13, d=18, e=21, f=40)
    found = started(candidate)
    rate_shadows(now=NOW)

    shown = sections(found)

    distribution = shown["charts"][-1]
    # Now 20, 20, 20, 20, 21 and 40; then 20, 22, 26, 36, 42 and 80.
    assert [row.values[0] for row in distribution.rows] == [0, 0, 0, 0, 1, 0, 1, 1, 3]
    assert sum(row.values[0] for row in distribution.rows) == ShadowPoint.objects.get().compared


def test_asks_as_often_for_many_periods_as_for_few(
    as_role: SignIn, candidate: PlanVersion, customers: Callable[..., None]
) -> None:
    client, found = as_role(FINANCE), started(candidate)
    addresses = [page_url("billing.shadowrating", found.pk), reverse("admin:billing_shadowperiod_changelist")]
    counts = []
    for dollars in ({"a": 30}, {"b": 30, "c": 31, "d": 32}):
        customers(**dollars)
        rate_shadows(now=NOW)
        client.get(addresses[0])
        for address in addresses:
            with CaptureQueriesContext(connection) as asked:
                assert client.get(address).status_code == 200
            counts.append(len(asked))

    assert counts[:2] == counts[2:]
    assert max(counts) < 20


def test_tells_what_it_is_when_outdated_and_when_ended(as_role: SignIn, candidate: PlanVersion) -> None:
    client, found = as_role(FINANCE), started(candidate)
    address = page_url("billing.shadowrating", found.pk)
    PlanVersion.objects.filter(pk=candidate.pk).update(fee_minor=1)
    rate_shadows(now=NOW)

    assert "end this one and start another" in client.get(address).content.decode()

    end_shadow(shadow_id=found.pk, because="other terms now", actor=ACTOR, now=NOW)
    assert "other terms now" in client.get(address).content.decode()


def test_draws_no_more_points_than_a_line_needs() -> None:
    points = [ShadowPoint(pk=number) for number in range(1000)]

    drawn = drawn_points(points)

    assert (len(drawn), drawn[0], drawn[-1]) == (POINTS_DRAWN, points[0], points[-1])
    assert drawn_points(points[:7]) == points[:7]
    assert drawn_points([]) == []


def test_the_task_takes_arguments_of_a_newer_publisher(candidate: PlanVersion, customers: Callable[..., None]) -> None:
    customers(a=30)
    started(candidate)

    assert task_rate_shadows(unheard_of=True) == 1
