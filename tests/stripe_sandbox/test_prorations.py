"""The proration facts of the notes (flexible billing mode), one test each, with figures worked out by hand.

October 2026 has 2,678,400 seconds. Half of it is left at noon of the 16th, 1/400 at 22:08:24 of the 31st.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account

HALF = "2026-10-16T12:00:00Z"
LAST_400TH = "2026-10-31T22:08:24Z"


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())


def change(account: Account, subscription: Any, **fields: Any) -> Any:
    """Change the only item of a subscription, and the subscription itself by keys that are not the item's."""
    [item] = subscription["items"].data
    own: dict[str, Any] = {name: fields.pop(name) for name in ("price", "quantity", "deleted") if name in fields}
    return account.api.subscriptions.update(subscription.id, {"items": [{"id": item.id, **own}], **fields})


def lines(invoice: Any) -> list[tuple[int, str]]:
    return [(line.amount, line.description) for line in invoice.lines.data]


def pending(account: Account, customer: Any) -> list[tuple[int, str]]:
    """Waiting items, as they were made."""
    items = account.api.invoice_items.list({"customer": customer.id, "pending": True, "limit": 100}).data
    return [(item.amount, item.description) for item in items]


def invoiced(account: Account, subscription: Any, **fields: Any) -> Any:
    changed = change(account, subscription, proration_behavior="always_invoice", expand=["latest_invoice"], **fields)
    return changed.latest_invoice


def test_each_line_is_floored_towards_minus_infinity_on_its_own(account: Account, sandbox: SandboxProcess) -> None:
    """1/400 of 1000 is 2.5: credited as -3. 1/400 of 3000 is 7.5: debited as 7, where the difference would be 5."""
    subscription = account.subscription(account.customer(), unit_amount=1000)
    sandbox.advance(LAST_400TH)

    invoice = invoiced(account, subscription, quantity=3)

    assert [line.amount for line in invoice.lines.data] == [-3, 7]


def test_half_a_minor_unit_of_a_debit_is_floored_too(account: Account, sandbox: SandboxProcess) -> None:
    """1/400 of 1800 is 4.5: 4."""
    subscription = account.subscription(account.customer(), unit_amount=1000)
    sandbox.advance(LAST_400TH)

    invoice = invoiced(account, subscription, price=account.price(1800).id)

    assert [line.amount for line in invoice.lines.data] == [-3, 4]


def test_fraction_is_of_exact_seconds(account: Account, sandbox: SandboxProcess) -> None:
    """At 00:00:01 of the 11th, 21 days less a second are left: 1,814,399 of 2,678,400 seconds."""
    subscription = account.subscription(account.customer(), unit_amount=100_000_000)
    sandbox.advance("2026-10-11T00:00:01Z")

    invoice = invoiced(account, subscription, price=account.price(200_000_000).id)

    # 100,000,000 * 1,814,399 / 2,678,400 = 67,741,898.14…; twice that is 135,483,796.29…
    assert [line.amount for line in invoice.lines.data] == [-67_741_899, 135_483_796]


def test_whole_old_configuration_is_credited_before_the_whole_new_one_is_debited(
    account: Account, sandbox: SandboxProcess
) -> None:
    subscription = account.subscription(account.customer(), unit_amount=2000)
    sandbox.advance(HALF)

    invoice = invoiced(account, subscription, quantity=3)

    assert lines(invoice) == [
        (-1000, "Unused time on Pro after 16 Oct 2026"),
        (3000, "Remaining time on 3 × Pro after 16 Oct 2026"),
    ]
    assert [line.quantity for line in invoice.lines.data] == [1, 3]


def test_lines_run_from_the_proration_date_to_the_end_of_the_period(account: Account, sandbox: SandboxProcess) -> None:
    subscription = account.subscription(account.customer())
    sandbox.advance(HALF)

    invoice = invoiced(account, subscription, quantity=2)

    periods = {(line.period.start, line.period.end) for line in invoice.lines.data}
    assert periods == {(at("2026-10-16T12:00"), at("2026-11-01"))}


def test_credit_names_the_lines_that_it_takes_back(account: Account, sandbox: SandboxProcess) -> None:
    subscription = account.subscription(account.customer(), expand=["latest_invoice"])
    sandbox.advance(HALF)

    credit, debit = invoiced(account, subscription, quantity=2).lines.data

    details = credit.parent.subscription_item_details
    billed = subscription.latest_invoice
    assert details.proration is True
    assert details.proration_details.credited_items.to_dict() == {
        "invoice": billed.id,
        "invoice_line_items": [billed.lines.data[0].id],
    }
    assert debit.parent.subscription_item_details.proration_details.credited_items is None
    assert (credit.discountable, credit.pricing.unit_amount_decimal) == (False, None)


