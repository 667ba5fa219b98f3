"""The checker itself: what Stripe's document allows passes, and every kind of departure from it is caught."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.conformance import Checker
from tests.sandbox.core.document import load_document
from tests.sandbox.core.schema import problems
from tests.sandbox.core.skeletons import Skeletons
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.shared_data import REAL_BODIES, needs_shared_data

Json = dict[str, Any]
ADDRESS = "http://sandbox"

# Stripe's bodies hold fields that its document does not list.
UNDOCUMENTED = {"plan", "quantity", "total_count", "trial_period_days", "invoicing_rules"}
UNDOCUMENTED |= {"current_trial", "trial_settings[end_behavior][billing_cycle_anchor]"}

OBJECTS = (
    *("customer", "product", "price", "subscription", "subscription_item", "invoice", "line_item", "invoiceitem"),
    *("invoice_payment", "payment_intent", "charge", "balance_transaction", "refund", "customer_balance_transaction"),
    *("payment_method", "webhook_endpoint", "event", "account", "balance", "coupon", "credit_note", "dispute"),
)


def set_at(*path: str | int, value: object) -> Callable[[Json], None]:
    def change(thing: Json) -> None:
        node: Any = thing
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value

    return change


def without(*path: str | int) -> Callable[[Json], None]:
    def change(thing: Json) -> None:
        node: Any = thing
        for part in path[:-1]:
            node = node[part]
        del node[path[-1]]

    return change


LINE = ("lines", "data", 0)
DEPARTURES: dict[str, Callable[[Json], None]] = {
    "unknown field": set_at("totall", value=1),
    "unknown field in a line": set_at(*LINE, "ammount", value=1),
    "unknown field deep down": set_at(*LINE, "pricing", "price_details", "prize", value="x"),
    "unknown field in a parent": set_at("parent", "subscription_details", "subscribtion", value="x"),
    "missing id": without("id"),
    "missing total": without("total"),
    "missing lines": without("lines"),
    "missing amount of a line": without(*LINE, "amount"),
    "missing end of a period": without(*LINE, "period", "end"),
    "missing transitions": without("status_transitions"),
    "null total": set_at("total", value=None),
    "null currency": set_at("currency", value=None),
    "null amount of a line": set_at(*LINE, "amount", value=None),
    "wrong status": set_at("status", value="payed"),
    "wrong reason": set_at("billing_reason", value="whim"),
    "wrong object": set_at("object", value="invoise"),
    "text for an integer": set_at("amount_due", value="2000"),
    "number for an integer": set_at("amount_due", value=20.5),
    "boolean for an integer": set_at("attempt_count", value=True),
    "integer for a boolean": set_at("attempted", value=1),
    "integer for a text": set_at("customer", value=5),
    "object for a list": set_at("lines", "data", value={}),
    "list for an object": set_at("metadata", value=[]),
    "text too long": set_at("description", value="x" * 6000),
    "wrong decimal": set_at(*LINE, "pricing", "unit_amount_decimal", value="1,5"),
}


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker()


def test_answers_of_the_sandbox_pass(account: Account, checker: Checker) -> None:
    invoice = json.loads(json.dumps(one_invoice(account)))

    assert checker.object_problems(invoice) == []
    assert checker.answer_problems("GET", f"{ADDRESS}/v1/invoices/{invoice['id']}", 200, invoice) == []


@pytest.mark.parametrize("departure", DEPARTURES.values(), ids=DEPARTURES.keys())
def test_departure_is_caught(account: Account, checker: Checker, departure: Callable[[Json], None]) -> None:
    invoice = one_invoice(account)
    changed = copy.deepcopy(invoice)
    departure(changed)

    found = checker.answer_problems("GET", f"{ADDRESS}/v1/invoices/{invoice['id']}", 200, changed)

    assert found != []


def test_error_answers_are_checked_too(checker: Checker) -> None:
    good = {"error": {"type": "card_error", "code": "card_declined", "message": "no"}}
    bad = {"error": {"type": "cart_error", "message": "no"}}

    assert checker.answer_problems("GET", f"{ADDRESS}/v1/customers/cus_1", 402, good) == []
    assert checker.answer_problems("GET", f"{ADDRESS}/v1/customers/cus_1", 402, bad) != []


@pytest.mark.parametrize("name", OBJECTS)
def test_skeletons_are_valid(name: str) -> None:
    document = load_document()

    assert problems(Skeletons(document).new(name), document.schema(name)) == []


@needs_shared_data
@pytest.mark.parametrize("body", REAL_BODIES, ids=lambda path: path.stem)
def test_bodies_recorded_from_stripe_pass_when_lenient(body: Any) -> None:
    thing = json.loads(body.read_text())

    lenient = Checker(strict=False).object_problems(thing)
    strict = [problem for problem in Checker().object_problems(thing) if not any_of(problem, UNDOCUMENTED)]

    assert lenient == []
    assert strict == []


def any_of(problem: str, names: set[str]) -> bool:
    return any(name in problem for name in names)


def one_invoice(account: Account) -> Json:
    """A paid subscription's invoice as it goes over the wire."""
    if not account.api.invoices.list().data:
        account.subscription(account.customer())
    raw = account.api.invoices.list().last_response
    assert raw is not None
    body: Json = json.loads(raw.body)["data"][0]
    return body
