"""One thing wrong in a valid request, answer or event is caught, whatever and wherever it is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.sandbox.client import SandboxProcess
from tests.sandbox.conformance import Checker, events_in
from tests.sandbox.core.document import Document
from tests.sandbox.core.parameters import parameter_problems
from tests.stripe_sandbox.mutations import Mutation, encoded, mutations
from tests.stripe_sandbox.recorded import Exchange, Json, record_a_life

ADDRESS = "http://sandbox"
ITEM = ("items", "data", 0)

# (operation, mutation): typo, wrong enum, missing field, wrong type, unknown field, at depth.
ANSWERS: list[tuple[str, Mutation]] = [
    ("POST /v1/customers", Mutation("typo", ("email",))),
    ("POST /v1/customers", Mutation("wrong type", ("balance",), "0")),
    ("POST /v1/customers", Mutation("missing field", ("created",))),
    ("POST /v1/customers", Mutation("unknown field", ("address", "street"), "Weg 1")),
    ("POST /v1/customers", Mutation("wrong type", ("metadata", "key"), 5)),
    ("POST /v1/products", Mutation("missing field", ("name",))),
    ("POST /v1/products", Mutation("wrong type", ("active",), "true")),
    ("POST /v1/prices", Mutation("wrong enum", ("recurring", "interval"), "fortnight")),
    ("POST /v1/prices", Mutation("wrong type", ("unit_amount_decimal",), "20,00")),
    ("POST /v1/prices", Mutation("typo", ("recurring", "usage_type"))),
    ("POST /v1/subscriptions", Mutation("wrong enum", ("status",), "running")),
    ("POST /v1/subscriptions", Mutation("missing field", (*ITEM, "current_period_end"))),
    ("POST /v1/subscriptions", Mutation("wrong type", (*ITEM, "current_period_start"), "1790812800")),
    ("POST /v1/subscriptions", Mutation("unknown field", (*ITEM, "price", "recurring", "anchor"), 1)),
    ("POST /v1/invoices", Mutation("wrong enum", ("status",), "payed")),
    ("POST /v1/invoices", Mutation("missing field", ("lines",))),
    ("POST /v1/invoices/{invoice}/pay", Mutation("wrong type", ("amount_paid",), 15.5)),
    ("POST /v1/invoices/{invoice}/pay", Mutation("unknown field", ("lines", "data", 0, "ammount"), 1)),
    ("POST /v1/invoices/{invoice}/pay", Mutation("wrong enum", ("payments", "data", 0, "payment", "type"), "cash")),
    ("POST /v1/refunds", Mutation("wrong enum", ("reason",), "regret")),
    ("POST /v1/refunds", Mutation("missing field", ("amount",))),
    ("GET /v1/charges", Mutation("wrong type", ("data", 0, "amount_refunded"), None)),
    ("GET /v1/charges", Mutation("wrong enum", ("data", 0, "status"), "done")),
    ("GET /v1/charges", Mutation("missing field", ("has_more",))),
    ("GET /v1/payment_intents", Mutation("unknown field", ("data", 0, "charges"), [])),
    ("GET /v1/payment_methods", Mutation("wrong type", ("data", 0, "card", "exp_year"), "2034")),
    ("GET /v1/balance_transactions", Mutation("typo", ("data", 0, "fee"))),
    ("GET /v1/balance", Mutation("wrong type", ("available",), {})),
    ("POST /v1/webhook_endpoints", Mutation("missing field", ("status",))),
    ("DELETE /v1/customers/{customer}", Mutation("wrong type", ("deleted",), "yes")),
]
REQUESTS: list[tuple[str, Mutation]] = [
    ("POST /v1/customers", Mutation("typo", ("email",))),
    ("POST /v1/customers", Mutation("unknown field", ("address", "street"), "Weg 1")),
    ("POST /v1/customers", Mutation("wrong type", ("name",), {"first": "Ada"})),
    ("POST /v1/customers", Mutation("too long", ("name",), "x" * 5001)),
    ("POST /v1/customers/{customer}", Mutation("wrong enum", ("tax_exempt",), "maybe")),
    ("POST /v1/customers/{customer}", Mutation("typo", ("invoice_settings", "footer"))),
    ("POST /v1/products", Mutation("missing field", ("name",))),
    ("POST /v1/products", Mutation("unknown field", ("prize",), "5")),
    ("POST /v1/prices", Mutation("missing field", ("currency",))),
    ("POST /v1/prices", Mutation("missing field", ("recurring", "interval"))),
    ("POST /v1/prices", Mutation("wrong enum", ("recurring", "interval"), "fortnight")),
    ("POST /v1/prices", Mutation("wrong type", ("unit_amount",), "20.00")),
    ("POST /v1/subscriptions", Mutation("typo", ("items", 0, "price"))),
    ("POST /v1/subscriptions", Mutation("wrong type", ("items", 0, "quantity"), "two")),
    ("POST /v1/subscriptions", Mutation("wrong enum", ("payment_behavior",), "never")),
    ("POST /v1/subscriptions", Mutation("wrong type", ("items",), "price_1")),
    ("POST /v1/invoices", Mutation("wrong enum", ("collection_method",), "by_hand")),
    ("POST /v1/invoices/{invoice}/add_lines", Mutation("missing field", ("lines",))),
    ("POST /v1/invoices/{invoice}/add_lines", Mutation("missing field", ("lines", 0, "period", "end"))),
    ("POST /v1/invoices/{invoice}/finalize", Mutation("wrong type", ("auto_advance",), "soon")),
    ("POST /v1/refunds", Mutation("wrong enum", ("reason",), "regret")),
    ("POST /v1/refunds", Mutation("wrong type", ("amount",), "1.5")),
    ("POST /v1/webhook_endpoints", Mutation("wrong enum", ("enabled_events", 0), "payout.payed")),
    ("POST /v1/customers/{customer}/balance_transactions", Mutation("missing field", ("amount",))),
    ("DELETE /v1/subscriptions/{subscription_exposed_id}", Mutation("typo", ("cancellation_details", "feedback"))),
    ("GET /v1/charges", Mutation("unknown field", ("currency",), "usd")),
    ("GET /v1/payment_intents", Mutation("wrong type", ("limit",), "many")),
    ("GET /v1/balance_transactions", Mutation("unknown field", ("created", "after"), "5")),
]
SUBJECT = ("data", "object")
EVENTS: list[tuple[str, Mutation]] = [
    ("invoice.paid", Mutation("missing field", ("type",))),
    ("invoice.paid", Mutation("wrong type", ("created",), "1790812800")),
    ("invoice.paid", Mutation("unknown field", ("user_id",), "x")),
    ("invoice.paid", Mutation("missing field", ("data", "object"))),
    ("invoice.paid", Mutation("wrong enum", (*SUBJECT, "status"), "payed")),
    ("invoice.paid", Mutation("unknown field", (*SUBJECT, "lines", "data", 0, "plan"), None)),
    ("charge.refunded", Mutation("wrong type", (*SUBJECT, "amount_refunded"), "100")),
    ("charge.refunded", Mutation("missing field", (*SUBJECT, "billing_details"))),
    ("customer.subscription.deleted", Mutation("typo", (*SUBJECT, "canceled_at"))),
    ("customer.subscription.deleted", Mutation("wrong enum", (*SUBJECT, "object"), "subscripton")),
]


class Life:
    """The recorded exchanges, and what the document says about each."""

    def __init__(self, exchanges: list[Exchange], checker: Checker) -> None:
        self.exchanges = exchanges
        self.checker = checker
        self.document: Document = checker.document

    def of(self, operation: str) -> list[Exchange]:
        return [found for found in self.exchanges if self.match(found).key == operation and found.status == 200]

    def match(self, exchange: Exchange) -> Any:
        match = self.document.match(exchange.method, exchange.path)
        assert match is not None
        return match.operation

    def parameters(self, exchange: Exchange) -> Json:
        parameters, found = parameter_problems(self.match(exchange), "", exchange.form)
        assert found == []
        return parameters

    def answer_problems(self, exchange: Exchange, answer: Any) -> list[str]:
        return self.checker.answer_problems(exchange.method, ADDRESS + exchange.path, exchange.status, answer)

    def request_problems(self, exchange: Exchange, parameters: Json) -> list[str]:
        form = encoded(parameters)
        if exchange.method == "POST":
            return self.checker.request_problems("POST", ADDRESS + exchange.path, form)
        return self.checker.request_problems(exchange.method, f"{ADDRESS}{exchange.path}?{form}")

    def events(self) -> list[Json]:
        return [event for exchange in self.exchanges for event in events_in(exchange.answer)]


@pytest.fixture(scope="module")
def life(sandbox_process: SandboxProcess) -> Life:
    sandbox_process.reset(now="2026-10-01T00:00:00Z")
    return Life(record_a_life(sandbox_process), Checker())


def first_that_takes(mutation: Mutation, values: list[Any]) -> tuple[int, Any]:
    """The first value that has what is to be changed, changed."""
    for number, value in enumerate(values):
        try:
            return number, mutation.applied(value)
        except (KeyError, IndexError, TypeError):
            continue
    raise AssertionError(f"nothing recorded has {mutation}")


def test_there_are_enough_of_them_on_different_operations() -> None:
    assert len(ANSWERS) >= 20
    assert len(REQUESTS) >= 20
    assert len({operation for operation, _ in ANSWERS}) >= 8
    assert len({operation for operation, _ in REQUESTS}) >= 8


@pytest.mark.parametrize(("operation", "mutation"), ANSWERS, ids=str)
def test_a_mutated_answer_is_caught(life: Life, operation: str, mutation: Mutation) -> None:
    exchanges = life.of(operation)
    number, answer = first_that_takes(mutation, [exchange.answer for exchange in exchanges])

    assert life.answer_problems(exchanges[number], exchanges[number].answer) == []
    assert life.answer_problems(exchanges[number], answer) != []


@pytest.mark.parametrize(("operation", "mutation"), REQUESTS, ids=str)
def test_a_mutated_request_is_caught(life: Life, operation: str, mutation: Mutation) -> None:
    exchanges = life.of(operation)
    number, parameters = first_that_takes(mutation, [life.parameters(exchange) for exchange in exchanges])

    assert life.request_problems(exchanges[number], life.parameters(exchanges[number])) == []
    assert life.request_problems(exchanges[number], parameters) != []


@pytest.mark.parametrize(("event_type", "mutation"), EVENTS, ids=str)
def test_a_mutated_event_is_caught(life: Life, event_type: str, mutation: Mutation) -> None:
    events = [event for event in life.events() if event["type"] == event_type]
    number, event = first_that_takes(mutation, events)
    page = {"object": "list", "data": [event], "has_more": False, "url": "/v1/events"}

    assert life.checker.object_problems(events[number]) == []
    assert life.checker.object_problems(event) != []
    assert life.checker.answer_problems("GET", f"{ADDRESS}/v1/events", 200, page) != []


@given(data=st.data())
@hypothesis_settings(max_examples=300)
def test_any_single_mutation_of_any_answer_is_caught(life: Life, data: st.DataObject) -> None:
    exchange = data.draw(st.sampled_from(life.exchanges), label="exchange")
    schema = life.match(exchange).answer if exchange.status == 200 else life.document.error
    mutation = data.draw(st.sampled_from(list(mutations(exchange.answer, schema))), label="mutation")

    assert life.answer_problems(exchange, mutation.applied(exchange.answer)) != [], str(mutation)


@given(data=st.data())
@hypothesis_settings(max_examples=300)
def test_any_single_mutation_of_any_request_is_caught(life: Life, data: st.DataObject) -> None:
    exchange = data.draw(st.sampled_from(life.exchanges), label="exchange")
    parameters = life.parameters(exchange)
    found = mutations(parameters, life.match(exchange).parameters, in_form=True)
    mutation = data.draw(st.sampled_from(list(found)), label="mutation")

    assert life.request_problems(exchange, mutation.applied(parameters)) != [], str(mutation)


@given(data=st.data())
@hypothesis_settings(max_examples=200)
def test_any_single_mutation_of_any_events_object_is_caught(life: Life, data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(life.events()), label="event")
    subject = event["data"]["object"]
    schema = life.document.object_schema(subject["object"])
    assert schema is not None
    mutation = data.draw(st.sampled_from(list(mutations(subject, schema))), label="mutation")
    changed = {**event, "data": {**event["data"], "object": mutation.applied(subject)}}

    assert life.checker.object_problems(changed) != [], str(mutation)
