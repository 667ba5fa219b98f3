"""
Discounts that somebody gave in Stripe's dashboard: our preview, Stripe's and the invoice say the same amounts, net of
them; one that we cannot reckon is named. Figures worked out by hand: 20.00 a month, half of October is left.
"""

from datetime import timedelta
from typing import Any

import pytest

from billing.stripe import gateway
from billing.subscriptions import comparing, lifecycle
from billing.subscriptions.change_models import EndOutcome
from billing.subscriptions.end_comparing import compare_ends_due
from billing.subscriptions.end_previews import preview_end
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import change_terms
from billing.subscriptions.paying_again import _less_discount, what_is_paid_again
from tests.billing.invoicing.ordering import carry_out_all
from tests.billing.subscriptions.lives import (
    ACTOR,
    NOVEMBER,
    OCT_11,
    OCT_16_NOON,
    advance,
    at_stripe,
    in_dashboard,
    now_of,
    said,
    started,
)
from tests.billing.subscriptions.test_previews import amounts, preview_of
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread

pytestmark = pytest.mark.usefixtures("committed_db")


def coupon(**terms: Any) -> str:
    return str(gateway.request("post", "/v1/coupons", {"duration": "forever"} | terms).data["id"])


def discounted(subscription: Subscription, *coupons: str) -> None:
    subscription.refresh_from_db()
    in_dashboard(subscription, discounts=[{"coupon": one} for one in coupons])


def test_a_discount_of_the_dashboard_is_in_all_three(thread: Thread) -> None:
    large, boost = version_of("large", fee_minor=6000), version_of("boost", is_add_on=True, fee_minor=777)
    subscription = started(thread)
    advance(thread, OCT_16_NOON)
    # 25 %, then 3.00 of what is left, from now on: October was billed whole, and half of 20.00 is given back.
    discounted(subscription, coupon(percent_off=25), coupon(amount_off=300, currency="usd"))
    first = preview_of(thread, subscription, large, add_ons=[(boost, 1)])
    # 67.77 less 25 % is 50.83, less 3.00: of 60.00 42.36 are left, of 7.77 5.47.
    assert amounts(first, "ours") == [(True, -1000), (True, 2118), (True, 273), (False, 4236), (False, 547)]
    change_terms(**said(thread, subscription, "a"), plan_version=large, seats=1, add_ons=[(boost, 1)], preview=first)
    thread.sandbox.advance(OCT_16_NOON + timedelta(days=4))
    second = preview_of(thread, subscription, large, seats=2)
    # What was billed with the discounts is given back with them: 11.5 of 15.5 days of 21.18 and 2.73.
    assert amounts(second, "ours") == [(True, -1572), (True, -203), (True, 3227), (False, 8700)]
    change_terms(**said(thread, subscription, "b"), plan_version=large, seats=2, preview=second)
    advance(thread, NOVEMBER)
    assert comparing.compare_due(now=NOVEMBER, limit=10) == 2

    for preview in (first, second):
        assert comparing.differences(comparing.rows_of(preview), "USD") == []
        assert preview.outcome.differences == []
    assert gateway.retrieve(f"/v1/invoices/{at_stripe(subscription)['latest_invoice']}")["total"] == 8700 + (
        -1000 + 2118 + 273 - 1572 - 203 + 3227
    )