def test_proration_date_counts_instead_of_now(account: Account, sandbox: SandboxProcess) -> None:
    subscription = account.subscription(account.customer())
    sandbox.advance("2026-10-02T00:00:00Z")

    invoice = invoiced(account, subscription, quantity=3, proration_date=at("2026-10-16T12:00"))

    assert lines(invoice) == [
        (-1000, "Unused time on Pro after 16 Oct 2026"),
        (3000, "Remaining time on 3 × Pro after 16 Oct 2026"),
    ]


def test_proration_date_outside_the_period_is_refused(account: Account) -> None:
    subscription = account.subscription(account.customer())

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        change(account, subscription, quantity=3, proration_date=at("2026-11-02"))

    assert refusal.value.param == "proration_date"


def test_always_invoice_is_paid_at_once(account: Account, sandbox: SandboxProcess) -> None:
    subscription = account.subscription(account.customer())
    sandbox.advance(HALF)

    invoice = invoiced(account, subscription, quantity=3)

    assert (invoice.billing_reason, invoice.status, invoice.amount_paid) == ("subscription_update", "paid", 2000)
    assert (invoice.period_start, invoice.period_end) == (at("2026-10-01"), at("2026-10-16T12:00"))


def test_total_below_the_minimum_is_paid_and_moves_to_the_balance(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, unit_amount=1000)
    sandbox.advance(LAST_400TH)

    invoice = invoiced(account, subscription, quantity=3)

    assert (invoice.total, invoice.amount_due, invoice.status, invoice.ending_balance) == (4, 0, "paid", 4)
    [transaction] = account.api.customers.balance_transactions.list(customer.id).data
    assert (transaction.type, transaction.amount) == ("invoice_too_small", 4)


def test_negative_total_moves_to_the_balance(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer, unit_amount=2000)
    sandbox.advance(HALF)

    invoice = invoiced(account, subscription, price=account.price(500).id)

    assert (invoice.total, invoice.amount_due, invoice.status) == (-750, 0, "paid")
    assert account.balance(customer) == -750


def test_create_prorations_waits_for_the_renewal(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    sandbox.advance(HALF)

    change(account, subscription, quantity=3)

    assert len(account.invoices(customer)) == 1
    assert pending(account, customer) == [
        (-1000, "Unused time on Pro after 16 Oct 2026"),
        (3000, "Remaining time on 3 × Pro after 16 Oct 2026"),
    ]
    sandbox.advance("2026-11-01T02:00:00Z")
    renewal = account.invoices(customer)[0]
    assert [line.amount for line in renewal.lines.data] == [-1000, 3000, 6000]
    assert (renewal.status, renewal.total) == ("paid", 8000)


def test_none_prorates_nothing(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    sandbox.advance(HALF)

    change(account, subscription, quantity=3, proration_behavior="none")

    assert pending(account, customer) == []
    sandbox.advance("2026-11-01T02:00:00Z")
    assert account.invoices(customer)[0].total == 6000


def test_credit_is_of_what_was_billed_and_not_of_the_current_price(account: Account, sandbox: SandboxProcess) -> None:
    """Stripe's own example: up to 2000 without prorations, then back to 1000: credit and debit cancel out."""
    cheap, dear = account.price(1000), account.price(2000)
    customer = account.customer()
    subscription = account.api.subscriptions.create({"customer": customer.id, "items": [{"price": cheap.id}]})
    sandbox.advance("2026-10-11T00:00:00Z")
    change(account, subscription, price=dear.id, proration_behavior="none")
    sandbox.advance(HALF)

    invoice = invoiced(account, subscription, price=cheap.id)

    assert [line.amount for line in invoice.lines.data] == [-500, 500]
    assert invoice.total == 0


def test_credit_is_net_of_the_share_of_a_discount(account: Account, sandbox: SandboxProcess) -> None:
    """Stripe's own example: 500 off 1000 and 2000 took 166 off the first. Half of the 834 billed for it is 417."""
    customer, small, large = account.customer(), account.price(1000), account.price(2000)
    coupon = account.api.coupons.create({"amount_off": 500, "currency": "usd", "duration": "forever"})
    subscription = account.api.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": small.id}, {"price": large.id}],
            "discounts": [{"coupon": coupon.id}],
        }
    )
    first = next(item for item in subscription["items"].data if item.price.id == small.id)
    sandbox.advance(HALF)

    account.api.subscription_items.delete(first.id, {"proration_behavior": "create_prorations"})

    billed = account.invoices(customer)[0]
    assert [(line.amount, line.discount_amounts[0].amount) for line in billed.lines.data] == [(1000, 166), (2000, 334)]
    assert pending(account, customer) == [(-417, "Unused time on Pro after 16 Oct 2026")]


