"""What random requests have broken once (`test_any_request.py`), each in its smallest form."""

from typing import Any

import pytest

from tests.stripe_sandbox.full_world import FullWorld
from tests.stripe_sandbox.in_process import START, InProcess


@pytest.fixture
def account() -> InProcess:
    return InProcess()


def refused(account: InProcess, path: str, method: str = "POST", **parameters: Any) -> dict[str, Any]:
    answer = account.ask(path, method, **parameters)
    assert account.world.problems == []
    error: dict[str, Any] = answer["error"]
    return error


def test_invoice_items_are_listed_by_their_date() -> None:
    full = FullWorld()
    items = full.world.store.all("invoiceitem")

    listed = full.ask("invoiceitems", "GET", **{"created[gte]": START, "limit": 100})

    assert {item["id"] for item in listed["data"]} == {item["id"] for item in items}
    assert full.ask("invoiceitems", "GET", created=START - 1)["data"] == []


def test_a_page_of_a_search_that_is_no_page(account: InProcess) -> None:
    assert refused(account, "charges/search", "GET", query="amount>1", page="Ä")["param"] == "page"


def test_former_values_cannot_be_expanded(account: InProcess) -> None:
    customer = account.ask("customers")["id"]
    account.ask(f"customers/{customer}", **{"metadata[object]": "x"})
    account.ask("billing_portal/configurations", **{"features[invoice_history][enabled]": "true"})
    for event in account.world.store.all("event"):
        assert refused(account, f"events/{event['id']}", "GET", **{"expand[]": "data.previous_attributes"})


def test_the_old_list_of_balance_transactions_has_the_new_url(account: InProcess) -> None:
    assert account.ask("balance/history", "GET")["url"] == "/v1/balance_transactions"
    assert account.world.problems == []


def test_an_invoice_item_for_nobody(account: InProcess) -> None:
    assert refused(account, "invoiceitems", customer="", amount=5, currency="usd")["param"] == "customer"


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("exp_month", "May", "invalid_expiry_month"),
        ("exp_month", "13", "invalid_expiry_month"),
        ("exp_year", "-1", "invalid_expiry_year"),
        ("exp_year", "9" * 30, "invalid_expiry_year"),
    ],
)
def test_an_expiry_that_is_none(account: InProcess, field: str, value: str, code: str) -> None:
    card = {
        "card[number]": "4242424242424242",
        "card[exp_month]": "5",
        "card[exp_year]": "2031",
        f"card[{field}]": value,
    }

    assert refused(account, "tokens", **card)["code"] == code


def test_a_source_that_expires_in_no_year() -> None:
    full = FullWorld()
    card = full.ask(f"customers/{full.customer}/sources", source="tok_visa")["id"]

    error = refused(full, f"customers/{full.customer}/sources/{card}", exp_year="9" * 30)

    assert error["code"] == "invalid_expiry_year"


def test_a_payment_method_says_where_it_may_be_shown(account: InProcess) -> None:
    method = account.ask("payment_methods", type="card", allow_redisplay="always", **{"card[token]": "tok_visa"})

    assert method["allow_redisplay"] == "always"


def test_reasons_of_a_cancellation_may_be_emptied(account: InProcess) -> None:
    reason = "features[subscription_cancel][cancellation_reason]"
    wanted = {f"{reason}[enabled]": "false", f"{reason}[options]": "", f"{reason}[feedback_options]": ""}

    made = account.ask("billing_portal/configurations", **{"features[subscription_cancel][enabled]": "true"}, **wanted)

    shown = made["features"]["subscription_cancel"]["cancellation_reason"]
    assert (shown["enabled"], shown["options"]) == (False, [])
    assert account.world.problems == []


def test_the_address_of_a_product_is_no_longer_than_it_can_be_shown(account: InProcess) -> None:
    assert refused(account, "products", name="A", url="x" * 2_049)["param"] == "url"
    assert account.ask("products", name="A", url="x" * 2_048)["url"] == "x" * 2_048


@pytest.mark.parametrize("name", ["setup_future_usage", "metadata"])
def test_a_text_of_a_payment_link_may_be_emptied(name: str) -> None:
    full = FullWorld()
    link = full.world.store.all("payment_link")[0]["id"]

    data = full.ask(f"payment_links/{link}", **{f"payment_intent_data[{name}]": ""})["payment_intent_data"]

    assert data[name] in (None, {})
    assert full.world.problems == []


def test_an_amount_that_no_sum_could_hold() -> None:
    full = FullWorld()
    own = {"customer": full.customer, "currency": "usd"}

    assert (
        refused(full, "invoiceitems", unit_amount_decimal="1500", quantity=10**18, **own)["code"] == "amount_too_large"
    )
    price = {"product": full.product, "currency": "usd", "unit_amount_decimal": "1000000000000"}
    assert refused(full, "prices", **price)["param"] == "unit_amount_decimal"
    most = full.ask("prices", **{**price, "unit_amount_decimal": "999999999999"})
    assert most["unit_amount"] == 999_999_999_999


def test_a_refusal_names_the_parameter_as_the_request_has_it() -> None:
    full = FullWorld()
    both = {"unit_amount": 5, "unit_amount_decimal": "5"}
    data = {"currency": "usd", "product": full.product, "recurring[interval]": "month", **both}
    nested: dict[str, Any] = {
        f"items[0][price_data][{name.replace('[', '][', 1).removesuffix(']')}]": value for name, value in data.items()
    }

    error = refused(full, "subscriptions", customer=full.customer, **nested)

    assert error["param"] == "items[0][price_data][unit_amount]"


def test_a_refusal_names_no_parameter_that_the_operation_does_not_have() -> None:
    full = FullWorld()
    item = next(item for item in full.world.store.all("invoiceitem") if item["invoice"] is not None)
    full.ask(f"invoices/{item['invoice']}/finalize")

    error = refused(full, f"invoiceitems/{item['id']}", "DELETE")

    assert "param" not in error


def test_a_subscription_that_is_refused_is_in_no_list() -> None:
    full = FullWorld()
    wanted = {"customer": full.customer, "items[0][price]": full.price}
    before = full.ask("subscriptions", "GET", customer=full.customer, status="all")

    for _ in range(2):  # the second would find what the first had left
        assert refused(full, "subscriptions", **wanted, **{"invoice_settings[account_tax_ids][0]": "txi_1"})

    assert full.ask("subscriptions", "GET", customer=full.customer, status="all") == before
