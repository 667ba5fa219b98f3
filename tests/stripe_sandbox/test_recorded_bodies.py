"""The bodies that others recorded from the real Stripe, beside ours for the same calls: every field that differs.

The calls are made at the recorded instants, so that moments are compared exactly; identifiers are compared by prefix.
A difference that is not declared here fails, and so does a declared one that is no longer there.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.shared_data import REAL_BODIES, needs_shared_data

Json = dict[str, Any]
IDENTIFIER = re.compile(r"\b([a-z]{2,5})_[A-Za-z0-9]{14,}\b")
INDEX = re.compile(r"\[\d+\]")
ABSENT = "(absent)"

UNDOCUMENTED = "Stripe sends it, its document does not list it; the sandbox sends what the document lists"
OTHER_ACCOUNT = "a fact of the recording account, not of Stripe's behaviour"
REDACTED = "redacted by who recorded it"

PRICE_CREATED = 1_790_021_304
SUBSCRIPTION_CREATED = 1_790_021_309
CHANGED = SUBSCRIPTION_CREATED + 2
PRORATED_FROM = 1_792_606_829  # 1/400 of the period is left
ITEM_CREATED = 1_789_995_705
REFUNDED = 1_789_920_629

# By body and field (list places left out): why it differs.
DIFFERENCES: dict[str, dict[str, str]] = {
    "invoice_quantity_change": {
        "account_country": OTHER_ACCOUNT,
        "account_name": OTHER_ACCOUNT,
        "number": OTHER_ACCOUNT + ": its numbers run on from earlier invoices",
        "hosted_invoice_url": REDACTED,
        "invoice_pdf": REDACTED,
        "lines.total_count": UNDOCUMENTED,
    },
    "invoiceitem_manual": {"invoicing_rules": UNDOCUMENTED},
    "refund_partial": {},
    "subscription_after_quantity_change": {
        "plan": UNDOCUMENTED,
        "quantity": UNDOCUMENTED,
        "items.total_count": UNDOCUMENTED,
        "items.data.plan": UNDOCUMENTED,
        "items.data.current_trial": UNDOCUMENTED,
        "items.data.price.recurring.trial_period_days": UNDOCUMENTED,
        "trial_settings.end_behavior.billing_cycle_anchor": UNDOCUMENTED,
    },
}


def changed_subscription(account: Account) -> Any:
    """1,000 a month, one becomes three when 1/400 of the period is left, invoiced at once."""
    account.sandbox.reset(now=PRICE_CREATED)
    product = account.api.products.create({"name": "s01 proration"})
    price = account.api.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 1000, "recurring": {"interval": "month"}}
    )
    account.sandbox.advance(SUBSCRIPTION_CREATED)
    customer = account.customer(email="s01@conformance.stripeapi.invalid")
    subscription = account.api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    account.sandbox.advance(CHANGED)
    [item] = subscription["items"].data
    return account.api.subscriptions.update(
        subscription.id,
        {
            "items": [{"id": item.id, "quantity": 3}],
            "proration_behavior": "always_invoice",
            "proration_date": PRORATED_FROM,
        },
    )


def invoice_quantity_change(account: Account) -> Any:
    return account.api.invoices.retrieve(changed_subscription(account).latest_invoice)


def subscription_after_quantity_change(account: Account) -> Any:
    return account.api.subscriptions.retrieve(changed_subscription(account).id)


def invoiceitem_manual(account: Account) -> Any:
    account.sandbox.reset(now=ITEM_CREATED)
    customer = account.customer()
    item = {"customer": customer.id, "amount": 2000, "currency": "usd", "description": "One-time setup fee"}
    return account.api.invoice_items.create(item)


def refund_partial(account: Account) -> Any:
    account.sandbox.reset(now=REFUNDED)
    customer = account.customer()
    [card] = account.api.payment_methods.list({"customer": customer.id}).data
    intent = account.api.payment_intents.create(
        {"amount": 2000, "currency": "usd", "customer": customer.id, "payment_method": card.id, "confirm": True}
        | {"payment_method_types": ["card"]}
    )
    return account.api.refunds.create({"payment_intent": intent.id, "amount": 700})


CALLS: dict[str, Callable[[Account], Any]] = {
    "invoice_quantity_change": invoice_quantity_change,
    "invoiceitem_manual": invoiceitem_manual,
    "refund_partial": refund_partial,
    "subscription_after_quantity_change": subscription_after_quantity_change,
}


@needs_shared_data
@pytest.mark.parametrize("body", REAL_BODIES, ids=lambda path: path.stem)
def test_every_field_that_differs_is_declared_with_its_reason(
    account: Account, sandbox: SandboxProcess, body: Any
) -> None:
    recorded = json.loads(body.read_text())
    declared = DIFFERENCES[body.stem]

    ours = json.loads(CALLS[body.stem](account).last_response.body)

    found = differences(recorded, ours, known=declared)
    undeclared = {field: values for field, values in found.items() if field not in declared}
    assert undeclared == {}
    assert sorted(declared.keys() - found.keys()) == []


def differences(recorded: Json, ours: Json, *, known: dict[str, str]) -> dict[str, tuple[Any, Any]]:
    """Field to (recorded, ours). What lies below a known difference is part of it."""
    theirs, mine = flattened(recorded), flattened(ours)
    found: dict[str, tuple[Any, Any]] = {}
    for path in theirs.keys() | mine.keys():
        pair = theirs.get(path, ABSENT), mine.get(path, ABSENT)
        if comparable(pair[0]) != comparable(pair[1]):
            field = INDEX.sub("", path)
            found[next((name for name in known if field == name or field.startswith(f"{name}.")), field)] = pair
    return found


def comparable(value: Any) -> Any:
    """Texts without the random part of the identifiers in them."""
    return IDENTIFIER.sub(r"\1_…", value) if isinstance(value, str) else value


def flattened(thing: Any, path: str = "") -> dict[str, Any]:
    """Leaves by path; an empty object or list is a leaf."""
    if isinstance(thing, dict) and thing:
        parts = [(f"{path}.{key}" if path else key, value) for key, value in thing.items()]
    elif isinstance(thing, list) and thing:
        parts = [(f"{path}[{place}]", value) for place, value in enumerate(thing)]
    else:
        return {path: thing}
    return {name: leaf for key, value in parts for name, leaf in flattened(value, key).items()}
