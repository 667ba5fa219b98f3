"""Conversations with the sandbox as they go over the wire: valid requests and answers, for tests to make wrong."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import stripe

from tests.sandbox.client import SandboxProcess
from tests.sandbox.conformance import CheckedClient
from tests.stripe_sandbox.account import Account, sdk

Json = dict[str, Any]


@dataclass(frozen=True)
class Exchange:
    """One request and its answer; `form` is the encoded query or body."""

    method: str
    path: str
    form: str
    status: int
    answer: Json


class RecordingClient(CheckedClient):
    """Keeps what it sent and got."""

    def __init__(self) -> None:
        super().__init__(timeout=60)
        self.exchanges: list[Exchange] = []

    def request(  # type: ignore[override]  # as the checked client itself
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        body, status, answer_headers = super().request(method, url, headers, post_data)
        parts = urlsplit(url)
        form = post_data or parts.query
        self.exchanges.append(Exchange(method.upper(), unquote(parts.path), form, status, json.loads(body)))
        return body, status, answer_headers


def record_a_life(sandbox: SandboxProcess) -> list[Exchange]:
    """A month of a small account, with nearly every kind of object in it and parameters at every depth."""
    account = Account(sandbox)
    client = RecordingClient()
    account.api = sdk(sandbox, http_client=client).v1
    api = account.api
    product = api.products.create({"name": "Pro", "description": "All of it", "metadata": {"tier": "1"}})
    recurring = {"interval": "month", "interval_count": 1}
    terms = {"product": product.id, "currency": "usd", "unit_amount": 2000, "recurring": recurring}
    price = api.prices.create({**terms, "nickname": "monthly"})
    address = {"city": "Berlin", "country": "DE", "line1": "Weg 1", "postal_code": "10115"}
    customer = account.customer(name="Ada", email="ada@example.com", address=address, metadata={"key": "ada"})
    api.customers.update(customer.id, {"invoice_settings": {"footer": "Thanks"}, "tax_exempt": "none"})
    api.webhook_endpoints.create({"url": "http://127.0.0.1:9/x", "enabled_events": ["payout.paid", "payout.failed"]})
    subscription = api.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": price.id, "quantity": 2}],
            "payment_behavior": "allow_incomplete",
            "expand": ["latest_invoice", "customer"],
        }
    )
    draft = account.invoice(customer, 1500, 700, description="Work", collection_method="charge_automatically")
    line = {"amount": 300, "description": "More", "period": {"start": sandbox.now(), "end": sandbox.now() + 60}}
    api.invoices.add_lines(draft.id, {"lines": [line]})
    api.invoices.finalize_invoice(draft.id, {"auto_advance": False})
    paid = api.invoices.pay(draft.id, {"expand": ["payments"]})
    [charge, *_] = api.charges.list({"customer": customer.id}).data
    api.refunds.create({"charge": charge.id, "amount": 100, "reason": "requested_by_customer"})
    api.customers.balance_transactions.create(customer.id, {"amount": -250, "currency": "usd"})
    poor = account.customer("pm_card_chargeCustomerFail")
    declined = account.invoice(poor, 900)
    with suppress(stripe.CardError):
        api.invoices.pay(declined.id)
    api.events.list({"limit": 100, "types": ["invoice.paid", "charge.refunded", "charge.failed"]})
    sandbox.advance("2026-11-01T02:00:00Z")
    api.subscriptions.cancel(subscription.id, {"cancellation_details": {"feedback": "unused"}})
    api.invoices.void_invoice(declined.id)
    api.invoices.retrieve(paid.id)
    api.payment_intents.list({"customer": customer.id, "limit": 3})
    api.payment_methods.list({"customer": customer.id, "type": "card"})
    api.balance_transactions.list({"created": {"gte": 1_790_000_000}})
    api.balance.retrieve()
    api.events.list({"limit": 20})
    api.customers.delete(poor.id)
    return client.exchanges
