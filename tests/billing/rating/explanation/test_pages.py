"""The pages of explanations and the API beside them: who may open them, where they lead, and what they refuse."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import resolve, reverse
from drf_spectacular.generators import SchemaGenerator

from billing.api import urls
from billing.rating.explanation import as_json
from billing.rating.explanation.gather import explain_invoice_line
from billing.rating.explanation.page import chart_of
from billing.rating.models import UsageAccrualLine
from config import roles
from config.api_keys.models import ApiKey
from metering import queries as metering_queries
from tests.billing.rating.explanation.drafts import draft_of
from tests.billing.usage import AFTER_OCTOBER, define_token_meters, october_of, use_dollars
from tests.factories import OCTOBER, CreditGrantFactory

AT = OCTOBER + timedelta(days=3, hours=5, minutes=20)
SignIn = Callable[[str], Client]


@pytest.fixture
def places(committed_db: None) -> dict[str, Any]:
    """A customer's October, on a draft of an invoice; and the numbers of what is explained."""
    define_token_meters()
    period = october_of("acme", included="1")
    CreditGrantFactory(customer_key="acme", amount=Decimal(2))
    use_dollars("acme", AT, "4")
    invoice = draft_of(period, at=AFTER_OCTOBER)
    accrued = UsageAccrualLine.objects.get()
    return {
        "period": period.pk,
        "invoice": invoice.stripe_invoice_id,
        "invoice-line": invoice.lines.get(kind="usage").pk,
        "accrual": accrued.accrual_id,
        "accrual-line": accrued.pk,
        "rate": accrued.rate_id,
        "event": metering_queries.find_events(metering_queries.EventFilter(), limit=1).rows[0].key,
    }


def pages(places: dict[str, Any]) -> dict[str, str]:
    found = {name: reverse(f"explanations:{name}", args=[places[name]]) for name in EXPLAINED}
    day = reverse("explanations:day", args=[places["period"], places["rate"], "2026-10-04"])
    return {
        **found,
        "day": day,
        "hour": f"{day}?hour=5",
        "event": reverse("explanations:event", args=[places["event"]]),
    }


EXPLAINED = ("invoice-line", "accrual", "accrual-line", "period")


def addresses(places: dict[str, Any]) -> dict[str, str]:
    """Of the API."""
    found = {name: reverse(f"billing-api:{name}", args=[places[name]]) for name in EXPLAINED}
    by_id = f"{reverse('billing-api:event-cost-by-id')}?source=edge/test&id={_event_id(places['event'])}"
    return {
        **found,
        "day": reverse("billing-api:day", args=[places["period"], places["rate"], "2026-10-04"]),
        "event": reverse("billing-api:event-cost", args=[places["event"]]),
        "event by id": by_id,
        "invoice": reverse("billing-api:invoice", args=[places["invoice"]]),
        "customer": reverse("billing-api:customer-periods", args=["acme"]),
    }


def _event_id(key: str) -> str:
    row = metering_queries.find_event(key)
    assert row is not None
    return row.event_id


@pytest.fixture
def sign_in(places: dict[str, Any]) -> SignIn:
    roles.sync_roles()

    def signed_in(role: str) -> Client:
        person = User.objects.create_user(role.lower().replace(" ", "-"), is_staff=True)
        if role in roles.ROLES:
            person.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(person)
        return client

    return signed_in


@pytest.fixture
def key(places: dict[str, Any]) -> str:
    return str(ApiKey.objects.create_key(name="service", scopes=["billing:read", "usage:read"])[1])


def ask(key: str, address: str) -> Any:
    return Client().get(address, headers={"Authorization": f"Api-Key {key}"})