def test_a_discount_used_up_is_in_what_is_given_back_and_one_of_an_item_in_what_comes(thread: Thread) -> None:
    once = coupon(percent_off=50, duration="once")
    boost = version_of("boost", is_add_on=True, fee_minor=777)
    subscription = started(thread, add_ons=[(boost, 1)])
    discounted(subscription, once)
    thread.settle()
    advance(thread, NOVEMBER)
    assert at_stripe(subscription)["discounts"] == []
    # Of one item alone, and of its product: of the plan nothing.
    item = next(one for one in at_stripe(subscription)["items"]["data"] if one["price"]["id"] == boost.stripe_price_id)
    in_dashboard(subscription, items=[{"id": item["id"], "discounts": [{"coupon": coupon(percent_off=10)}]}])
    of_boost = coupon(percent_off=12.5, applies_to={"products": [boost.plan.stripe_product_id]})
    discounted(subscription, of_boost)
    advance(thread, NOVEMBER + timedelta(days=15))
    more = preview_of(thread, subscription, subscription.plan_version, seats=3, add_ons=[(boost, 1)])
    # 20.00 were billed with 50 % off; the three cost 60.00, the add-on 7.77 less 10 %, less 12.5 %.
    assert amounts(more, "ours") == [(True, -500), (True, 3000), (False, 6000), (False, 612)]
    assert comparing.differences(comparing.rows_of(more), "USD") == []
    end = preview_end(subscription_id=subscription.pk, how="now", prorate=True, actor=ACTOR, now=now_of(thread))
    assert sorted(amounts(end.preview, "ours")) == sorted(amounts(end.preview, "stripe"))
    lifecycle.cancel(**said(thread, subscription, "end"), prorate=True, preview=end)
    thread.settle()
    carry_out_all(thread)
    assert compare_ends_due(now=thread.now, limit=10) == 1
    assert EndOutcome.objects.get().differences == []
    ended = Subscription.objects.get()
    assert what_is_paid_again(ended, now=now_of(thread)).unused_minor == 0
    assert _less_discount(ended, 1388, cycle_start=NOVEMBER) == 694  # half of what was billed was taken off


def test_a_discount_whose_coupon_was_deleted_is_named_as_not_counted(thread: Thread) -> None:
    subscription = started(thread)
    advance(thread, OCT_16_NOON)
    gone = coupon(percent_off=10)
    item = at_stripe(subscription)["items"]["data"][0]["id"]
    in_dashboard(subscription, items=[{"id": item, "discounts": [{"coupon": gone}]}])
    gateway.request("delete", f"/v1/coupons/{gone}")
    preview = preview_of(thread, subscription, subscription.plan_version, seats=2)
    rows = comparing.differences(comparing.rows_of(preview), "USD")
    assert len(rows) == 2
    assert all("Stripe's discount" in row and "is not counted" in row for row in rows)
    assert "$20.00 by us, $18.00 in Stripe's preview" in rows[0]
    change_terms(**said(thread, subscription, "two"), plan_version=subscription.plan_version, seats=2, preview=preview)
    thread.sandbox.advance(OCT_16_NOON + timedelta(days=4))
    end = preview_end(subscription_id=subscription.pk, how="now", prorate=True, actor=ACTOR, now=now_of(thread))
    given_back = end.preview.lines.get(source="ours")  # of what was billed for the two
    assert "Stripe's discount" in given_back.description
    assert "is not counted" in given_back.description
    thread.sandbox.fault(mode="forbidden", operation="GET /v1/subscriptions/.*", permission="rak_coupon_read", after=1)
    preview = preview_of(thread, subscription, subscription.plan_version, seats=3)
    assert all("is not counted" in row for row in comparing.differences(comparing.rows_of(preview), "USD"))


def test_an_add_on_that_its_plan_bundled_before_is_previewed(thread: Thread) -> None:
    """It was in another plan's fee earlier in this cycle: the part in which it was its own tells what was billed."""
    boost = version_of("boost", is_add_on=True, fee_minor=777)
    suite = version_of("suite", fee_minor=6000, bundled=[boost])
    subscription = started(thread)
    pro = subscription.plan_version
    advance(thread, OCT_11 - timedelta(days=6))
    change_terms(**said(thread, subscription, "bundled"), plan_version=suite, seats=1)
    advance(thread, OCT_11)
    change_terms(**said(thread, subscription, "own"), plan_version=pro, seats=1, add_ons=[(boost, 1)])
    advance(thread, OCT_16_NOON)
    preview = preview_of(thread, subscription, pro)
    assert amounts(preview, "ours") == [(True, -389), (False, 2000)]  # 15.5 of the 21 days that were billed as 5.26
    assert comparing.differences(comparing.rows_of(preview), "USD") == []
