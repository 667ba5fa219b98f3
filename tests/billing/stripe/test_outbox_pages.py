"""The outbox in the admin: what became of each write, and carrying on with it."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from billing.stripe import gateway, outbox, outbox_page
from billing.stripe.errors import StripeRefused, StripeUnavailable
from billing.stripe.models import OutboxIntent
from config import clock, roles
from config.roles import CUSTOMER_SUCCESS, ENGINEERING, FINANCE
from tests.browser import visiting
from tests.processes import WebServer
from tests.sandbox.client import SandboxProcess

PASSWORDS = {role: f"a long password of {role}" for role in roles.ROLES}
LIST = "admin:billing_outboxintent_changelist"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _ready(committed_db: None, at_sandbox: SandboxProcess, settings: Settings) -> None:
    """Roles and people; real commits and the sandbox, at the clock's own time."""
    settings.STATIC_ROOT = None
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    roles.sync_roles()
    roles.create_sign_ins(passwords=PASSWORDS)


def client_of(role: str) -> Client:
    client = Client()
    client.force_login(User.objects.get(groups__name=role))
    return client


def page_of(intent: OutboxIntent, verb: str = "change") -> str:
    return reverse(f"admin:billing_outboxintent_{verb}", args=[intent.pk])


def text_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def perform(
    at_sandbox: SandboxProcess, purpose: str, *, mode: Any = None, ago: timedelta = DAY / 2, **params: Any
) -> OutboxIntent:
    """A customer created at Stripe, or not, a while ago."""
    if mode is not None:
        lacks = "rak_customer_write" if mode == "forbidden" else None
        at_sandbox.fault(operation="POST", mode=mode, permission=lacks)
    with gateway.one_try():
        try:
            outbox.perform(
                purpose=purpose,
                operation="customers.create",
                target="",
                params={"name": "Ada", **params},
                now=clock.now() - ago,
            )
        except (StripeRefused, StripeUnavailable):
            assert mode is not None
    return OutboxIntent.objects.get(purpose=purpose)


class TestPage:
    def test_tells_the_story_of_a_write(self, at_sandbox: SandboxProcess, settings: Settings) -> None:
        intent = perform(at_sandbox, "customer:ada:create", mode="error_500")
        perform(at_sandbox, "customer:ada:create", ago=timedelta(hours=1))
        settings.STRIPE_API_BASE = ""  # as if it was Stripe itself: only that has a dashboard

        page = text_of(client_of(ENGINEERING), page_of(intent))

        intent.refresh_from_db()
        for said in ("Carried out", "No answer to go by", "HTTP 500", "by perform", intent.request_id):
            assert said in page
        assert f"https://dashboard.stripe.com/test/customers/{intent.stripe_object_id}" in page
        assert f"https://dashboard.stripe.com/test/logs/{intent.request_id}" in page
        assert "Compare with Stripe" in page
        assert "Abandon" not in page

    def test_shows_no_secrets(self) -> None:
        params = {
            "name": "Ada",
            "card": {"number": "4242424242424242", "cvc": "123"},
            "source": {"bank": {"account_number": "000123456789"}},
            "items": [{"client_secret": "pi_1_secret_2", "price": "price_1"}],
        }
        shown = outbox_page.request_text(OutboxIntent(params=params))

        assert "price_1" in shown
        assert not [secret for secret in ("4242", '"123"', "000123456789", "pi_1_secret_2") if secret in shown]

    def test_a_write_of_days_ago_that_would_overwrite_asks_for_a_person(self, at_sandbox: SandboxProcess) -> None:
        made = perform(at_sandbox, "customer:ada:create")
        at_sandbox.fault(operation="POST", mode="connection_reset")
        with gateway.one_try(), pytest.raises(StripeUnavailable):
            outbox.perform(
                purpose="old",
                operation="customers.update",
                target=made.stripe_object_id,
                params={"name": "Old"},
                now=clock.now() - 3 * DAY,
            )

        page = text_of(client_of(FINANCE), page_of(OutboxIntent.objects.get(purpose="old")))

        assert "nobody knows whether it was carried out" in page
        assert "Compare, then send again" in page


