"""Subscriptions: the first invoice, the months after it, anchors, and the ends."""

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account, sdk


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_first_invoice_is_paid_at_creation(account: Account) -> None:
    customer = account.customer()

    subscription = account.subscription(customer, expand=["latest_invoice.payments"])

    invoice = subscription.latest_invoice
    assert subscription.status == "active"
    assert (invoice.status, invoice.billing_reason, invoice.amount_paid) == ("paid", "subscription_create", 2000)
    [payment] = invoice.payments.data
    assert (payment.status, payment.amount_paid) == ("paid", 2000)
    assert account.api.payment_intents.retrieve(payment.payment.payment_intent).status == "succeeded"
    [line] = invoice.lines.data
    item = subscription["items"].data[0]
    assert line.amount == 2000
    assert line.parent.subscription_item_details.subscription_item == item.id
    assert line.pricing.price_details.price == item.price.id
    assert (line.period.start, line.period.end) == (at("2026-10-01"), at("2026-11-01"))
    assert (item.current_period_start, item.current_period_end) == (at("2026-10-01"), at("2026-11-01"))


def test_events_of_a_new_subscription(account: Account) -> None:
    account.subscription(account.customer())

    told = account.event_types()
    assert told[told.index("customer.subscription.created") :] == [
        "customer.subscription.created",
        "invoice.created",
        "customer.updated",
        "invoice.updated",
        "invoice.finalized",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
    ]


def test_cycle_makes_a_draft_that_is_finalised_and_paid_an_hour_later(
    account: Account, sandbox: SandboxProcess
) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)

    sandbox.advance("2026-11-01T00:00:00Z")
    draft = account.invoices(customer)[0]
    assert (draft.status, draft.billing_reason, draft.total) == ("draft", "subscription_cycle", 2000)
    assert (draft.auto_advance, draft.automatically_finalizes_at) == (True, draft.created + 3600)
    assert (draft.period_start, draft.period_end) == (at("2026-10-01"), at("2026-11-01"))
    assert (draft.lines.data[0].period.start, draft.lines.data[0].period.end) == (at("2026-11-01"), at("2026-12-01"))
    renewed = account.api.subscriptions.retrieve(subscription.id)
    assert renewed["items"].data[0].current_period_end == at("2026-12-01")
    assert renewed.latest_invoice == draft.id

    sandbox.advance("2026-11-01T00:59:59Z")
    assert account.api.invoices.retrieve(draft.id).status == "draft"
    sandbox.advance("2026-11-01T01:00:00Z")
    assert account.api.invoices.retrieve(draft.id).status == "paid"