class TestPages:
    def test_open_for_every_role_and_lead_on(self, places: dict[str, Any], sign_in: SignIn) -> None:
        for role in (roles.ENGINEERING, roles.FINANCE):
            assert sign_in(role).get(pages(places)["invoice-line"]).status_code == 200
        client = sign_in(roles.CUSTOMER_SUCCESS)
        for name, address in pages(places).items():
            assert (name, client.get(address).status_code) == (name, 200)
        page = client.get(pages(places)["invoice-line"]).content.decode()
        assert "$1.00" in page
        assert "Paid by the credit “Welcome credit”" in page
        assert reverse("billing-api:invoice-line", args=[places["invoice-line"]]) in page

    def test_whoever_pays_has_the_same_colour_in_every_chart(self, places: dict[str, Any]) -> None:
        period = explain_invoice_line(places["invoice-line"], now=AFTER_OCTOBER)
        (price,) = period.prices
        much = replace(price.days[0], amounts=replace(price.days[0].amounts, unbilled=Decimal(1000)))
        of_little, of_much = (
            [(one["label"], one["backgroundColor"]) for one in json.loads(chart_of(explained).data)["datasets"]]
            for explained in (period, replace(period, prices=(replace(price, days=(much,)),)))
        )

        assert [label for label, _ in of_little] == ["Included", "Paid by credit", "To invoice"]
        assert of_much == of_little

    def test_journal_entries_are_for_who_sees_the_ledger(self, places: dict[str, Any], sign_in: SignIn) -> None:
        address = pages(places)["period"]
        assert "Journal entry #" in sign_in(roles.FINANCE).get(address).content.decode()
        assert "Journal entry #" not in sign_in(roles.CUSTOMER_SUCCESS).get(address).content.decode()

    def test_are_closed_to_others_and_to_writing(self, places: dict[str, Any], sign_in: SignIn) -> None:
        nobody, finance = sign_in("nobody"), sign_in(roles.FINANCE)
        for address in pages(places).values():
            assert nobody.get(address).status_code == 403
            assert Client().get(address).status_code == 302
            assert finance.post(address).status_code == 403

    def test_what_is_not_there_is_said_kindly(self, sign_in: SignIn) -> None:
        client = sign_in(roles.FINANCE)
        for address in (
            "invoice-lines/999999/",
            f"periods/{10**30}/",
            "periods/1/1/2026-02-30/",
            f"periods/{10**30}/1/2026-02-03/",
            "periods/1/1/%00/",
            f"events/{'0' * 32}/",
            "events/%00/",
        ):
            answer = client.get(f"/admin/explanations/{address}")
            assert (address, answer.status_code) == (address, 404)
            assert "Nothing to explain" in answer.content.decode()

    def test_nonsense_for_an_hour_shows_none(self, places: dict[str, Any], sign_in: SignIn) -> None:
        client, day = sign_in(roles.FINANCE), pages(places)["day"]
        for hour in ("24", "-1", "x", "\x00", "٣", "", "5" * 500):
            answer = client.get(day, {"hour": hour})
            assert (hour, answer.status_code, answer.context["events"]) == (hour, 200, None)
        assert len(client.get(day, {"hour": "5"}).context["events"]) == 1


