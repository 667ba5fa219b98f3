"""dj-stripe's tables follow Stripe, hold no secret key, and never stand in the way of money work."""

import djstripe.models
import pytest
from djstripe.models import APIKey, WebhookEndpoint

from billing.stripe import gateway, mirror
from billing.stripe.endpoints import set_up_endpoint
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
        # An invoice payment has no place in the mirror: nobody is asked for it.
        done = InboxEvent.objects.exclude(mirrored_at=None).values_list("type", flat=True)
        assert set(done) == {"invoice_payment.paid"}

        thread.sandbox.clear_faults()
        mirror.refresh(now=thread.now, limit=100)

        assert not InboxEvent.objects.filter(mirrored_at=None).exists()


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
