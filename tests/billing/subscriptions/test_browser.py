"""The pages of a subscription and of what may be done with it, in a real browser, narrow and wide."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from billing.subscriptions import lifecycle, previews, scheduling
from billing.subscriptions.operations import change_terms
from billing.subscriptions.scheduling import Phase
from tests.billing.subscriptions.lives import ACTOR, NOVEMBER, OCT_11, OCT_16_NOON, advance, now_of, said, started
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread
from tests.browser import PASSWORD, visiting
from tests.factories import CustomerFactory, PlanVersionFactory, SubscriptionFactory
from tests.processes import WebServer


@pytest.fixture
def addresses(thread: Thread) -> dict[str, str]:
    """A full life and an empty one. Written before the browser starts: its event loop forbids database calls."""
    User.objects.create_superuser("root", password=PASSWORD)
    large = version_of("large", fee_minor=6000)
    boost = version_of("boost", is_add_on=True, fee_minor=777)
    full = started(thread, seats=1)
    thread.use(2_000_000, at=OCT_11)
    advance(thread, OCT_11)
    preview = previews.preview_change(
        subscription_id=full.pk, plan_version=large, seats=3, add_ons=[(boost, 2)], actor=ACTOR, now=now_of(thread)
    )
    change_terms(**said(thread, full), plan_version=large, seats=3, add_ons=[(boost, 2)], preview=preview)
    advance(thread, OCT_16_NOON)
    lifecycle.pause(**said(thread, full, "pause"))
    advance(thread, OCT_16_NOON + timedelta(days=3))
    lifecycle.resume(**said(thread, full, "resume"))
    lifecycle.cancel_at_period_end(**said(thread, full, "end"))
    lifecycle.undo_cancellation(**said(thread, full, "undo"))
    scheduling.schedule(
        phases=[Phase(NOVEMBER + timedelta(days=n), large, n) for n in (1, 2, 3)], **said(thread, full, "phases")
    )
    bare = SubscriptionFactory(customer=CustomerFactory(), plan_version=PlanVersionFactory())
    pages = {
        "list": reverse("admin:billing_subscription_changelist"),
        "full": reverse("admin:billing_subscription_change", args=[full.pk]),
        "bare": reverse("admin:billing_subscription_change", args=[bare.pk]),
        "start": reverse("admin:billing_subscription_start", args=[full.customer_id]),
    }
    for verb in ("change_terms", "pause", "cancel", "reactivate", "phases"):
        pages[verb] = reverse(f"admin:billing_subscription_{verb}", args=[full.pk])
    return pages


def test_pages_work_and_fit(addresses: dict[str, str], web_process: WebServer) -> None:
    with visiting(web_process.address) as visitor:
        visitor.sign_in("root")
        visitor.tour(addresses)

    assert (visitor.complaints, visitor.too_wide) == ([], {})
