"""
Every write to Stripe, carried out while its answer was lost, and performed again days later: exactly one effect each.

A new operation in billing/stripe/writes.py needs a line in SCENARIOS: without it the first test names it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from billing.stripe import gateway, outbox, redriving, writes
from billing.stripe.errors import OutboxNeedsPerson, StripeUnavailable
from billing.stripe.models import OutboxIntent
from tests.billing.thread import START
from tests.sandbox.client import SandboxProcess

NOW = datetime(2026, 11, 1, tzinfo=UTC)
THREE_DAYS = timedelta(days=3)
LATER = NOW + THREE_DAYS
_numbers = count(1)


@dataclass(frozen=True)
class Write:
    """What an operation is tried with."""

    params: dict[str, Any] = field(default_factory=dict)
    target: str = ""


def made(path: str, **params: Any) -> dict[str, Any]:
    return gateway.request("post", path, params).data


def customer() -> str:
    return str(made("/v1/customers", name="Ada")["id"])


def payer() -> str:
    """A customer whose card pays."""
    card = made("/v1/payment_methods/pm_card_visa/attach", customer=(ada := customer()))["id"]
    made(f"/v1/customers/{ada}", invoice_settings={"default_payment_method": card})
    return ada


def product() -> str:
    return str(made("/v1/products", name="Pro")["id"])


def price(unit_amount: int = 2000) -> str:
    terms = {"currency": "usd", "unit_amount": unit_amount, "recurring": {"interval": "month"}}
    return str(made("/v1/prices", product=product(), **terms)["id"])


def subscription() -> dict[str, Any]:
    return made("/v1/subscriptions", customer=payer(), items=[{"price": price()}])


def draft(**params: Any) -> str:
    return str(made("/v1/invoices", customer=payer(), auto_advance=False, **params)["id"])


def open_invoice() -> dict[str, Any]:
    """One that nobody has paid, of 500 in one line."""
    invoice = draft()
    made(f"/v1/invoices/{invoice}/add_lines", lines=[{"amount": 500, "description": "Usage"}])
    return made(f"/v1/invoices/{invoice}/finalize", auto_advance=False)


def metered() -> dict[str, Any]:
    """The terms of a meter whose name nobody else has."""
    return {
        "default_aggregation": {"formula": "sum"},
        "display_name": "Tokens",
        "event_name": f"tokens-{next(_numbers)}",
    }


def meter() -> str:
    return str(made("/v1/billing/meters", **metered())["id"])


def _changed_subscription() -> Write:
    known = subscription()
    item = {"id": known["items"]["data"][0]["id"], "price": price(4000), "quantity": 2}
    return Write({"items": [item], "proration_behavior": "create_prorations"}, known["id"])


def _credited() -> Write:
    invoice = open_invoice()
    line = {"type": "invoice_line_item", "invoice_line_item": invoice["lines"]["data"][0]["id"], "amount": 100}
    return Write({"invoice": invoice["id"], "lines": [line]})


def _metered_event() -> Write:
    """Usage that is a minute old."""
    made("/v1/billing/meters", **(terms := metered()))
    (known,) = [one for one in gateway.listed("/v1/billing/meters") if one["event_name"] == terms["event_name"]]
    payload = {"stripe_customer_id": customer(), "value": "-7"}
    event = {"event_name": terms["event_name"], "identifier": terms["event_name"], "payload": payload}
    return Write({**event, "timestamp": int(START.timestamp()) - 86_400}, known["id"])


def _reactivated() -> Write:
    made(f"/v1/billing/meters/{(known := meter())}/deactivate")
    return Write(target=known)


def charged() -> dict[str, Any]:
    """A payment of 2000 that went through."""
    card = made("/v1/payment_methods/pm_card_visa/attach", customer=(ada := customer()))["id"]
    terms = {"amount": 2000, "currency": "usd", "confirm": True, "off_session": True}
    return made("/v1/payment_intents", customer=ada, payment_method=card, **terms)


def disputed() -> str:
    card = made("/v1/payment_methods/pm_card_createDispute/attach", customer=(ada := customer()))["id"]
    terms = {"amount": 2000, "currency": "usd", "confirm": True, "off_session": True}
    made("/v1/payment_intents", customer=ada, payment_method=card, **terms)
    return str(next(gateway.listed("/v1/disputes"))["id"])


def _attached() -> Write:
    card = made("/v1/payment_methods", type="card", card={"token": "tok_visa"})["id"]
    return Write({"customer": customer()}, card)


SCENARIOS: dict[str, Callable[[], Write]] = {
    "credit_notes.create": _credited,
    "customers.create": lambda: Write({"name": "Ada", "email": "ada@example.com"}),
    "customers.update": lambda: Write({"name": "Grace", "metadata": {"team": "7"}}, customer()),
    "invoices.add_lines": lambda: Write({"lines": [{"amount": 300, "description": "Usage"}]}, draft()),
    "invoices.create": lambda: Write({"customer": payer(), "auto_advance": False}),
    "invoices.finalize": lambda: Write({"auto_advance": False}, draft()),
    "disputes.close": lambda: Write(target=disputed()),
    "disputes.submit": lambda: Write({"evidence": {"product_description": "Tokens"}, "submit": True}, disputed()),
    "invoices.mark_uncollectible": lambda: Write(target=open_invoice()["id"]),
    "invoices.pay": lambda: Write(target=open_invoice()["id"]),
    "invoices.void": lambda: Write(target=open_invoice()["id"]),
    "refunds.create": lambda: Write({"payment_intent": charged()["id"], "amount": 500}),
    "subscriptions.cancel": lambda: Write({"prorate": True}, subscription()["id"]),
    "invoices.update": lambda: Write({"auto_advance": False, "metadata": {"close": "7"}}, draft()),
    "meter_events.create": _metered_event,
    "meters.create": lambda: Write(metered()),
    "meters.deactivate": lambda: Write(target=meter()),
    "meters.reactivate": _reactivated,
    "payment_methods.attach": _attached,
    "prices.create": lambda: Write({"product": product(), "currency": "usd", "unit_amount": 2000}),
    "prices.update": lambda: Write({"active": False}, price()),
    "products.create": lambda: Write({"name": "Pro"}),
    "products.update": lambda: Write({"name": "Max", "active": False}, product()),
    "subscriptions.create": lambda: Write({"customer": payer(), "items": [{"price": price()}]}),
    "subscriptions.update": _changed_subscription,
}
BLIND = {name for name, operation in writes.OPERATIONS.items() if operation.is_blind}
Tried = tuple[str, Write]


@pytest.fixture(autouse=True)
def _ready(committed_db: None, at_sandbox: SandboxProcess) -> None:
    """Real commits and the sandbox."""


def perform(tried: Tried, *, now: datetime) -> dict[str, Any]:
    """In one try, so that nothing waits."""
    name, write = tried
    with gateway.one_try():
        return outbox.perform(purpose=name, operation=name, target=write.target, params=write.params, now=now)


def fail_once(at_sandbox: SandboxProcess, tried: Tried, *, mode: Any) -> None:
    """Perform it while its answer is lost (or its request fails)."""
    name, write = tried
    operation = writes.OPERATIONS[name]
    path = operation.path.format(target=write.target)
    at_sandbox.fault(operation=f"{operation.method.upper()} {path}$", mode=mode)
    with pytest.raises(StripeUnavailable):
        perform(tried, now=NOW)


def forget(at_sandbox: SandboxProcess) -> None:
    """Three days pass, and Stripe has forgotten every key."""
    at_sandbox.fault(operation="POST", mode="forget_idempotency_keys", times=None)
    at_sandbox.advance(at_sandbox.now() + THREE_DAYS.days * 86_400)


def tried_days_ago(at_sandbox: SandboxProcess, names: Iterable[str], *, mode: Any) -> list[Tried]:
    tried = [(name, SCENARIOS[name]()) for name in sorted(names)]
    for one in tried:
        fail_once(at_sandbox, one, mode=mode)
    forget(at_sandbox)
    return tried


def objects(at_sandbox: SandboxProcess) -> dict[str, Any]:
    """Everything that Stripe has, and so every effect; not who asked for it."""
    return {name: value for name, value in at_sandbox.state().items() if name != "recent_requests"}


def test_every_operation_has_a_scenario() -> None:
    assert set(SCENARIOS) == set(writes.OPERATIONS), "add what is missing to SCENARIOS"


def test_what_was_carried_out_and_not_answered_is_found_days_later(at_sandbox: SandboxProcess) -> None:
    """P#10653: a retry charges nobody a second time, and no other write has a second effect either."""
    for name, write in tried_days_ago(at_sandbox, SCENARIOS, mode="timeout_after_commit"):
        before = objects(at_sandbox)

        found = perform((name, write), now=LATER)

        assert objects(at_sandbox) == before, name
        intent = OutboxIntent.objects.get(purpose=name)
        assert (intent.state, intent.stripe_object_id, intent.attempts) == ("succeeded", found["id"], 1), name
        assert [one.outcome for one in intent.tries.all()] == ["unavailable", "found"], name


