"""A request that is refused changes nothing: no object, no event, no work for later, no use of anything."""

import random
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from tests.sandbox.all_or_nothing import PAYMENT_FAILED, RECORDED
from tests.sandbox.core.clock import Clock
from tests.sandbox.core.registry import HANDLERS
from tests.sandbox.wire import Request
from tests.sandbox.world import World
from tests.stripe_sandbox.any_request import RequestMaker, form_pairs
from tests.stripe_sandbox.full_world import FullWorld
from tests.stripe_sandbox.in_process import HEADERS, InProcess

WRITING = sorted(key for key in HANDLERS if not key.startswith("GET "))
# What knows of refused requests, too, and what is no state of the account.
NOT_STATE = ("causes", "clock", "document", "faults", "history", "idempotency", "ids", "problems", "recent_requests")
NO_DEPTH = (*NOT_STATE, "account_clock", "settings", "skeletons", "store", "undo")

MONTHLY: dict[str, Any] = {"recurring[interval]": "month", "currency": "usd", "unit_amount": 1000}


def everything(world: World) -> dict[str, bytes]:
    """Objects in their order, by the indexes too; what is kept beside them; what waits on the clocks."""
    objects = {kind: world.store.all(kind) for kind, _ in world.store.counts()}
    customers = [thing["id"] for thing in objects.get("customer", [])]
    indexed = [
        [thing["id"] for thing in world.store.where(kind, "customer", customer)]
        for customer in customers
        for kind in ("invoice", "invoiceitem", "payment_method", "subscription", "charge")
    ]
    kept = {name: _kept(value) for name, value in vars(world).items() if name not in NO_DEPTH}
    clocks: list[Clock] = [world.account_clock, *world.test_clocks.values()]
    waiting = [(clock.now, [(due.moment, due.what) for due in clock.waiting()]) for clock in clocks]
    parts = {**objects, "indexed": indexed, "kept": kept, "waiting": waiting}
    return {name: msgspec.json.encode(value) for name, value in parts.items()}


def _kept(value: Any) -> Any:
    """Its contents in any order; a default that was only looked up is nothing."""
    if isinstance(value, dict):
        return sorted((repr(key), repr(item)) for key, item in value.items() if item or item == 0)
    return sorted(value) if isinstance(value, set) else repr(value)


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def is_recorded(status: int, error: dict[str, Any]) -> bool:
    return status == PAYMENT_FAILED and bool(RECORDED & error.keys())


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_refused_changes_nothing(seed: int) -> None:
    """Of every operation some random requests, of which a third cannot be expanded: noticed last, after all is done."""
    pick = random.Random(seed)
    account = FullWorld()
    world = account.world
    keys = WRITING * 2
    pick.shuffle(keys)
    refusals = 0
    unchanged: dict[str, bytes] | None = None  # everything, as it was found after the last request, if that was refused
    for key in keys:
        method, template = key.split(" ", 1)
        maker = RequestMaker(world, pick.getrandbits(32))
        path = maker.path(template)
        match = account.application.document.match(method, path)
        if match is None:
            continue
        parameters = maker.parameters(match.operation)
        if pick.random() < 1 / 3:
            parameters["expand"] = ["nothing"]
        form = urlencode(list(form_pairs(parameters)))
        query, body = (form, "") if method == "DELETE" else ("", form)
        before = unchanged or everything(world)
        response = account.application.answer(Request(method, path, query, HEADERS, body.encode()))
        answer = msgspec.json.decode(response.body)
        unchanged = None
        if response.status >= 400 and not is_recorded(response.status, answer["error"]):
            refusals += 1
            unchanged = everything(world)
            assert changed(before, unchanged) == [], (key, form, answer)
    assert refusals > len(WRITING)


def refused(account: InProcess, path: str, method: str = "POST", **parameters: Any) -> dict[str, Any]:
    """The error of a request, which changed nothing."""
    before = everything(account.world)
    error: dict[str, Any] = account.ask(path, method, **parameters)["error"]
    assert changed(before, everything(account.world)) == []
    return error


def test_an_inline_product_of_a_refused_price_is_not_left() -> None:
    error = refused(InProcess(), "prices", **MONTHLY, **{"product_data[name]": "Pro", "metadata[a]": "x" * 501})
    assert error["code"] == "parameter_invalid_string_too_long"


