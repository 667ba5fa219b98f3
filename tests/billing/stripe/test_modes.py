"""Live and test never mix, nor two accounts."""

from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from djstripe.models import WebhookEndpoint
from pytest_django.fixtures import Settings

from billing.stripe import checks, gateway, mirror, modes, outbox, permissions
from billing.stripe.errors import StripeModeMismatch
from billing.stripe.models import OutboxIntent, StripeAccount
from tests.sandbox.client import SandboxProcess

NOW = datetime(2026, 11, 1, tzinfo=UTC)
OURS = "acct_1BoringSandbox0000"


@pytest.fixture(autouse=True)
def _unchecked(committed_db: None, at_sandbox: SandboxProcess) -> Iterator[None]:
    """A process that has not asked yet."""
    modes.forget_checked()
    yield
    modes.forget_checked()


def perform(**params: Any) -> dict[str, Any]:
    return outbox.perform(
        purpose="customer:ada:create", operation="customers.create", target="", params={"name": "Ada"}, now=NOW
    )


def belongs_to(account_id: str = OURS, *, livemode: bool = False) -> None:
    StripeAccount.objects.create(account_id=account_id, livemode=livemode, recorded_at=NOW)


class TestAccount:
    def test_the_first_write_says_whose_the_database_is(self) -> None:
        perform()

        row = StripeAccount.objects.get()
        assert (row.account_id, row.livemode) == (OURS, False)

    def test_it_is_asked_for_once_a_process(self, at_sandbox: SandboxProcess, django_assert_num_queries: Any) -> None:
        perform()
        outbox.perform(purpose="2", operation="customers.create", target="", params={}, now=NOW)

        with django_assert_num_queries(2):
            outbox.perform(purpose="3", operation="customers.create", target="", params={}, now=NOW)
        calls = [one["call"] for one in at_sandbox.state()["recent_requests"]]
        assert calls.count("GET /v1/account") == 1

    def test_another_account_is_refused_before_any_write(self, at_sandbox: SandboxProcess) -> None:
        belongs_to("acct_other")

        with pytest.raises(StripeModeMismatch, match=f"of account {OURS}, and this database belongs to acct_other"):
            perform()

        assert at_sandbox.counts().get("customer", 0) == 0
        assert OutboxIntent.objects.get().state == "intended"  # with the right key it goes on

    def test_another_mode_is_refused_before_stripe_is_asked(self, at_sandbox: SandboxProcess) -> None:
        belongs_to(livemode=True)

        with pytest.raises(StripeModeMismatch, match=r"of test mode, and this database belongs to .* in live mode"):
            perform()
        assert at_sandbox.state()["recent_requests"] == []

    def test_reading_is_refused_nothing(self) -> None:
        belongs_to("acct_other")

        assert gateway.retrieve("/v1/account")["id"] == OURS

    def test_a_key_that_may_not_read_its_account_is_recognised(
        self, at_sandbox: SandboxProcess, settings: Settings
    ) -> None:
        settings.STRIPE_SECRET_KEY = "rk_test_" + "r" * 24
        at_sandbox.fault(operation="GET /v1/account", mode="forbidden", times=None)

        perform()
        assert StripeAccount.objects.get().account_id == OURS
        assert mirror.ensure_account().id == OURS  # and the mirror asks no more

        calls = [one["call"] for one in at_sandbox.state()["recent_requests"]]
        mirror.ensure_account()
        assert [one["call"] for one in at_sandbox.state()["recent_requests"]] == calls

    def test_nobody_changes_it(self, owner_connection: psycopg.Connection, app_connection: psycopg.Connection) -> None:
        belongs_to()
        for statement, rule in (
            ("UPDATE billing_stripeaccount SET account_id = 'acct_x'", "billing_stripeaccount_append_only"),
            ("DELETE FROM billing_stripeaccount", "billing_stripeaccount_kept"),
            ("TRUNCATE billing_stripeaccount", "billing_stripeaccount_kept"),
            (
                "INSERT INTO billing_stripeaccount VALUES (2, 'acct_x', true, now())",
                "billing_stripeaccount_only_one",
            ),
        ):
            with pytest.raises(psycopg.IntegrityError) as refusal:
                owner_connection.execute(statement)
            assert refusal.value.diag.constraint_name == rule
            with pytest.raises((psycopg.IntegrityError, psycopg.errors.InsufficientPrivilege)):
                app_connection.execute(statement)


