"""Collection paused, subscriptions that end at a chosen moment, and what waits at an interval of its own."""

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account

HALF = "2026-10-16T12:00:00Z"


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())


def pause(account: Account, subscription: Any, behavior: str, **fields: Any) -> Any:
    return account.api.subscriptions.update(subscription.id, {"pause_collection": {"behavior": behavior, **fields}})


@pytest.mark.parametrize(
    ("behavior", "status"), [("keep_as_draft", "draft"), ("mark_uncollectible", "uncollectible"), ("void", "void")]
)
def test_invoices_while_collection_is_paused(
    account: Account, sandbox: SandboxProcess, behavior: str, status: str
) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)

    paused = pause(account, subscription, behavior)
    sandbox.advance("2026-11-15T00:00:00Z")

    assert (paused.status, paused.pause_collection.behavior) == ("active", behavior)
    renewal = account.invoices(customer)[0]
    assert (renewal.status, renewal.total, renewal.attempted) == (status, 2000, False)
    assert account.api.subscriptions.retrieve(subscription.id).status == "active"


def test_collection_resumes_by_itself(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    pause(account, subscription, "void", resumes_at=at("2026-11-10"))

    sandbox.advance("2026-12-01T02:00:00Z")

    assert account.api.subscriptions.retrieve(subscription.id).pause_collection is None
    assert [invoice.status for invoice in account.invoices(customer)] == ["paid", "void", "paid"]


def test_collection_is_resumed_by_request(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    pause(account, subscription, "void")

    resumed = account.api.subscriptions.update(subscription.id, {"pause_collection": ""})
    sandbox.advance("2026-11-01T02:00:00Z")

    assert resumed.pause_collection is None
    assert account.invoices(customer)[0].status == "paid"


def test_change_that_is_invoiced_at_once_is_not_collected_either(account: Account, sandbox: SandboxProcess) -> None:
    subscription = account.subscription(account.customer())
    pause(account, subscription, "keep_as_draft")
    sandbox.advance(HALF)

    changed = account.api.subscriptions.update(
        subscription.id,
        {
            "items": [{"id": subscription["items"].data[0].id, "quantity": 3}],
            "proration_behavior": "always_invoice",
            "expand": ["latest_invoice"],
        },
    )

    assert (changed.latest_invoice.status, changed.latest_invoice.auto_advance) == ("draft", False)


def test_resumption_in_the_past_is_refused(account: Account) -> None:
    subscription = account.subscription(account.customer())

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        pause(account, subscription, "void", resumes_at=at("2026-09-01"))

    assert refusal.value.param == "pause_collection[resumes_at]"


def test_cancel_at_before_the_period_ends_credits_the_rest(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)

    planned = account.api.subscriptions.update(subscription.id, {"cancel_at": at("2026-10-16T12:00")})

    assert planned.cancel_at == planned["items"].data[0].current_period_end == at("2026-10-16T12:00")
    [credit] = account.api.invoice_items.list({"customer": customer.id}).data
    assert (credit.amount, credit.description) == (-1000, "Unused time on Pro after 16 Oct 2026")
    sandbox.advance("2026-10-16T13:00:00Z")
    ended = account.api.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", at("2026-10-16T12:00"))
    assert account.invoices(customer)[0].total == -1000


def test_cancel_at_taken_back_charges_the_rest_again(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    account.api.subscriptions.update(subscription.id, {"cancel_at": at("2026-10-16T12:00")})

    kept = account.api.subscriptions.update(subscription.id, {"cancel_at": ""})
    sandbox.advance("2026-11-01T02:00:00Z")

    assert (kept.cancel_at, kept["items"].data[0].current_period_end) == (None, at("2026-11-01"))
    assert [line.amount for line in account.invoices(customer)[0].lines.data] == [1000, -1000, 2000]


def test_cancel_at_without_prorations_credits_nothing(account: Account) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)

    account.api.subscriptions.update(
        subscription.id, {"cancel_at": at("2026-10-16T12:00"), "proration_behavior": "none"}
    )

    assert account.api.invoice_items.list({"customer": customer.id}).data == []


def test_cancel_at_in_a_later_period_bills_a_part_of_it(account: Account, sandbox: SandboxProcess) -> None:
    """Ten of November's thirty days."""
    customer = account.customer()
    account.subscription(customer, cancel_at=at("2026-11-11"))

    sandbox.advance("2026-12-02T00:00:00Z")

    assert [invoice.total for invoice in account.invoices(customer)] == [2000 * 10 // 30, 2000]
    assert account.api.subscriptions.list({"customer": customer.id, "status": "canceled"}).data[0].ended_at == at(
        "2026-11-11"
    )


@pytest.mark.parametrize(("behavior", "total"), [("create_prorations", 1000), ("none", 2000)])
def test_first_period_cut_short(account: Account, behavior: str, total: int) -> None:
    subscription = account.subscription(
        account.customer(),
        cancel_at=at("2026-10-16T12:00"),
        proration_behavior=behavior,
        expand=["latest_invoice"],
    )

    assert subscription.latest_invoice.total == total


@pytest.mark.parametrize(("wanted", "moment"), [("min_period_end", "2026-11-01"), ("max_period_end", "2027-10-01")])
def test_cancel_with_the_periods_of_its_items(account: Account, wanted: str, moment: str) -> None:
    monthly, yearly = account.price(1000), account.price(36_500, interval="year")
    customer = account.customer()
    subscription = account.api.subscriptions.create(
        {"customer": customer.id, "items": [{"price": monthly.id}, {"price": yearly.id}]}
    )

    planned = account.api.subscriptions.update(subscription.id, {"cancel_at": wanted})

    assert planned.cancel_at == at(moment)
    credited = [item.amount for item in account.api.invoice_items.list({"customer": customer.id}).data]
    assert credited == ([-100 * 334] if wanted == "min_period_end" else [])


def test_cancellation_details_are_kept(account: Account) -> None:
    subscription = account.subscription(account.customer())

    ended = account.api.subscriptions.cancel(
        subscription.id, {"cancellation_details": {"comment": "too much", "feedback": "too_expensive"}}
    )

    assert ended.cancellation_details.to_dict() == {
        "comment": "too much",
        "feedback": "too_expensive",
        "feedback_option": None,
        "reason": "cancellation_requested",
    }


def test_cancel_at_and_cancel_at_period_end_exclude_each_other(account: Account) -> None:
    subscription = account.subscription(account.customer())

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.subscriptions.update(subscription.id, {"cancel_at": at("2026-12-01"), "cancel_at_period_end": True})

    assert refusal.value.param == "cancel_at"


def test_a_canceled_subscription_stays_as_it_is(account: Account) -> None:
    subscription = account.subscription(account.customer())
    account.api.subscriptions.cancel(subscription.id)

    with pytest.raises(stripe.InvalidRequestError):
        account.api.subscriptions.update(subscription.id, {"description": "too late"})
    kept = account.api.subscriptions.update(subscription.id, {"metadata": {"why": "moved"}})

    assert kept["metadata"]["why"] == "moved"


def test_waiting_items_are_billed_at_their_own_interval(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, pending_invoice_item_interval={"interval": "week"})
    account.api.invoice_items.create(
        {"customer": customer.id, "amount": 777, "currency": "usd", "subscription": subscription.id}
    )

    sandbox.advance("2026-10-15T02:00:00Z")

    assert subscription.next_pending_invoice_item_invoice == at("2026-10-08")
    [extra, _] = account.invoices(customer)
    assert (extra.billing_reason, extra.total, extra.status) == ("automatic_pending_invoice_item_invoice", 777, "paid")
    left = account.api.subscriptions.retrieve(subscription.id)
    assert left.next_pending_invoice_item_invoice == at("2026-10-22")


def test_renewal_is_told_seven_days_before(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    account.api.invoice_items.create(
        {"customer": customer.id, "amount": 50, "currency": "usd", "subscription": subscription.id}
    )

    sandbox.advance("2026-10-24T23:59:59Z")
    assert "invoice.upcoming" not in account.event_types()
    sandbox.advance("2026-10-25T00:00:00Z")

    event = account.api.events.list({"type": "invoice.upcoming"}).data[0]
    invoice = event.data.object
    assert (invoice.billing_reason, invoice.total, invoice.amount_due) == ("upcoming", 2050, 2050)
    assert invoice.id.startswith("upcoming_in_")
    assert len(account.invoices(customer)) == 1
    sandbox.advance("2026-11-01T02:00:00Z")
    assert account.invoices(customer)[0].total == 2050


def test_a_renewal_that_will_not_be_is_not_told(account: Account, sandbox: SandboxProcess) -> None:
    account.subscription(account.customer(), cancel_at_period_end=True)

    sandbox.advance("2026-10-31T00:00:00Z")

    assert "invoice.upcoming" not in account.event_types()
