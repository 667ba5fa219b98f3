"""One Stripe account as tests see it: the SDK with the conformance checker in it, and shorthands for what most need."""

from typing import Any

import stripe

from tests.sandbox.client import SandboxProcess
from tests.sandbox.conformance import CheckedClient, client_for_wrong_requests

KEY = "sk_test_" + "4eC39HqLyjWDarjtT1zdp7dc"
VERSION = "2026-08-26.dahlia"


def sdk(
    sandbox: SandboxProcess,
    *,
    checked: bool = True,
    retries: int = 0,
    key: str = KEY,
    version: str = VERSION,
    http_client: CheckedClient | None = None,
) -> stripe.StripeClient:
    """A client of the sandbox. Unchecked ones are for requests that are wrong on purpose; their answers are checked."""
    return stripe.StripeClient(
        key,
        base_addresses={"api": sandbox.address, "meter_events": sandbox.address},
        stripe_version=version,
        http_client=http_client or (CheckedClient(timeout=60) if checked else client_for_wrong_requests()),
        max_network_retries=retries,
    )


class Account:
    """`api` is the SDK's v1; the methods make the usual things.

    Untyped on purpose: to the SDK an expandable field is "id, object or None", and a test knows which it asked for.
    """

    def __init__(self, sandbox: SandboxProcess) -> None:
        self.sandbox = sandbox
        self.api: Any = sdk(sandbox).v1
        self.unchecked: Any = sdk(sandbox, checked=False).v1

    def customer(self, card: str = "pm_card_visa", **fields: Any) -> Any:
        """A customer whose default card is the named test card."""
        settings = {"default_payment_method": card}
        return self.api.customers.create({"payment_method": card, "invoice_settings": settings, **fields})

    def price(self, unit_amount: int = 2000, *, interval: str = "month", currency: str = "usd") -> Any:
        product = self.api.products.create({"name": "Pro"})
        return self.api.prices.create(
            {
                "product": product.id,
                "currency": currency,
                "unit_amount": unit_amount,
                "recurring": {"interval": interval},
            }
        )

    def subscription(self, customer: Any, *, unit_amount: int = 2000, **fields: Any) -> Any:
        price = self.price(unit_amount)
        return self.api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}], **fields})

    def invoice(self, customer: Any, *amounts: int, **fields: Any) -> Any:
        """A draft with one line an amount."""
        invoice = self.api.invoices.create({"customer": customer.id, **fields})
        for amount in amounts:
            self.api.invoice_items.create(
                {"customer": customer.id, "invoice": invoice.id, "amount": amount, "currency": invoice.currency}
            )
        return self.api.invoices.retrieve(invoice.id)

    def invoices(self, customer: Any) -> list[Any]:
        """Newest first."""
        return list(self.api.invoices.list({"customer": customer.id, "limit": 100}).auto_paging_iter())

    def event_types(self) -> list[str]:
        """Every event of the last 30 days, oldest first."""
        events = self.api.events.list({"limit": 100}).auto_paging_iter()
        return [event.type for event in events][::-1]

    def balance(self, customer: Any) -> int:
        return int(self.api.customers.retrieve(customer.id).balance)
