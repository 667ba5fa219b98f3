"""The pages of takeover, subscriptions and replays: asked for once, whatever there is, and no link leads astray."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.admin_links import list_url, page_url
from billing.stripe.inbox_models import PollPosition
from billing.subscriptions.change_models import ChangePreview, EndPreview
from billing.subscriptions.models import Subscription
from billing.takeover.models import OpeningEntry, TakenOver, Takeover, TakeoverCheck, TakeoverRun
from config.roles import FINANCE
from tests.factories import ACTOR, NOVEMBER, OCTOBER, SubscriptionFactory

SignIn = Callable[[str], Client]
QUERIES_MAX = 30
BY_COMMAND = {
    "billing.takeover": "stripe_takeover",
    "billing.takenover": "stripe_takeover run",
    "billing.openingentry": "stripe_takeover run",
    "billing.takeovercheck": "stripe_takeover check",
    "billing.inboxreplay": "Events are tried again from the inbox",
    "billing.mirrorrebuild": "stripe_mirror rebuild",
}


def text_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def asked_for(client: Client, address: str) -> list[str]:
    """The statements behind a page."""
    with CaptureQueriesContext(connection) as asked:
        assert client.get(address).status_code == 200
    return [query["sql"] for query in asked.captured_queries]


@pytest.fixture
def takeover(db: None) -> Takeover:
    """One with nothing on the account `opening`: all was paid, and nothing held."""
    made = Takeover.objects.create(as_of=OCTOBER, started_at=NOVEMBER, started_by=ACTOR)
    TakeoverRun.objects.create(takeover=made, started_at=NOVEMBER, finished_at=NOVEMBER, actor=ACTOR)
    TakenOver.objects.create(
        takeover=made, kind="invoice", stripe_id="in_1", outcome="brought_in", currency="USD", amount_minor=100,
        recorded_at=NOVEMBER, recorded_by=ACTOR,
    )  # fmt: skip
    OpeningEntry.objects.create(
        takeover=made, account_kind="stripe:clearing", currency="USD", debit_minor=5, journal_entry_id=1,
        recorded_at=NOVEMBER,
    )  # fmt: skip
    differences = [
        {"subject": "invoice in_1", "at_stripe": "at Stripe paid", "here": "here open", "explanation": "It is late."},
        {"subject": "invoice in_2", "at_stripe": "at Stripe paid", "here": "here none", "explanation": "Run again."},
        {"subject": "account stripe:clearing:USD", "at_stripe": "balance 7", "here": "ledger 5", "explanation": "…"},
    ]
    TakeoverCheck.objects.create(
        takeover=made, compared=9, differences=differences, difference_count=3, checked_at=NOVEMBER, actor=ACTOR
    )
    return made


def test_lists_that_do_not_fill_by_themselves_say_what_does(sign_in: SignIn) -> None:
    client = sign_in("superuser")

    for model, words in BY_COMMAND.items():
        page = text_of(client, list_url(model))
        assert words in page, model
        assert "by itself" not in page, model
    assert "Show all" not in text_of(client, list_url("billing.inboxevent"))
    assert "Show all" in text_of(client, list_url("billing.inboxevent", q="in_1"))


def test_a_takeover_leads_to_its_checks_and_they_to_what_differs(sign_in: SignIn, takeover: Takeover) -> None:
    finance, check = sign_in(FINANCE), TakeoverCheck.objects.get()

    page = text_of(finance, page_url("billing.takeover", takeover.pk))
    found = text_of(finance, page_url("billing.takeovercheck", check.pk))
    taken = text_of(finance, page_url("billing.takenover", TakenOver.objects.get().pk))

    assert page_url("billing.takeovercheck", check.pk) in page
    assert list_url("billing.invoice", q="in_1") in found
    assert list_url("billing.invoice", q="in_2") not in found  # which is not here
    assert list_url("ledger.account", q="stripe:clearing:USD") in found
    assert "ledger 5 USD" in found
    # The inbox is engineering's, which does not see takeovers: finance is led to no page it may not open.
    assert reverse("admin:billing_inboxevent_object", args=["in_1"]) not in taken
    assert "3 differences" in text_of(finance, list_url("billing.takeover"))


def test_what_a_page_shows_is_worked_out_once(sign_in: SignIn, takeover: Takeover) -> None:
    client, address = sign_in("superuser"), page_url("billing.takeover", takeover.pk)
    client.get(address)

    asked = asked_for(client, address)

    assert len(asked) <= QUERIES_MAX
    # Django's own form works a field out twice before it is shown.
    assert sum('FROM "billing_openingentry"' in sql for sql in asked) <= 3


def test_a_subscription_asks_as_often_for_five_previews_as_for_one(sign_in: SignIn) -> None:
    client, subscription = sign_in("superuser"), SubscriptionFactory()
    address = page_url("billing.subscription", subscription.pk)
    _preview_end(subscription)
    client.get(address)
    one = asked_for(client, address)
    for _ in range(4):
        _preview_end(subscription)

    assert len(asked_for(client, address)) == len(one)


def _preview_end(subscription: Subscription) -> None:
    preview = ChangePreview.objects.create(
        subscription=subscription, kind="cancellation", plan_version=subscription.plan_version, seats=1,
        effective_at=NOVEMBER, currency="USD", made_at=OCTOBER + timedelta(days=1), made_by=ACTOR,
    )  # fmt: skip
    EndPreview.objects.create(
        preview=preview, how="now", prorate=False, ends_at=NOVEMBER, rated=0, included=0, credited=0, invoiced=0,
        unbilled=0, usage_minor=0, rests_on={"terms": "other"},
    )  # fmt: skip


def test_lists_of_stripe_have_names(sign_in: SignIn) -> None:
    PollPosition.objects.create(name="thin_events")

    page = text_of(sign_in("superuser"), list_url("billing.pollposition"))

    assert "Thin events, of API v2" in page