class TestMode:
    def test_an_object_of_the_other_mode_is_not_taken(self, at_sandbox: SandboxProcess, settings: Settings) -> None:
        ada = perform()
        at_sandbox.alter(ada["id"], livemode=True)

        with pytest.raises(StripeModeMismatch, match=f"customer {ada['id']} of live mode"):
            gateway.retrieve(f"/v1/customers/{ada['id']}")
        with pytest.raises(StripeModeMismatch):
            list(gateway.listed("/v1/customers"))


class TestChecks:
    def test_the_shape_of_the_key(self, settings: Settings) -> None:
        assert checks.key_has_the_shape_of_one(None) == []
        for bad in ("pk_test_" + "a" * 24, "sk_test_short", "whsec_" + "a" * 24):
            settings.STRIPE_SECRET_KEY = bad
            [error] = checks.key_has_the_shape_of_one(None)
            assert (error.id, bad in error.msg) == ("billing.E001", False)

    def test_the_mode_of_the_database(self, settings: Settings) -> None:
        belongs_to(livemode=True)

        [error] = checks.database_is_of_the_key_s_mode(None, databases=["default"])
        assert "belongs to acct_1BoringSandbox0000 in live mode" in error.msg
        assert checks.database_is_of_the_key_s_mode(None) == []


class TestCommand:
    @pytest.fixture
    def endpoint(self) -> None:
        WebhookEndpoint.objects.create(
            id="we_1",
            secret="whsec_1",
            livemode=False,
            enabled_events=["*"],
            url="https://b.example/",
            status="enabled",
        )

    def run(self) -> str:
        out = StringIO()
        call_command("stripe_check", stdout=out)
        return out.getvalue()

    def test_tells_what_the_key_is_and_may(self, endpoint: None, at_sandbox: SandboxProcess) -> None:
        before = at_sandbox.counts()
        table = self.run()

        lines = dict(line.split(maxsplit=1) for line in table.splitlines() if not line[:22].rstrip().count(" "))
        assert lines["Account"] == OURS
        assert lines["Mode"] == "test, full key"
        assert lines["Customers"] == "allowed"
        assert at_sandbox.counts() == before

    def test_names_every_permission_that_is_missing(
        self, endpoint: None, at_sandbox: SandboxProcess, settings: Settings
    ) -> None:
        settings.STRIPE_SECRET_KEY = "rk_test_" + "r" * 24
        at_sandbox.fault(operation="GET /v1/payouts", mode="forbidden", permission="rak_payout_read", times=None)
        at_sandbox.fault(operation="POST /v1/customers/", mode="forbidden", times=None)

        with pytest.raises(CommandError, match=r"Customers: write; Payouts: rak_payout_read") as problem:
            self.run()
        assert problem.value.returncode == 2
        assert "\n" not in str(problem.value)

    def test_a_missing_endpoint_is_a_problem(self) -> None:
        with pytest.raises(CommandError, match="setup_stripe_webhook") as problem:
            self.run()
        assert problem.value.returncode == 2

    def test_another_account_is_a_problem(self) -> None:
        belongs_to("acct_other")

        with pytest.raises(CommandError, match="belongs to acct_other") as problem:
            self.run()
        assert problem.value.returncode == 2

    def test_every_write_of_ours_is_asked_about(self) -> None:
        assert permissions.unnamed_operations() == []