def test_what_was_never_carried_out_is_sent_days_later_once(at_sandbox: SandboxProcess) -> None:
    for one in tried_days_ago(at_sandbox, set(SCENARIOS) - BLIND, mode="error_500"):
        before = objects(at_sandbox)

        sent = perform(one, now=LATER)

        after = objects(at_sandbox)
        assert after != before, one[0]
        assert perform(one, now=LATER)["id"] == sent["id"]
        assert objects(at_sandbox) == after, one[0]
        assert OutboxIntent.objects.get(purpose=one[0]).attempts == 2


def test_an_old_update_waits_for_a_person_who_has_it_sent_once(at_sandbox: SandboxProcess) -> None:
    for one in tried_days_ago(at_sandbox, set(SCENARIOS) & BLIND, mode="error_500"):
        before = objects(at_sandbox)
        with pytest.raises(OutboxNeedsPerson):
            perform(one, now=LATER)
        assert objects(at_sandbox) == before, one[0]

        intent = OutboxIntent.objects.get(purpose=one[0])
        redriving.redrive(intent_id=intent.pk, actor="user:emre", reason="Stripe was away", now=LATER)

        after = objects(at_sandbox)
        assert after != before, one[0]
        perform(one, now=LATER)
        assert objects(at_sandbox) == after, one[0]
        intent.refresh_from_db()
        assert (intent.state, intent.generation) == ("succeeded", 1)


