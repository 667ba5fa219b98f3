"""dj-stripe's tables follow Stripe, hold no secret key, and never stand in the way of money work."""

from datetime import timedelta
from io import StringIO
from itertools import count

import djstripe.models
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from djstripe.models import APIKey, WebhookEndpoint
from pytest_django.fixtures import Settings

from billing.stripe import budget, gateway, mirror, mirroring, poll
from billing.stripe.endpoints import set_up_endpoint
from billing.stripe.errors import StripeUnavailable
from billing.stripe.inbox_models import MirrorRebuild
from billing.stripe.models import InboxEvent
from billing.stripe.projection import ENABLED_EVENTS
from ledger import queries as ledger_queries
from tests.billing.thread import Thread
from tests.sandbox.client import SandboxProcess


class TestMirror:
    def test_follows_the_objects_of_events_and_keeps_no_key(self, thread: Thread) -> None:
        thread.subscribe()
        thread.settle()
        entries = ledger_queries.count_entries()

        refreshed = mirror.refresh(now=thread.now, limit=100)

        assert refreshed > 0
        assert InboxEvent.objects.filter(mirrored_at=None).count() == 0
        assert mirror.refresh(now=thread.now, limit=100) == 0
        assert djstripe.models.Customer.objects.get().stripe_data["metadata"]["customer_key"] == "ada"
        assert djstripe.models.Subscription.objects.get().stripe_data["status"] == "active"
        assert djstripe.models.Invoice.objects.get().stripe_data["status"] == "paid"
        assert APIKey.objects.count() == 0
        assert ledger_queries.count_entries() == entries

    def test_tries_again_when_stripe_does_not_answer(self, thread: Thread) -> None:
        thread.subscribe()
        thread.settle()
        mirror.ensure_account()
        thread.sandbox.fault(operation="GET /v1/", mode="error_500", times=1000)
        mirror.refresh(now=thread.now, limit=100)
        # These have no place in the mirror: nobody is asked for them.
        done = InboxEvent.objects.exclude(mirrored_at=None).values_list("type", flat=True)
        assert set(done) == {"invoice_payment.paid", "payment_method.attached"}

        thread.sandbox.clear_faults()
        mirror.refresh(now=thread.now, limit=100)

        assert not InboxEvent.objects.filter(mirrored_at=None).exists()

    def test_kinds_that_the_key_may_not_read_stop_no_other(
        self, thread: Thread, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each run has so many places, and what cannot be mirrored does not keep one."""
        for key in ("ada", "bob"):
            thread.subscribe(key)
        poll.fetch_missed_events(now=thread.now)
        mirror.ensure_account()
        thread.sandbox.fault(operation=r"GET /v1/(payment_intents|charges|invoices)", mode="forbidden", times=None)

        runs = 0
        while mirror.refresh(now=thread.now, limit=4) and runs < 5:
            runs += 1

        assert not InboxEvent.objects.filter(mirrored_at=None).exists()
        assert djstripe.models.Subscription.objects.count() == 2
        assert 1 <= caplog.text.count("nothing of kind invoice is mirrored") <= runs

    def test_what_dj_stripe_asks_itself_takes_a_turn(self, thread: Thread) -> None:
        thread.subscribe()
        mirror.install()
        charge = gateway.sdk_object(f"/v1/charges/{next(gateway.listed('/v1/charges'))['id']}")
        asked = thread.calls_counted("GET")
        budget.pause(timedelta(minutes=5))  # nobody has a turn

        with mirror.alone(waiting=True), pytest.raises(StripeUnavailable, match="budget"):
            mirror.save(mirror.KINDS["charge"], charge)

        assert thread.calls_counted("GET") == asked


class TestRebuild:
    def rebuild(self, thread: Thread, *, pages: int = 1000) -> mirroring.Rebuilt:
        """So many pages, and then an interrupt."""
        left = count(pages, -1)
        started = mirroring.begin_rebuild(actor="user:tester", now=thread.now)
        return mirroring.rebuild(
            started, clock=lambda: thread.now, go_on=lambda: next(left) > 0, on_page=lambda *_: None
        )

    def differences(self) -> list[mirroring.Difference]:
        return list(mirroring.compare(go_on=lambda: True, on_page=lambda *_: None))

    def test_from_nothing_says_what_stripe_says(self, thread: Thread) -> None:
        for key in ("ada", "bob"):
            thread.subscribe(key)
        assert {one.what for one in self.differences()} == {"not in the mirror"}

        done = self.rebuild(thread)

        assert (done.is_complete, done.refused) == (True, ())
        assert (done.read["customer"], done.read["subscription"], done.read["invoice"]) == (2, 2, 2)
        assert self.differences() == []
        assert APIKey.objects.count() == 0

    def test_an_interrupted_one_goes_on_where_it_stopped(self, thread: Thread, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gateway, "PAGE_SIZE_MAX", 1)
        for key in ("ada", "bob", "cleo"):
            thread.subscribe(key)
        first = self.rebuild(thread, pages=8)
        assert not first.is_complete
        before = thread.calls_counted("GET /v1/products")

        rest = self.rebuild(thread)

        assert rest.is_complete
        assert rest.read["customer"] == 3
        assert thread.calls_counted("GET /v1/products") == before
        assert MirrorRebuild.objects.count() == 1
        assert self.differences() == []

    def test_check_names_what_differs_and_what_is_in_the_mirror_only(self, thread: Thread) -> None:
        thread.subscribe()
        self.rebuild(thread)
        customer = djstripe.models.Customer.objects.get()
        gateway.request("post", f"/v1/customers/{customer.id}", {"name": "Ada L."})
        djstripe.models.Coupon.objects.create(id="gone", stripe_data={"id": "gone"}, livemode=False)
        said = StringIO()

        with pytest.raises(CommandError, match="2 differences") as refused:
            call_command("stripe_mirror", "check", stdout=said)

        assert refused.value.returncode == 1
        assert f"customer {customer.id}: differs in name" in said.getvalue()
        assert "coupon gone: in the mirror only" in said.getvalue()

    def test_the_secret_key_is_nowhere_in_the_database(self, thread: Thread, settings: Settings) -> None:
        thread.subscribe()
        thread.settle()
        self.rebuild(thread)
        set_up_endpoint(base_url="http://127.0.0.1:9")

        with connection.cursor() as cursor:
            cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
            for (table,) in cursor.fetchall():
                cursor.execute(
                    f'SELECT count(*) FROM "{table}" AS one WHERE one::text LIKE %s',
                    [f"%{settings.STRIPE_SECRET_KEY}%"],
                )
                assert cursor.fetchone()[0] == 0, table


class TestEndpoint:
    URL = "http://127.0.0.1:9"  # nobody listens there

    @pytest.fixture(autouse=True)
    def _ready(self, committed_db: None, at_sandbox: SandboxProcess) -> None:
        """Real commits and the sandbox."""

    def test_is_made_once_with_the_events_we_follow(self) -> None:
        first = set_up_endpoint(base_url=self.URL)
        again = set_up_endpoint(base_url=self.URL + "/")

        assert (again.id, again.secret) == (first.id, first.secret)
        (at_stripe,) = list(gateway.listed("/v1/webhook_endpoints"))
        assert at_stripe["url"] == f"{self.URL}/stripe/webhook/{first.djstripe_uuid}/"
        assert sorted(at_stripe["enabled_events"]) == sorted(ENABLED_EVENTS)
        assert at_stripe["api_version"] == "2026-08-26.dahlia"

    def test_keeps_its_secret_in_one_column_and_no_key_at_all(self) -> None:
        endpoint = set_up_endpoint(base_url=self.URL)

        assert endpoint.secret.startswith("whsec_")
        assert "secret" not in endpoint.stripe_data
        assert APIKey.objects.count() == 0

    def test_is_brought_up_to_date_when_the_events_changed(self) -> None:
        first = set_up_endpoint(base_url=self.URL)
        gateway.request("post", f"/v1/webhook_endpoints/{first.id}", {"enabled_events": ["invoice.paid"]})

        again = set_up_endpoint(base_url=self.URL)

        assert (again.id, sorted(again.enabled_events)) == (first.id, sorted(ENABLED_EVENTS))
        assert again.secret == first.secret

    def test_is_made_anew_when_its_secret_was_lost_on_the_way(self) -> None:
        """A crash after Stripe made it and before we stored the secret, which is told only once."""
        lost = set_up_endpoint(base_url=self.URL)
        WebhookEndpoint.objects.all().delete()

        found = set_up_endpoint(base_url=self.URL)

        assert found.id != lost.id
        assert [one["id"] for one in gateway.listed("/v1/webhook_endpoints")] == [found.id]
