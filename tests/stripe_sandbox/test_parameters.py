"""Requests that Stripe's document does not allow are refused, in Stripe's words, and change nothing."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
import stripe

from tests.sandbox.conformance import Checker, ConformanceProblem, check_plain_answer
from tests.sandbox.tally import expected_problems
from tests.stripe_sandbox.account import KEY, Account, sdk
from tests.stripe_sandbox.mutations import encoded

Parameters = dict[str, Any]

# (path, valid parameters with one thing changed, code, param)
MUTATIONS: list[tuple[str, Parameters, str, str]] = [
    ("/v1/customers", {"emial": "a@example.com"}, "parameter_unknown", "emial"),
    ("/v1/customers", {"email": {"a": "b"}}, "parameter_invalid_string", "email"),
    ("/v1/customers", {"balance": "ten"}, "parameter_invalid_integer", "balance"),
    ("/v1/customers", {"balance": "1.5"}, "parameter_invalid_integer", "balance"),
    ("/v1/customers", {"balance": ""}, "parameter_invalid_empty", "balance"),
    ("/v1/customers", {"tax_exempt": "maybe"}, "parameter_invalid_enum", "tax_exempt"),
    ("/v1/customers", {"name": "x" * 300}, "parameter_invalid_string_too_long", "name"),
    (
        "/v1/customers",
        {"invoice_settings": {"default_card": "x"}},
        "parameter_unknown",
        "invoice_settings[default_card]",
    ),
    ("/v1/customers", {"metadata": {"a": {"b": "c"}}}, "parameter_invalid_string", "metadata[a]"),
    ("/v1/products", {}, "parameter_missing", "name"),
    ("/v1/products", {"name": "x", "active": "yes"}, "parameter_invalid_boolean", "active"),
    ("/v1/prices", {"unit_amount": 5}, "parameter_missing", "currency"),
    (
        "/v1/prices",
        {"currency": "usd", "recurring": {"interval": "fortnight"}},
        "parameter_invalid_enum",
        "recurring[interval]",
    ),
    ("/v1/prices", {"currency": "usd", "recurring": {"interval_count": 2}}, "parameter_missing", "recurring[interval]"),
    ("/v1/subscriptions", {"items": [{"prize": "price_x"}]}, "parameter_unknown", "items[0][prize]"),
    ("/v1/subscriptions", {"items": [{"quantity": "many"}]}, "parameter_invalid_integer", "items[0][quantity]"),
    ("/v1/subscriptions", {"coupon": "x"}, "parameter_unknown", "coupon"),
    ("/v1/subscriptions", {"items": "price_x"}, "parameter_invalid_array", "items"),
    ("/v1/subscriptions", {"proration_behavior": "sometimes"}, "parameter_invalid_enum", "proration_behavior"),
    ("/v1/subscriptions", {"off_session": "1"}, "parameter_invalid_boolean", "off_session"),
    ("/v1/invoiceitems", {"price": "price_x"}, "parameter_unknown", "price"),
    ("/v1/invoiceitems", {"period": {"start": 1}}, "parameter_missing", "period[end]"),
    ("/v1/invoices", {"auto_advanced": True}, "parameter_unknown", "auto_advanced"),
    ("/v1/invoices/in_1/finalize", {"auto_advance": "soon"}, "parameter_invalid_boolean", "auto_advance"),
    ("/v1/invoices/in_1/add_lines", {}, "parameter_missing", "lines"),
    ("/v1/invoices/in_1/add_lines", {"lines": [{"ammount": 1}]}, "parameter_unknown", "lines[0][ammount]"),
    ("/v1/webhook_endpoints", {"url": "http://x"}, "parameter_missing", "enabled_events"),
    (
        "/v1/webhook_endpoints",
        {"url": "http://x", "enabled_events": ["invoice.payed"]},
        "parameter_invalid_enum",
        "enabled_events[0]",
    ),
    ("/v1/refunds", {"reason": "regret"}, "parameter_invalid_enum", "reason"),
]


def raw(account: Account, method: str, path: str, parameters: Parameters) -> stripe.StripeObject:
    client = sdk(account.sandbox, checked=False)
    return client.deserialize(client.raw_request(method, path, **parameters).data, api_mode="V1")


@pytest.mark.parametrize(("path", "parameters", "code", "param"), MUTATIONS)
def test_mutated_request_is_refused(account: Account, path: str, parameters: Parameters, code: str, param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        raw(account, "post", path, parameters)

    assert (refusal.value.code, refusal.value.param) == (code, param)
    assert refusal.value.http_status == 400
    assert account.sandbox.state()["counts"] == {}


@pytest.mark.parametrize(("path", "parameters", "code", "param"), MUTATIONS)
def test_mutated_request_is_caught_by_the_checker(path: str, parameters: Parameters, code: str, param: str) -> None:
    [first, *_] = Checker().request_problems("POST", f"http://sandbox{path}", encoded(parameters))

    assert f"{path}: {param}: " in first


def test_the_checker_refuses_it_before_it_is_sent(account: Account) -> None:
    with expected_problems(), pytest.raises(ConformanceProblem, match=r"emial: unknown"):
        account.api.customers.create({"emial": "a@example.com"})

    assert account.sandbox.state()["recent_requests"] == []


def test_metadata_keys_may_be_digits(account: Account) -> None:
    customer = account.api.customers.create({"metadata": {"0": "zero", "1": "one"}})

    assert customer.metadata is not None
    assert customer.metadata.to_dict() == {"0": "zero", "1": "one"}


def test_metadata_is_merged_and_unset(account: Account) -> None:
    customer = account.api.customers.create({"metadata": {"a": "1", "b": "2"}})

    merged = account.api.customers.update(customer.id, {"metadata": {"b": "", "c": "3"}})
    emptied = account.api.customers.update(customer.id, {"metadata": ""})

    assert [item.metadata.to_dict() for item in (merged, emptied) if item.metadata is not None] == [
        {"a": "1", "c": "3"},
        {},
    ]


@pytest.mark.parametrize(
    ("metadata", "param"),
    [
        ({"k" * 41: "x"}, f"metadata[{'k' * 41}]"),
        ({"key": "x" * 501}, "metadata[key]"),
        ({f"key{number}": "x" for number in range(51)}, "metadata"),
    ],
)
def test_metadata_has_its_limits(account: Account, metadata: dict[str, str], param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.unchecked.customers.create({"metadata": metadata})

    assert refusal.value.param == param
    longest = {"k" * 40: "x" * 500, **{f"key{number}": "x" for number in range(49)}}
    assert account.api.customers.create({"metadata": longest}).metadata.to_dict() == longest


def test_unknown_url(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL") as refusal:
        raw(account, "get", "/v1/customerz", {})

    assert refusal.value.http_status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("delete", "/v1/events/evt_1"),
        ("post", "/v1/events"),
        ("get", "/v1/invoices/in_1/pay"),
        ("delete", "/v1/charges/ch_1"),
        ("get", "/v1"),
        ("get", "/v1/customers/cus_1/"),
        ("get", "/v1//customers"),
    ],
)
def test_method_that_a_path_does_not_have(account: Account, method: str, path: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        raw(account, method, path, {})

    assert refusal.value.http_status == 404
    assert f"Unrecognized request URL ({method.upper()}: {path})" in str(refusal.value.user_message)


def ask(
    account: Account, method: str, path: str, body: bytes | None = None, *, headers: dict[str, str]
) -> tuple[int, Any]:
    """A request as it is, without the SDK: its status and the error."""
    request = urllib.request.Request(account.sandbox.address + path, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        error = json.load(refusal)
        check_plain_answer(method, path, refusal.code, error)
        return refusal.code, error["error"]


def test_without_a_key(account: Account) -> None:
    wrong: list[dict[str, str]] = [{}, {"Authorization": "Bearer "}, {"Authorization": "Basic !"}]
    for headers in wrong:
        status, error = ask(account, "GET", "/v1/customers", headers=headers)

        assert (status, error["type"]) == (401, "invalid_request_error")
        assert error["message"].startswith("You did not provide an API key.")


def test_a_method_that_stripe_never_has(account: Account) -> None:
    status, error = ask(account, "PATCH", "/v1/customers", headers={"Authorization": f"Bearer {KEY}"})

    assert (status, error["type"]) == (405, "invalid_request_error")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"metadata=1&metadata[a]=2", "metadata[a]"),
        (b"invoice_settings[footer]=1&invoice_settings=2", "invoice_settings"),
        (b"preferred_locales[first]=de", "preferred_locales"),
        (b"name[]=Ada", "name"),
        (b"=x", ""),
    ],
)
def test_a_malformed_form_is_refused(account: Account, body: bytes, param: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}

    status, error = ask(account, "POST", "/v1/customers", body, headers=headers)

    assert (status, error["type"], error.get("param")) == (400, "invalid_request_error", param)
    assert account.sandbox.state()["counts"] == {}


def test_operation_that_is_left_out_says_so(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="sandbox does not implement GET /v1/terminal/locations"):
        account.api.terminal.locations.list()


def test_parameter_that_is_left_out_says_so(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="does not implement") as refusal:
        account.subscription(account.customer(), application_fee_percent=5)

    assert refusal.value.param == "application_fee_percent"


def test_missing_and_referred_objects(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as addressed:
        account.api.customers.retrieve("cus_none")
    with pytest.raises(stripe.InvalidRequestError) as referred:
        account.api.invoices.create({"customer": "cus_none"})

    assert (addressed.value.http_status, addressed.value.code, addressed.value.param) == (404, "resource_missing", "id")
    assert (referred.value.http_status, referred.value.param) == (400, "customer")


@pytest.mark.parametrize("key", ["sk_live_4eC39HqLyjWDarjtT1zdp7dc", "pk_test_4eC39HqLyjWDarjtT1zdp7dc"])
def test_other_keys_are_refused(account: Account, key: str) -> None:
    client = sdk(account.sandbox, checked=False, key=key)

    with pytest.raises(stripe.AuthenticationError):
        client.v1.customers.list()


def test_another_api_version_is_refused(account: Account) -> None:
    client = sdk(account.sandbox, checked=False, version="2020-08-27")

    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version"):
        client.v1.customers.list()