def test_draft_stays_when_auto_advance_is_taken_away(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    account.subscription(customer)
    sandbox.advance("2026-11-01T00:00:00Z")
    draft = account.invoices(customer)[0]

    changed = account.api.invoices.update(draft.id, {"auto_advance": False})
    sandbox.advance("2026-11-20T00:00:00Z")

    assert changed.automatically_finalizes_at is None
    assert account.api.invoices.retrieve(draft.id).status == "draft"


def test_anchor_on_the_31st_is_clamped_and_restored(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.advance("2026-12-31T15:30:00Z")
    customer = account.customer()
    subscription = account.subscription(customer)

    ends = []
    for month in range(5):
        end = account.api.subscriptions.retrieve(subscription.id)["items"].data[0].current_period_end
        ends.append(datetime.fromtimestamp(end, UTC).strftime("%m-%d %H:%M"))
        sandbox.advance(end)
        assert len(account.invoices(customer)) == month + 2

    assert ends == ["01-31 15:30", "02-28 15:30", "03-31 15:30", "04-30 15:30", "05-31 15:30"]


def test_future_anchor_without_proration_is_free_until_then(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.advance("2026-10-12T00:00:00Z")
    customer = account.customer()

    subscription = account.subscription(customer, billing_cycle_anchor=at("2026-11-01"), proration_behavior="none")

    assert (subscription.status, subscription.latest_invoice) == ("active", None)
    assert subscription["items"].data[0].current_period_end == at("2026-11-01")
    sandbox.advance("2026-11-01T02:00:00Z")
    [invoice] = account.invoices(customer)
    assert (invoice.status, invoice.total, invoice.billing_reason) == ("paid", 2000, "subscription_cycle")
    assert account.api.subscriptions.retrieve(subscription.id)["items"].data[0].current_period_end == at("2026-12-01")


def test_future_anchor_with_proration_bills_the_part_floored(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.advance("2026-10-12T00:00:00Z")

    subscription = account.subscription(
        account.customer(), billing_cycle_anchor=at("2026-11-01"), expand=["latest_invoice"]
    )

    assert subscription.latest_invoice.total == 2000 * 20 // 31


def test_anchor_later_than_the_natural_date_is_refused(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.subscription(account.customer(), billing_cycle_anchor=at("2026-11-02"))

    assert refusal.value.param == "billing_cycle_anchor"


def test_free_subscription_is_active_and_its_invoices_paid_without_a_charge(
    account: Account, sandbox: SandboxProcess
) -> None:
    customer = account.api.customers.create({"email": "free@example.com"})

    subscription = account.subscription(customer, unit_amount=0, expand=["latest_invoice"])
    sandbox.advance("2026-11-01T02:00:00Z")

    assert subscription.status == "active"
    assert [(item.status, item.total, item.attempt_count) for item in account.invoices(customer)] == [
        ("paid", 0, 0),
        ("paid", 0, 0),
    ]
    assert account.api.charges.list().data == []


def test_quantity_multiplies_the_licensed_line(account: Account) -> None:
    customer = account.customer()
    price = account.price(1250)

    subscription = account.api.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id, "quantity": 7}], "expand": ["latest_invoice"]}
    )

    assert subscription.latest_invoice.total == 8750
    assert subscription.latest_invoice.lines.data[0].quantity == 7


def test_declined_first_payment_leaves_it_incomplete_until_it_expires(
    account: Account, sandbox: SandboxProcess
) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")

    subscription = account.subscription(customer, expand=["latest_invoice"])

    assert subscription.status == "incomplete"
    assert (subscription.latest_invoice.status, subscription.latest_invoice.attempt_count) == ("open", 1)
    sandbox.advance("2026-10-01T23:00:00Z")
    assert account.api.subscriptions.retrieve(subscription.id).status == "incomplete_expired"
    assert account.invoices(customer)[0].status == "void"


def test_error_if_incomplete_creates_nothing(account: Account) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")

    with pytest.raises(stripe.CardError) as refusal:
        account.subscription(customer, payment_behavior="error_if_incomplete")

    assert refusal.value.code == "card_declined"
    assert account.api.subscriptions.list({"customer": customer.id, "status": "all"}).data == []
    assert account.invoices(customer) == []


def test_subscription_without_any_card_is_refused(account: Account) -> None:
    customer = account.api.customers.create()

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.subscription(customer)

    assert refusal.value.code == "resource_missing"


def test_cancel_ends_now_and_stops_the_clock(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)

    ended = account.api.subscriptions.cancel(subscription.id)
    sandbox.advance("2026-12-01T00:00:00Z")

    assert (ended.status, ended.ended_at) == ("canceled", at("2026-10-01"))
    assert len(account.invoices(customer)) == 1
    assert account.api.subscriptions.list({"customer": customer.id}).data == []


def test_cancel_at_period_end_ends_with_the_period(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)

    marked = account.api.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    sandbox.advance("2026-11-02T00:00:00Z")

    assert (marked.status, marked.cancel_at) == ("active", at("2026-11-01"))
    ended = account.api.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", at("2026-11-01"))
    assert len(account.invoices(customer)) == 1
    assert account.event_types()[-1] == "customer.subscription.deleted"


def test_taking_the_cancellation_back_lets_it_renew(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, cancel_at_period_end=True)

    account.api.subscriptions.update(subscription.id, {"cancel_at_period_end": False})
    sandbox.advance("2026-11-02T00:00:00Z")

    assert account.api.subscriptions.retrieve(subscription.id).status == "active"
    assert len(account.invoices(customer)) == 2


def test_waiting_items_join_the_next_invoice_of_their_subscription(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    first = account.subscription(customer)
    second = account.subscription(customer, unit_amount=500)
    for amount, owner in ((11, first), (22, second)):
        account.api.invoice_items.create(
            {"customer": customer.id, "amount": amount, "currency": "usd", "subscription": owner.id}
        )

    sandbox.advance("2026-11-01T00:00:00Z")

    totals = {
        invoice.parent.subscription_details.subscription: invoice.total for invoice in account.invoices(customer)[:2]
    }
    assert totals == {first.id: 2011, second.id: 522}


def test_metadata_change_tells_only_what_changed(account: Account) -> None:
    subscription = account.subscription(account.customer(), metadata={"kept": "1", "old": "x"})

    account.api.subscriptions.update(subscription.id, {"metadata": {"old": "", "new": "y"}})

    event = account.api.events.list({"limit": 1}).data[0]
    assert event.data.object["metadata"].to_dict() == {"kept": "1", "new": "y"}
    assert event.data.previous_attributes["metadata"].to_dict() == {"old": "x", "new": None}


def test_items_are_listed_and_read_alone(account: Account) -> None:
    subscription = account.subscription(account.customer())
    [item] = subscription["items"].data

    listed = account.api.subscription_items.list({"subscription": subscription.id}).data

    assert [found.id for found in listed] == [item.id]
    assert account.api.subscription_items.retrieve(item.id).price.id == item.price.id
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.subscription_items.retrieve("si_unknown")
    assert refusal.value.code == "resource_missing"


def test_older_paths_under_the_customer(account: Account, sandbox: SandboxProcess) -> None:
    customer, other = account.customer(), account.customer()
    price = account.price()
    client = sdk(sandbox)
    path = f"/v1/customers/{customer.id}/subscriptions"

    made: Any = client.raw_request("post", path, items=[{"price": price.id}]).data
    listed: Any = client.raw_request("get", path).data
    with pytest.raises(stripe.InvalidRequestError):
        client.raw_request("get", f"/v1/customers/{other.id}/subscriptions/{made['id']}")
    ended: Any = client.raw_request("delete", f"{path}/{made['id']}").data

    assert [found["id"] for found in listed["data"]] == [made["id"]]
    assert (made["customer"], made["status"], ended["status"]) == (customer.id, "active", "canceled")
