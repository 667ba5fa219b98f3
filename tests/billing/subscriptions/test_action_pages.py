"""What may be done on a subscription's pages: the preview before the button, reasons, permissions, and the history."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from billing.catalog.models import PlanVersion
from billing.subscriptions.change_models import ScheduledChange
from billing.subscriptions.models import Subscription
from config import clock
from config.roles import sync_roles
from tests.billing.subscriptions.lives import OCT_11, ada, now_of, started
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread

pytestmark = pytest.mark.usefixtures("committed_db")


def signed_in(name: str, role: str) -> Client:
    sync_roles()
    person = User.objects.create_user(name, is_staff=True)
    person.groups.add(Group.objects.get(name=role))
    browser = Client()
    browser.force_login(person)
    return browser


def page(name: str, *args: int) -> str:
    return reverse(f"admin:billing_subscription_{name}", args=args)


def hidden(html: str) -> dict[str, str]:
    """The values of a form's hidden fields."""
    found = re.findall(r'<input type="hidden" name="(\w+)"(?: value="([^"]*)")?', html)
    return {name: value for name, value in found if name != "csrfmiddlewaretoken"}


@pytest.fixture
def browser(thread: Thread, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(clock, "now", lambda: now_of(thread))
    return signed_in("sam", "Customer success")


def test_a_change_is_previewed_then_made_at_the_preview_s_second(browser: Client, thread: Thread) -> None:
    large = version_of("large", fee_minor=6000)
    subscription = started(thread)
    thread.sandbox.advance(OCT_11)
    url = page("change_terms", subscription.pk)
    key = hidden(browser.get(url).content.decode())["key"]
    typed: dict[str, Any] = {"plan_version": large.pk, "seats": 2, "when": "now", "reason": "grew", "key": key}
    shown = browser.post(url, typed).content.decode()
    assert "We and Stripe agree" in shown
    assert "Less Stripe's discounts, before tax" in shown
    assert "$81.29" in shown
    fixed = hidden(shown)
    assert fixed["key"] == key
    thread.sandbox.advance(now_of(thread).replace(minute=4))
    answer = browser.post(url, fixed | {"confirmed": "1"})
    assert answer.status_code == 302, answer.content.decode()
    browser.post(url, fixed | {"confirmed": "1"})  # sent twice

    subscription.refresh_from_db()
    assert (subscription.plan_version, subscription.seats) == (large, 2)
    assert [row.starts_at for row in subscription.periods.order_by("starts_at")][1:] == [OCT_11]
    event = subscription.events.get(kind="terms")
    assert (event.actor, event.reason) == ("user:sam", "grew")
    assert "grew" in LogEntry.objects.latest("pk").change_message
    whole = browser.get(reverse("admin:billing_subscription_change", args=[subscription.pk])).content.decode()
    assert "Made, not invoiced yet" in whole
    assert "Pro v1, 1 seat → Large v1, 2 seats" in whole
    assert "the running period has" not in whole


def test_seats_of_the_next_period_are_not_said_to_be_those_of_now(browser: Client, thread: Thread) -> None:
    subscription = started(thread)
    thread.sandbox.advance(OCT_11)
    url = page("change_terms", subscription.pk)
    key = hidden(browser.get(url).content.decode())["key"]
    typed: dict[str, Any] = {"seats": 3, "when": "next", "reason": "three from then on", "key": key}
    shown = browser.post(url, {"plan_version": subscription.plan_version_id, **typed}).content.decode()
    whole = browser.post(url, hidden(shown) | {"confirmed": "1"}, follow=True).content.decode()
    ends_at = f"{subscription.periods.get().ends_at:%d %b %Y, %H:%M:%S} UTC"
    assert f"Changed from {ends_at} on." in whole
    assert f"Until {ends_at} the running period has Pro v1, 1 seat." in whole


def test_every_wish_has_its_page_and_its_refusal_is_shown_there(browser: Client, thread: Thread) -> None:
    subscription = started(thread)
    small = PlanVersion.objects.get()
    thread.sandbox.advance(OCT_11)

    def do(verb: str, of: Subscription = subscription, **typed: Any) -> Any:
        url = page(verb, of.pk)
        key = hidden(browser.get(url).content.decode())["key"]
        return browser.post(url, {"reason": "they asked", "key": key} | typed)

    def cancel(how: str, says: str) -> Any:
        """What it comes to is shown before the button."""
        shown = do("cancel", how=how)
        assert says in shown.content.decode()
        return browser.post(page("cancel", subscription.pk), hidden(shown.content.decode()) | {"confirmed": "1"})

    assert do("resume").status_code == 422
    assert do("pause", reason="").status_code == 422
    assert do("pause").status_code == 302
    assert "is paused since" in do("pause").content.decode()
    thread.sandbox.advance(now_of(thread).replace(hour=5))
    assert do("resume").status_code == 302
    assert do("cancel", how="at_date").status_code == 422
    assert cancel("at_end", "No fee is given back.").status_code == 302
    assert do("undo").status_code == 302
    later: dict[str, Any] = {
        "plan_version": small.pk,
        "seats": 4,
        "when": "later",
        "at": "2026-10-20T00:00:00",
        "confirmed": "1",
    }
    assert do("change_terms", **later).status_code == 302
    waiting = ScheduledChange.objects.get()
    url = page("cancel_scheduled", waiting.pk)
    key = hidden(browser.get(url).content.decode())["key"]
    assert browser.post(url, {"reason": "stays", "key": key}).status_code == 302
    waiting.refresh_from_db()
    assert waiting.state == "cancelled"
    assert cancel("credit", "We and Stripe agree").status_code == 302
    subscription.refresh_from_db()
    assert "What is paid again" in browser.get(page("reactivate", subscription.pk)).content.decode()
    assert do("reactivate").status_code == 302
    assert Subscription.objects.latest("pk").status == "active"


def test_a_subscription_is_started_from_the_customer_s_page(browser: Client, thread: Thread) -> None:
    customer = ada()
    url = page("start", customer.pk)
    assert url in browser.get(reverse("admin:billing_customer_change", args=[customer.pk])).content.decode()
    key = hidden(browser.get(url).content.decode())["key"]
    plan = PlanVersion.objects.get()
    typed = {"plan_version": plan.pk, "seats": 2, "payment_method": "pm_card_visa", "reason": "new", "key": key}
    for _ in range(2):
        assert browser.post(url, typed).status_code == 302

    made = Subscription.objects.get()
    assert (made.seats, made.status, made.events.earliest("pk").actor) == (2, "active", "user:sam")


def test_who_may_not_is_told_so_and_sees_no_button(browser: Client, thread: Thread) -> None:
    subscription = started(thread)
    engineer = signed_in("emre", "Engineering")
    for verb in ("change_terms", "pause", "resume", "cancel", "undo", "end_trial", "reactivate"):
        assert engineer.get(page(verb, subscription.pk)).status_code == 403
    assert engineer.get(page("start", subscription.customer_id)).status_code == 403
    shown = reverse("admin:billing_subscription_change", args=[subscription.pk])
    assert page("pause", subscription.pk) not in engineer.get(shown).content.decode()
    assert page("pause", subscription.pk) in browser.get(shown).content.decode()