def test_what_lies_behind_the_first_page_of_a_list_is_found(at_sandbox: SandboxProcess) -> None:
    write = Write({"name": "Ada"})  # without an address the list cannot be narrowed
    fail_once(at_sandbox, ("customers.create", write), mode="timeout_after_commit")
    forget(at_sandbox)
    for _ in range(gateway.PAGE_SIZE_MAX + 1):
        customer()

    perform(("customers.create", write), now=LATER)

    named = [one for one in gateway.listed("/v1/customers") if "intent_id" in one["metadata"]]
    assert len(named) == 1


def test_a_customer_whose_address_was_changed_is_found(at_sandbox: SandboxProcess) -> None:
    write = ("customers.create", SCENARIOS["customers.create"]())
    fail_once(at_sandbox, write, mode="timeout_after_commit")
    forget(at_sandbox)
    [ada] = gateway.listed("/v1/customers")
    made(f"/v1/customers/{ada['id']}", email="countess@example.com")

    assert perform(write, now=LATER)["id"] == ada["id"]
    assert len(list(gateway.listed("/v1/customers"))) == 1


def test_a_list_that_lags_does_not_hide_what_is_days_old(committed_db: None, at_sandbox: SandboxProcess) -> None:
    """Within Stripe's memory of keys no list is asked, and afterwards none lags so far."""
    write = ("subscriptions.create", SCENARIOS["subscriptions.create"]())
    fail_once(at_sandbox, write, mode="timeout_after_commit")
    forget(at_sandbox)
    at_sandbox.fault(operation="GET", mode="lagging_lists", seconds=3600, times=None)

    perform(write, now=LATER)

    at_sandbox.clear_faults()
    assert len(list(gateway.listed("/v1/subscriptions", status="all"))) == 1