class TestApi:
    def test_answers_a_key_and_who_may_see_it(self, places: dict[str, Any], key: str, sign_in: SignIn) -> None:
        _, other = ApiKey.objects.create_key(name="other", scopes=["usage:read", "billing:write"])
        nobody, somebody = sign_in("nobody"), sign_in(roles.CUSTOMER_SUCCESS)
        for name, address in addresses(places).items():
            statuses = [
                ask(key, address).status_code,
                ask(str(other), address).status_code,
                Client().get(address).status_code,
                nobody.get(address).status_code,
                somebody.get(address).status_code,
                ask(key, f"{address}{'&' if '?' in address else '?'}nonsense=1").status_code,
                somebody.post(address).status_code,
            ]
            assert (name, statuses) == (name, [200, 403, 401, 403, 200, 400, 403])

    def test_what_was_used_is_told_to_a_key_that_may_read_usage(self, places: dict[str, Any]) -> None:
        _, money_alone = ApiKey.objects.create_key(name="money", scopes=["billing:read"])
        statuses = {name: ask(str(money_alone), address).status_code for name, address in addresses(places).items()}

        assert {name for name, status in statuses.items() if status == 403} == {"event", "event by id"}
        assert "usage:read" in ask(str(money_alone), addresses(places)["event"]).json()["detail"]

    def test_tells_the_same_as_the_page(self, places: dict[str, Any], key: str) -> None:
        told = ask(key, addresses(places)["invoice-line"]).json()

        explained = explain_invoice_line(places["invoice-line"], now=AFTER_OCTOBER)
        assert told == json.loads(json.dumps(as_json.explanation_body(explained)))
        assert (
            ask(key, addresses(places)["invoice"])
            .json()["lines"][0]["explanation"]
            .endswith(addresses(places)["invoice-line"])
        )

    def test_as_text(self, places: dict[str, Any], key: str) -> None:
        for name in (*EXPLAINED, "event"):
            answer = ask(key, f"{addresses(places)[name]}?as=text")
            assert answer["Content-Type"] == "text/plain; charset=utf-8"
            assert "$4.00" in answer.content.decode()
        assert ask(key, f"{addresses(places)['period']}?as=xml").json()["field"] == "as"

    def test_an_event_costs_the_same_asked_either_way(self, places: dict[str, Any], key: str) -> None:
        told = ask(key, addresses(places)["event"]).json()

        assert ask(key, addresses(places)["event by id"]).json() == told
        counted = next(one for one in told["meters"] if one["meter"] == "input_tokens")
        assert (counted["standing"], counted["amount"], counted["currency"]) == ("counted", "4", "USD")
        assert [(one["kind"], one["amount"], one["used_before"]) for one in counted["parts"]] == [
            ("allowance", "1", "0"),
            ("grant", "2", "0"),
            ("unbilled", "1", "0"),
        ]

    def test_the_windows_of_a_day(self, places: dict[str, Any], key: str) -> None:
        (window,) = ask(key, addresses(places)["day"]).json()["windows"]

        assert (window["window_start"], window["events"], window["quantity"]) == ("2026-10-04T05:00:00Z", 1, "800000")
        assert window["amounts"] == {
            "quantity": "800000",
            "rated": "4",
            "included": "1",
            "credited": "2",
            "unbilled": "1",
        }

    def test_what_is_not_there_is_a_problem_that_names_the_field(self, key: str) -> None:
        for address, field in (
            ("periods/999999/explanation", "number"),
            (f"accruals/{10**30}/explanation", "number"),
            ("periods/1/prices/1/days/2026-13-01", "day"),
            (f"events/{'0' * 32}/cost", "key"),
            ("events/%00/cost", "key"),
            ("events/by-id/cost?source=x&id=y", "id"),
            ("invoices/in_nothing", "stripe_invoice_id"),
            ("invoices/%00", "stripe_invoice_id"),
            ("customers/no%00body/periods", "customer_key"),
        ):
            answer = ask(key, f"/api/v1/billing/{address}")
            assert (address, answer.status_code, answer["Content-Type"], answer.json()["field"]) == (
                address,
                404,
                "application/problem+json",
                field,
            )

    def test_an_event_is_named_by_source_and_id(self, key: str) -> None:
        for query in ("source=x", "source=&id=x", "source=%00&id=x", f"source=x&id={'x' * 2000}"):
            assert (query, ask(key, f"/api/v1/billing/events/by-id/cost?{query}").status_code) == (query, 400)


def test_the_description_says_what_each_address_takes_and_answers(places: dict[str, Any], key: str) -> None:
    document: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    of_billing = {path: of for path, of in document["paths"].items() if path.startswith("/api/v1/billing/")}
    assert len(of_billing) == len({str(one.pattern) for one in urls.urlpatterns})
    described = {path: of["get"] for path, of in of_billing.items() if "get" in of}
    for name, address in addresses(places).items():
        match = resolve(address.partition("?")[0])
        template = "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", match.route)
        operation = described[template]
        queried = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
        assert (name, queried) == (name, match.func.view_class.takes)  # type: ignore[attr-defined]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert (name, _differences(ask(key, address).json(), schema, document)) == (name, [])


def _differences(value: Any, schema: dict[str, Any], document: dict[str, Any], where: str = "") -> list[str]:
    """The fields that an answer has and its description does not, or the other way round."""
    schema = schema["allOf"][0] if "allOf" in schema else schema
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(value, list):
        return [found for one in value for found in _differences(one, schema["items"], document, f"{where}[]")]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    properties = schema["properties"]
    unlike = [f"{where}.{name}" for name in sorted(value.keys() ^ properties.keys())]
    both = sorted(value.keys() & properties.keys())
    return unlike + [
        found for name in both for found in _differences(value[name], properties[name], document, f"{where}.{name}")
    ]
