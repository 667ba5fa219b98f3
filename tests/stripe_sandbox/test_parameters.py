"""Requests that Stripe's document does not allow are refused, in Stripe's words, and change nothing."""

from typing import Any

import pytest
import stripe

from tests.sandbox.conformance import ConformanceProblem
from tests.stripe_sandbox.account import KEY, VERSION, Account

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
    client = stripe.StripeClient(KEY, base_addresses={"api": account.sandbox.address}, stripe_version=VERSION)
    return client.deserialize(client.raw_request(method, path, **parameters).data, api_mode="V1")


@pytest.mark.parametrize(("path", "parameters", "code", "param"), MUTATIONS)
def test_mutated_request_is_refused(account: Account, path: str, parameters: Parameters, code: str, param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        raw(account, "post", path, parameters)

    assert (refusal.value.code, refusal.value.param) == (code, param)
    assert refusal.value.http_status == 400
    assert account.sandbox.state()["counts"] == {}


def test_the_checker_refuses_it_before_it_is_sent(account: Account) -> None:
    with pytest.raises(ConformanceProblem, match=r"emial: unknown"):
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


def test_unknown_url(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL") as refusal:
        raw(account, "get", "/v1/customerz", {})

    assert refusal.value.http_status == 404


def test_operation_that_is_left_out_says_so(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="sandbox does not implement POST /v1/coupons"):
        account.api.coupons.create({"percent_off": 10, "duration": "once"})


def test_parameter_that_is_left_out_says_so(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="does not implement") as refusal:
        account.subscription(account.customer(), trial_period_days=7)

    assert refusal.value.param == "trial_period_days"


def test_missing_and_referred_objects(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as addressed:
        account.api.customers.retrieve("cus_none")
    with pytest.raises(stripe.InvalidRequestError) as referred:
        account.api.invoices.create({"customer": "cus_none"})

    assert (addressed.value.http_status, addressed.value.code, addressed.value.param) == (404, "resource_missing", "id")
    assert (referred.value.http_status, referred.value.param) == (400, "customer")


@pytest.mark.parametrize("key", ["sk_live_4eC39HqLyjWDarjtT1zdp7dc", "pk_test_4eC39HqLyjWDarjtT1zdp7dc"])
def test_other_keys_are_refused(account: Account, key: str) -> None:
    client = stripe.StripeClient(key, base_addresses={"api": account.sandbox.address}, stripe_version=VERSION)

    with pytest.raises(stripe.AuthenticationError):
        client.v1.customers.list()


def test_another_api_version_is_refused(account: Account) -> None:
    client = stripe.StripeClient(KEY, base_addresses={"api": account.sandbox.address}, stripe_version="2020-08-27")

    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version"):
        client.v1.customers.list()