def test_debit_is_net_of_the_discounts_in_force(account: Account, sandbox: SandboxProcess) -> None:
    """25 % off: 1500 of 2000 were billed, half is 750. Three cost 4500 of 6000 now, half is 2250."""
    coupon = account.api.coupons.create({"percent_off": 25, "duration": "forever"})
    subscription = account.subscription(account.customer(), discounts=[{"coupon": coupon.id}])
    sandbox.advance(HALF)

    invoice = invoiced(account, subscription, quantity=3)

    assert [line.amount for line in invoice.lines.data] == [-750, 2250]
    assert invoice.total == 1500


@pytest.mark.parametrize(("before", "after", "taxes"), [(20, 10, [[-200], [200]]), (None, 20, [[], [400]])])
def test_credit_has_the_tax_of_what_was_billed(
    account: Account, sandbox: SandboxProcess, before: int | None, after: int, taxes: list[list[int]]
) -> None:
    """Billed 2000 with 20 % or without tax; by the change there is another rate, which only the debit of 2000 has."""

    def rates(percentage: int | None) -> list[str]:
        wanted = {"display_name": "VAT", "percentage": percentage, "inclusive": False}
        return [account.api.tax_rates.create(wanted).id] if percentage else []

    subscription = account.subscription(account.customer(), default_tax_rates=rates(before))
    sandbox.advance(HALF)
    account.api.subscriptions.update(subscription.id, {"default_tax_rates": rates(after)})

    invoice = invoiced(account, subscription, quantity=2)

    assert [line.amount for line in invoice.lines.data] == [-1000, 2000]
    assert [[tax.amount for tax in line.taxes] for line in invoice.lines.data] == taxes


def test_each_item_is_prorated_within_its_own_period(account: Account, sandbox: SandboxProcess) -> None:
    """The proration date lies in the year of one item, and in a month of the other that is over: nothing of October."""
    customer = account.customer()
    year, month = account.price(36_500, interval="year"), account.price(3000)
    items = [{"price": year.id}, {"price": month.id}]
    subscription = account.api.subscriptions.create({"customer": customer.id, "items": items})
    sandbox.advance("2026-11-16T00:00:00Z")
    monthly = next(item for item in subscription["items"].data if item.price.id == month.id)

    account.api.subscriptions.update(
        subscription.id,
        {"items": [{"id": monthly.id, "quantity": 2}], "proration_date": at("2026-10-11")},
    )

    assert pending(account, customer) == [
        (-3000, "Unused time on Pro after 01 Nov 2026"),
        (6000, "Remaining time on 2 × Pro after 01 Nov 2026"),
    ]


def test_a_waiting_proration_is_credited_as_well(account: Account, sandbox: SandboxProcess) -> None:
    """Two changes before an invoice: the second takes back what the first debited, not the first period again."""
    customer = account.customer()
    subscription = account.subscription(customer)
    sandbox.advance(HALF)
    change(account, subscription, quantity=3)
    change(account, subscription, quantity=2)

    amounts = [amount for amount, _ in pending(account, customer)]

    assert amounts == [-3000, 2000, -1000, 3000]
    newest = account.api.invoice_items.list({"customer": customer.id, "limit": 1}).data[0]
    assert newest.proration_details.credited_items.type == "invoice_item"


def test_a_void_invoice_is_not_credited(account: Account, sandbox: SandboxProcess) -> None:
    """The invoice of the change to three is void: what is left to credit is the period billed at first."""
    customer = account.customer()
    subscription = account.subscription(customer, collection_method="send_invoice", days_until_due=7)
    sandbox.advance(HALF)
    invoice = invoiced(account, subscription, quantity=3)
    account.api.invoices.finalize_invoice(invoice.id)
    account.api.invoices.void_invoice(invoice.id)

    change(account, subscription, quantity=1)

    assert [amount for amount, _ in pending(account, customer)] == [-1000, 1000]


