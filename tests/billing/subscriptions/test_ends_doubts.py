"""Ends and phases that nobody would type twice: other people's ids, dates without end, the calendar's winter hour."""

import json
from datetime import UTC, datetime

import pytest
from django.test import Client

from billing.invoicing.models import InvoiceClose
from billing.stripe import gateway
from billing.subscriptions import lifecycle, phases, scheduling
from billing.subscriptions.end_previews import preview_end
from billing.subscriptions.errors import ChangeRefused
from billing.subscriptions.models import Subscription
from billing.subscriptions.paying_again import what_is_paid_again
from tests.billing.subscriptions.lives import (
    NOVEMBER,
    OCT_11,
    OCT_16_NOON,
    advance,
    at_stripe,
    in_dashboard,
    invoices,
    now_of,
    said,
    started,
)
from tests.billing.subscriptions.test_action_pages import browser, hidden, page
from tests.billing.subscriptions.test_api import Api, api
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread

__all__ = ["api", "browser"]
pytestmark = pytest.mark.usefixtures("committed_db")
HUGE = 10**30
LAST_DAY = datetime(9999, 12, 31, 23, tzinfo=UTC)


def test_huge_ids_and_the_last_of_all_days_are_refused_by_name(api: Api, thread: Thread) -> None:
    subscription = started(thread)
    one = f"/subscriptions/{subscription.pk}"
    assert api.get(f"{one}/cancel/preview/{HUGE}")[0] == 404
    status, problem = api.post(f"{one}/cancel", {"preview": HUGE, "reason": "r"}, key="a")
    assert (status, problem["field"]) == (400, "preview")
    status, problem = api.post(f"{one}/cancel/preview", {"at": "9999-12-31T23:59:59Z"}, key="b")
    assert (status, problem["field"]) == (400, "at")
    with pytest.raises(ChangeRefused, match="name an earlier"):  # the form of the page lets it pass
        preview_end(subscription_id=subscription.pk, how="at", at=LAST_DAY, actor="user:a", now=now_of(thread))
    plan = subscription.plan_version
    far = scheduling.Phase(LAST_DAY, plan, 2)
    scheduling.plan_phases(phases=[far], **said(thread, subscription, "far"))
    rows = phases.phases_of(Subscription.objects.get(), now=now_of(thread))
    assert sum(one.width for one in phases.bar_of(rows)) <= 1000
    assert json.dumps(api.get(f"{one}/phases")[1]["phases"][-1]["seats"]) == "2"


def test_an_end_is_not_asked_for_on_the_page_without_having_been_seen(browser: Client, thread: Thread) -> None:
    subscription = started(thread)
    url = page("cancel", subscription.pk)
    key = hidden(browser.get(url).content.decode())["key"]
    typed = {"how": "at_end", "reason": "r", "key": key, "confirmed": "1"}
    for number in ("", "0", str(HUGE), "9" * 5000):
        answer = browser.post(url, typed | {"preview": number})
        assert (answer.status_code, "see what it comes to" in answer.content.decode()) == (422, True)
    subscription.refresh_from_db()
    assert subscription.cancel_at is None


def test_an_end_with_a_later_period_of_a_calendar_leaves_its_last_fee_whole(thread: Thread) -> None:
    # Stripe keeps winter's hour of Sydney all year, our calendar's midnight comes an hour before it in summer.
    subscription = started(thread, version_of("calendar", alignment="calendar", time_zone="Australia/Sydney"))
    thread.settle()
    thread.sandbox.advance(OCT_11)
    at = datetime(2026, 11, 30, 13, tzinfo=UTC)
    lifecycle.cancel_at_date(**said(thread, subscription), at=at, prorate=False)
    advance(thread, datetime(2026, 10, 31, 14, tzinfo=UTC))

    assert set(InvoiceClose.objects.values_list("held_reason", flat=True)) == {""}
    assert invoices()[-1][1] == [("fee", 2000)]
    advance(thread, datetime(2026, 11, 30, 15, tzinfo=UTC))
    ended = Subscription.objects.get()
    last = ended.periods.latest("starts_at")
    # Until Stripe's own boundary it can be used.
    assert (ended.status, last.starts_at, last.ends_at) == ("canceled", at, at.replace(hour=14))


def test_a_plan_to_give_the_fee_back_counts_only_where_it_came_so(thread: Thread) -> None:
    subscription = started(thread)
    advance(thread, OCT_11)
    later = datetime(2026, 10, 25, tzinfo=UTC)
    lifecycle.cancel_at_date(**said(thread, subscription, "planned"), at=later, prorate=True)
    assert at_stripe(subscription)["cancel_at"]
    in_dashboard(subscription, cancel_at="")
    advance(thread, OCT_16_NOON)
    gateway.request("delete", f"/v1/subscriptions/{subscription.stripe_subscription_id}")
    thread.settle()
    paid = what_is_paid_again(Subscription.objects.get(), now=now_of(thread))
    assert paid.unused_minor == 1000


def test_what_is_due_and_not_carried_out_is_not_told_as_done(browser: Client, thread: Thread) -> None:
    subscription = started(thread)
    plan = subscription.plan_version
    scheduling.schedule(phases=[scheduling.Phase(OCT_11, plan, 5)], **said(thread, subscription, "due"))
    thread.sandbox.advance(OCT_16_NOON)
    now = now_of(thread)
    rows = phases.phases_of(Subscription.objects.get(), now=now)
    assert [(row.seats, row.when) for row in rows] == [(1, "now"), (5, "planned")]
    far = scheduling.Phase(NOVEMBER, plan, 9)
    scheduling.plan_phases(phases=[far], **said(thread, subscription, "far"))
    assert [row.seats for row in scheduling.waiting_for(subscription)] == [5, 9]
    assert [row.seats for row in phases.phases_of(subscription, planned=[far], now=now)] == [1, 5, 9]