class TestWhoMay:
    def test_customer_success_sees_none_of_it(self, at_sandbox: SandboxProcess) -> None:
        intent = perform(at_sandbox, "customer:ada:create")
        client = client_of(CUSTOMER_SUCCESS)

        for address in (reverse(LIST), page_of(intent), page_of(intent, "redrive"), page_of(intent, "abandon")):
            assert client.get(address).status_code == 403
        assert client.post(page_of(intent, "redrive"), {"reason": "x"}).status_code == 403

    @pytest.mark.parametrize("role", [ENGINEERING, FINANCE])
    def test_engineering_and_finance_carry_on(self, at_sandbox: SandboxProcess, role: str) -> None:
        intent = perform(at_sandbox, "customer:ada:create", mode="connection_reset")
        client = client_of(role)
        assert "Send again" in text_of(client, page_of(intent))
        assert "sent under the key it had" in text_of(client, page_of(intent, "redrive"))

        said = client.post(page_of(intent, "redrive"), {"reason": "The network was away"}, follow=True)

        intent.refresh_from_db()
        assert intent.state == "succeeded"
        assert "Because: The network was away" in said.content.decode()
        last = intent.tries.last()
        assert last is not None
        assert last.actor == f"user:{User.objects.get(groups__name=role).username}"
        assert "The network was away" in LogEntry.objects.get().change_message

    def test_a_superuser_cannot_write_around_it(self, at_sandbox: SandboxProcess) -> None:
        intent = perform(at_sandbox, "customer:ada:create")
        User.objects.create_superuser("root", password="a long password of root")
        client = Client()
        client.force_login(User.objects.get(username="root"))

        assert client.post(page_of(intent), {"state": "refused"}).status_code == 403
        assert client.post(page_of(intent, "delete"), {"post": "yes"}).status_code == 403


class TestRefusals:
    def test_a_reason_is_asked_for(self, at_sandbox: SandboxProcess) -> None:
        intent = perform(at_sandbox, "customer:ada:create", mode="connection_reset")

        assert client_of(ENGINEERING).post(page_of(intent, "redrive"), {"reason": " "}).status_code == 422
        intent.refresh_from_db()
        assert intent.state == "intended"

    def test_what_stripe_answers_is_said(self, at_sandbox: SandboxProcess) -> None:
        intent = perform(at_sandbox, "customer:ada:create", mode="connection_reset")
        at_sandbox.fault(operation="POST", mode="forbidden", permission="rak_customer_write")

        said = client_of(ENGINEERING).post(page_of(intent, "redrive"), {"reason": "again"}, follow=True)

        assert "lacks permission rak_customer_write for POST /v1/customers" in said.content.decode()

    def test_abandoned_is_abandoned(self, at_sandbox: SandboxProcess) -> None:
        intent = perform(at_sandbox, "customer:ada:create", mode="connection_reset")
        client = client_of(ENGINEERING)
        client.post(page_of(intent, "abandon"), {"reason": "not a customer after all"})

        again = client.post(page_of(intent, "abandon"), {"reason": "once more"})

        assert again.status_code == 422
        assert "there is nothing to abandon" in again.content.decode()

    def test_what_is_not_there(self) -> None:
        missing = OutboxIntent()
        assert client_of(ENGINEERING).get(page_of(missing, "redrive")).status_code == 404


class TestOverview:
    def test_counts_what_has_no_outcome_for_minutes(self, at_sandbox: SandboxProcess) -> None:
        perform(at_sandbox, "a", mode="connection_reset", ago=timedelta(hours=3))
        perform(at_sandbox, "b", mode="connection_reset", ago=timedelta(minutes=1))
        client = client_of(FINANCE)

        page = text_of(client, reverse("admin:index"))
        listed = text_of(client, f"{reverse(LIST)}?waiting=unfinished")

        assert "Unfinished writes to Stripe" in page
        assert "the oldest for 3:00:0" in page
        assert page_of(OutboxIntent.objects.get(purpose="a")) in listed
        assert page_of(OutboxIntent.objects.get(purpose="b")) not in listed


def test_in_a_browser(at_sandbox: SandboxProcess, web_process: WebServer, settings: Settings) -> None:
    """Wide and narrow: nothing is refused by the content security policy, and no page is wider than the screen."""
    # What the web process knows.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    User.objects.create_superuser("root", password="a long password of root")
    long = perform(
        at_sandbox, "subscription:7:change:1f0c5f9e-6a7b-5a2c:invoice", mode="forbidden", description="x " * 200
    )
    for mode in ("error_500", "rate_limit", "connection_reset", None):
        perform(at_sandbox, "customer:ada:create", mode=mode)
    done = OutboxIntent.objects.get(purpose="customer:ada:create")
    addresses = {
        "overview": reverse("admin:index"),
        "list": reverse(LIST),
        "long": page_of(long),
        "done": page_of(done),
        "redrive": page_of(long, "redrive"),
        "abandon": page_of(long, "abandon"),
    }
    with visiting(web_process.address) as visitor:
        visitor.sign_in("root", "a long password of root")
        visitor.tour(addresses)

    assert (visitor.complaints, visitor.too_wide) == ([], {})