def test_a_customer_whose_second_card_is_declined_is_not_left_and_neither_is_the_first() -> None:
    account = InProcess()
    cards: dict[str, Any] = {"payment_method": "pm_card_visa", "invoice_settings[default_payment_method]": "pm_none"}
    assert refused(account, "customers", **cards)["code"] == "resource_missing"
    assert refused(account, "customers", payment_method="pm_card_chargeDeclined")["code"] == "card_declined"
    assert account.world.store.all("event") == []


def test_a_subscription_with_an_unknown_coupon_does_not_fix_its_customers_currency() -> None:
    account = InProcess()
    customer = account.ask("customers", payment_method="pm_card_visa")["id"]
    price = account.ask("prices", **MONTHLY, **{"product_data[name]": "Pro"})["id"]
    wanted: dict[str, Any] = {"customer": customer, "items[0][price]": price}
    assert refused(account, "subscriptions", **wanted, **{"discounts[0][coupon]": "none"})["code"] == "resource_missing"
    assert account.world.store.get("customer", customer)["currency"] is None


def test_what_cannot_be_expanded_is_not_done() -> None:
    account = FullWorld()
    wanted: dict[str, Any] = {"customer": account.customer, "items[0][price]": account.price, "expand[0]": "nothing"}
    refused(account, "subscriptions", **wanted)
    refused(account, f"subscriptions/{account.subscription}", "DELETE", **{"expand[0]": "nothing"})
    payload: dict[str, Any] = {"payload[stripe_customer_id]": account.customer, "payload[value]": 1}
    item = account.ask("invoiceitems", customer=account.customer, amount=1, currency="usd")["id"]
    refused(account, f"invoiceitems/{item}", "DELETE", **{"expand[0]": "nothing"})
    refused(account, "billing/meter_events", event_name="tokens", identifier="a", **payload, **{"expand[0]": "nothing"})
    assert "error" not in account.ask("billing/meter_events", event_name="tokens", identifier="a", **payload)


def test_work_left_by_a_refused_request_never_runs() -> None:
    account = InProcess()
    customer = account.ask("customers", payment_method="pm_card_visa")["id"]
    method = account.world.store.where("payment_method", "customer", customer)[0]["id"]
    price = account.ask("prices", **MONTHLY, **{"product_data[name]": "Pro"})["id"]
    wanted: dict[str, Any] = {"customer": customer, "items[0][price]": price, "default_payment_method": method}
    refused(account, "subscriptions", **wanted, **{"expand[0]": "nothing"})
    account.world.clock.advance(account.world.now + 100 * 86_400)
    assert account.world.store.all("invoice") == []
    assert account.world.balances == {"pending": {}, "available": {}}


def test_a_declined_payment_is_recorded() -> None:
    """Stripe keeps the intent and the failed charge, and tells of them."""
    account = InProcess()
    paying: dict[str, Any] = {
        "payment_method": "pm_card_chargeDeclined",
        "payment_method_types[0]": "card",
        "confirm": "true",
    }
    error = account.ask("payment_intents", amount=1000, currency="usd", **paying)["error"]
    assert error["payment_intent"]["status"] == "requires_payment_method"
    assert account.ask("charges", source="tok_chargeDeclined", amount=1000, currency="usd")["error"]["charge"]
    assert [charge["status"] for charge in account.world.store.all("charge")] == ["failed", "failed"]
    assert [event["type"] for event in account.world.store.all("event")] == [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
        "charge.failed",
    ]


def test_an_object_made_again_under_its_old_name_has_its_own_place_in_lists() -> None:
    account = InProcess()
    for coupon in ("a", "b"):
        account.ask("coupons", id=coupon, percent_off=10, duration="forever")
    account.ask("coupons/a", "DELETE")
    for coupon in ("a", "c"):
        account.ask("coupons", id=coupon, percent_off=10, duration="forever")
    pages = [account.ask("coupons", "GET", limit=1)]
    while pages[-1]["has_more"]:
        pages.append(account.ask("coupons", "GET", limit=1, starting_after=pages[-1]["data"][0]["id"]))
    assert [page["data"][0]["id"] for page in pages] == ["c", "a", "b"]