def test_cancel_with_prorate_credits_what_was_billed(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    coupon = account.api.coupons.create({"percent_off": 50, "duration": "once"})
    subscription = account.subscription(customer, discounts=[{"coupon": coupon.id}])
    sandbox.advance(HALF)

    account.api.subscriptions.cancel(subscription.id, {"prorate": True})

    assert pending(account, customer) == [(-500, "Unused time on Pro after 16 Oct 2026")]


def test_invoice_now_leaves_the_items_of_other_subscriptions_waiting(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    ended, other = account.subscription(customer), account.subscription(customer, unit_amount=500)
    for amount, owner in ((11, ended), (22, other)):
        account.api.invoice_items.create(
            {"customer": customer.id, "amount": amount, "currency": "usd", "subscription": owner.id}
        )
    sandbox.advance(HALF)

    canceled = account.api.subscriptions.cancel(
        ended.id, {"prorate": True, "invoice_now": True, "expand": ["latest_invoice"]}
    )

    assert canceled.status == "canceled"
    assert [line.amount for line in canceled.latest_invoice.lines.data] == [-1000, 11]
    assert (canceled.latest_invoice.status, canceled.latest_invoice.total) == ("paid", -989)
    assert [amount for amount, _ in pending(account, customer)] == [22]
    assert account.balance(customer) == -989


def test_cancel_without_prorate_and_invoice_now_deletes_waiting_prorations(
    account: Account, sandbox: SandboxProcess
) -> None:
    """The document says so of them; items of one's own stay, and so do those of other subscriptions."""
    customer = account.customer()
    subscription, other = account.subscription(customer), account.subscription(customer, unit_amount=500)
    sandbox.advance(HALF)
    change(account, subscription, quantity=2)
    change(account, other, quantity=2)
    own = {"customer": customer.id, "subscription": subscription.id, "amount": 700, "currency": "usd"}
    account.api.invoice_items.create(own)

    account.api.subscriptions.cancel(subscription.id)

    assert sorted(amount for amount, _ in pending(account, customer)) == [-250, 500, 700]
    assert account.event_types().count("invoiceitem.deleted") == 2


def test_prorations_are_billed_early_by_an_invoice_of_their_subscription(
    account: Account, sandbox: SandboxProcess
) -> None:
    """It takes what waits for the subscription, and nothing else, unasked."""
    customer = account.customer()
    subscription, other = account.subscription(customer), account.subscription(customer, unit_amount=500)
    account.api.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd"})
    sandbox.advance(HALF)
    change(account, subscription, quantity=2)
    change(account, other, quantity=2)

    invoice = account.api.invoices.create({"customer": customer.id, "subscription": subscription.id})

    assert [line.amount for line in invoice.lines.data] == [-1000, 2000]
    assert sorted(amount for amount, _ in pending(account, customer)) == [-250, 500, 700]
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.invoices.create(
            {"customer": customer.id, "subscription": other.id, "pending_invoice_items_behavior": "include"}
        )
    assert refusal.value.param == "pending_invoice_items_behavior"


def test_prorations_on_a_manual_invoice_are_credited_like_others(account: Account, sandbox: SandboxProcess) -> None:
    """An invoice without a subscription takes whatever waits, with its tax. The next change credits what it debited.

    Half of two times 2000 is 2000. At three quarters 1000 of that is unused, and a quarter of three times 2000 is 1500.
    """
    customer = account.customer()
    rate = account.api.tax_rates.create({"display_name": "VAT", "percentage": 20, "inclusive": False})
    subscription = account.subscription(customer, default_tax_rates=[rate.id])
    sandbox.advance(HALF)
    change(account, subscription, quantity=2)

    manual = account.api.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    sandbox.advance("2026-10-24T06:00:00Z")
    invoice = invoiced(account, subscription, quantity=3)

    assert ([line.amount for line in manual.lines.data], manual.total) == ([-1000, 2000], 1200)
    assert ([line.amount for line in invoice.lines.data], invoice.total) == ([-1000, 1500], 600)


def test_a_change_with_an_earlier_end_is_credited_once_and_debited_up_to_it(
    account: Account, sandbox: SandboxProcess
) -> None:
    """All of the rest is credited; three are charged for 7.75 of 31 days: a quarter of 6000."""
    customer = account.customer()
    subscription = account.subscription(customer)
    sandbox.advance(HALF)

    change(account, subscription, quantity=3, cancel_at=at("2026-10-24T06:00"))

    assert [amount for amount, _ in pending(account, customer)] == [-1000, 1500]


def test_added_and_removed_items_are_prorated_alone(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    sandbox.advance(HALF)

    added = account.api.subscription_items.create(
        {"subscription": subscription.id, "price": account.price(1000).id, "quantity": 2}
    )
    assert pending(account, customer) == [(1000, "Remaining time on 2 × Pro after 16 Oct 2026")]
    assert (added.current_period_start, added.current_period_end) == (at("2026-10-01"), at("2026-11-01"))

    gone = account.api.subscription_items.delete(added.id)
    assert gone.deleted is True
    assert [amount for amount, _ in pending(account, customer)] == [-1000, 1000]


def test_a_new_price_is_for_one_unless_a_quantity_is_given(account: Account) -> None:
    price = account.price(1000)
    subscription = account.api.subscriptions.create(
        {"customer": account.customer().id, "items": [{"price": price.id, "quantity": 5}]}
    )

    changed = change(account, subscription, price=account.price(1200).id)

    assert changed["items"].data[0].quantity == 1


def test_anchor_stays_when_the_interval_changes(account: Account, sandbox: SandboxProcess) -> None:
    """Flexible mode resets no anchor by itself. The year is that of the anchor: 350.5 of its 365 days are left."""
    customer = account.customer()
    subscription = account.subscription(customer)
    sandbox.advance(HALF)

    changed = change(account, subscription, price=account.price(36_500, interval="year").id)

    item = changed["items"].data[0]
    assert changed.billing_cycle_anchor == subscription.billing_cycle_anchor
    assert (item.current_period_start, item.current_period_end) == (at("2026-10-01"), at("2027-10-01"))
    assert pending(account, customer) == [
        (-1000, "Unused time on Pro after 16 Oct 2026"),
        (34_950, "Remaining time on Pro after 16 Oct 2026"),
    ]


def test_anchor_now_credits_the_rest_and_bills_a_whole_new_period_at_once(
    account: Account, sandbox: SandboxProcess
) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    sandbox.advance(HALF)

    changed = account.api.subscriptions.update(
        subscription.id, {"billing_cycle_anchor": "now", "expand": ["latest_invoice"]}
    )

    assert changed.billing_cycle_anchor == at("2026-10-16T12:00")
    assert changed["items"].data[0].current_period_end == at("2026-11-16T12:00")
    invoice = changed.latest_invoice
    assert lines(invoice) == [(-1000, "Unused time on Pro after 16 Oct 2026"), (2000, "1 × Pro (at $20.00 / month)")]
    assert (invoice.status, invoice.amount_paid) == ("paid", 1000)


def test_anchor_now_with_another_interval_bills_the_year(account: Account, sandbox: SandboxProcess) -> None:
    subscription = account.subscription(account.customer())
    sandbox.advance(HALF)

    changed = change(
        account,
        subscription,
        price=account.price(20_000, interval="year").id,
        billing_cycle_anchor="now",
        expand=["latest_invoice"],
    )

    assert [line.amount for line in changed.latest_invoice.lines.data] == [-1000, 20_000]
    assert changed["items"].data[0].current_period_end == at("2027-10-16T12:00")


def test_free_to_paid_keeps_the_anchor_and_credits_nothing_worth_anything(
    account: Account, sandbox: SandboxProcess
) -> None:
    subscription = account.subscription(account.customer(), unit_amount=0)
    sandbox.advance(HALF)

    invoice = invoiced(account, subscription, price=account.price(2000).id)

    assert [line.amount for line in invoice.lines.data] == [0, 1000]


def test_a_first_part_of_a_period_is_credited_as_billed(account: Account, sandbox: SandboxProcess) -> None:
    """From the 12th to the 1st 2000 * 20/31 = 1290 were billed. Half of those 20 days is 645; of a month 10/31."""
    sandbox.advance("2026-10-12T00:00:00Z")
    customer = account.customer()
    subscription = account.subscription(customer, billing_cycle_anchor=at("2026-11-01"))
    sandbox.advance("2026-10-22T00:00:00Z")

    change(account, subscription, quantity=2)

    assert [amount for amount, _ in pending(account, customer)] == [-645, 4000 * 10 // 31]


def test_declined_change_is_made_and_leaves_the_subscription_past_due(
    account: Account, sandbox: SandboxProcess
) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    _decline_from_now_on(account, customer)
    sandbox.advance(HALF)

    invoice = invoiced(account, subscription, quantity=3)

    changed = account.api.subscriptions.retrieve(subscription.id)
    assert (invoice.status, changed.status, changed["items"].data[0].quantity) == ("open", "past_due", 3)


def test_default_incomplete_waits_for_the_payment(account: Account, sandbox: SandboxProcess) -> None:
    subscription = account.subscription(account.customer())
    sandbox.advance(HALF)

    invoice = invoiced(account, subscription, quantity=3, payment_behavior="default_incomplete")

    assert (invoice.status, invoice.attempted) == ("open", False)
    assert account.api.subscriptions.retrieve(subscription.id).status == "past_due"
    account.api.invoices.pay(invoice.id)
    assert account.api.subscriptions.retrieve(subscription.id).status == "active"


def test_error_if_incomplete_changes_nothing(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    _decline_from_now_on(account, customer)
    sandbox.advance(HALF)
    events = len(account.event_types())

    with pytest.raises(stripe.CardError) as refusal:
        invoiced(account, subscription, quantity=3, payment_behavior="error_if_incomplete")

    assert refusal.value.code == "card_declined"
    assert account.api.subscriptions.retrieve(subscription.id)["items"].data[0].quantity == 1
    assert (pending(account, customer), len(account.invoices(customer))) == ([], 1)
    assert len(account.event_types()) == events


def test_pending_update_is_applied_when_its_invoice_is_paid(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    _decline_from_now_on(account, customer)
    sandbox.advance(HALF)

    invoice = invoiced(account, subscription, quantity=3, payment_behavior="pending_if_incomplete")

    waiting = account.api.subscriptions.retrieve(subscription.id)
    assert (waiting.status, waiting["items"].data[0].quantity) == ("active", 1)
    assert waiting.pending_update.expires_at == at("2026-10-17T11:00")
    assert waiting.pending_update.subscription_items[0].quantity == 3
    assert (waiting.latest_invoice, invoice.status) == (invoice.id, "open")
    good = account.api.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    account.api.invoices.pay(invoice.id, {"payment_method": good.id})
    applied = account.api.subscriptions.retrieve(subscription.id)
    assert (applied["items"].data[0].quantity, applied.pending_update) == (3, None)
    assert "customer.subscription.pending_update_applied" in account.event_types()


def test_pending_update_expires_after_23_hours(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    _decline_from_now_on(account, customer)
    sandbox.advance(HALF)
    invoice = invoiced(account, subscription, quantity=3, payment_behavior="pending_if_incomplete")

    sandbox.advance("2026-10-17T11:00:00Z")

    left = account.api.subscriptions.retrieve(subscription.id)
    assert (left.pending_update, left.status, left["items"].data[0].quantity) == (None, "active", 1)
    assert account.api.invoices.retrieve(invoice.id).status == "void"
    assert account.event_types()[-1] == "customer.subscription.pending_update_expired"


def test_pending_if_incomplete_with_a_good_card_is_a_usual_change(account: Account, sandbox: SandboxProcess) -> None:
    subscription = account.subscription(account.customer())
    sandbox.advance(HALF)

    invoice = invoiced(account, subscription, quantity=3, payment_behavior="pending_if_incomplete")

    changed = account.api.subscriptions.retrieve(subscription.id)
    assert (invoice.status, changed["items"].data[0].quantity, changed.pending_update) == ("paid", 3, None)


def test_pending_if_incomplete_takes_no_other_parameters(account: Account) -> None:
    subscription = account.subscription(account.customer())

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.subscriptions.update(
            subscription.id, {"metadata": {"a": "b"}, "payment_behavior": "pending_if_incomplete"}
        )

    assert refusal.value.param == "metadata"


def test_the_last_item_cannot_be_removed(account: Account) -> None:
    subscription = account.subscription(account.customer())

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.subscription_items.delete(subscription["items"].data[0].id)

    assert "at least one item" in str(refusal.value)
    assert refusal.value.param is None  # the request has no parameter that this is about


def test_the_same_price_twice_is_refused(account: Account) -> None:
    subscription = account.subscription(account.customer())
    price = subscription["items"].data[0].price.id

    with pytest.raises(stripe.InvalidRequestError):
        account.api.subscription_items.create({"subscription": subscription.id, "price": price})


def test_unknown_item_is_refused(account: Account) -> None:
    subscription = account.subscription(account.customer())

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.subscriptions.update(subscription.id, {"items": [{"id": "si_unknown", "quantity": 2}]})

    assert (refusal.value.code, refusal.value.param) == ("resource_missing", "items[0][id]")


def _decline_from_now_on(account: Account, customer: Any) -> None:
    card = account.api.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    account.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": card.id}})
