"""What else can be done in the admin: void a grant, process an event again. Each by those who may, each logged."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from billing.stripe.inbox_models import InboxReplay
from billing.stripe.models import InboxEvent
from config.roles import CUSTOMER_SUCCESS, ENGINEERING, FINANCE
from promotions.queries import available
from tests.billing.admin.stories import tell_story
from tests.factories import CreditGrantFactory, CustomerFactory

SignIn = Callable[[str], Client]


def void_address(grant_id: int) -> str:
    return reverse("admin:promotions_creditgrant_void", args=[grant_id])


class TestVoidGrant:
    def test_takes_back_what_is_left_and_says_why(self, sign_in: SignIn) -> None:
        grant = CreditGrantFactory(customer_key=CustomerFactory().customer_key, amount=Decimal(10))
        client = sign_in(FINANCE)

        response = client.post(void_address(grant.pk), {"reason": "Issued to the wrong team"}, follow=True)

        grant.refresh_from_db()
        assert response.status_code == 200
        assert grant.ended_at is not None
        assert available(grant.pk) == 0
        assert LogEntry.objects.get().change_message == "Voided: Issued to the wrong team"

    def test_needs_a_reason(self, sign_in: SignIn) -> None:
        grant = CreditGrantFactory(customer_key=CustomerFactory().customer_key)

        response = sign_in(CUSTOMER_SUCCESS).post(void_address(grant.pk), {"reason": " "})

        assert response.status_code == 422
        assert available(grant.pk) == 10

    def test_done_twice_says_so_and_changes_nothing(self, sign_in: SignIn) -> None:
        grant = CreditGrantFactory(customer_key=CustomerFactory().customer_key)
        client = sign_in(FINANCE)
        client.post(void_address(grant.pk), {"reason": "first"})

        response = client.post(void_address(grant.pk), {"reason": "second"})

        assert response.status_code == 422
        assert "Nothing was done" in response.content.decode()
        assert LogEntry.objects.count() == 1

    def test_is_refused_to_engineering(self, sign_in: SignIn) -> None:
        grant = CreditGrantFactory(customer_key=CustomerFactory().customer_key)

        assert sign_in(ENGINEERING).post(void_address(grant.pk), {"reason": "x"}).status_code == 403
        assert available(grant.pk) == 10


class TestTryAgain:
    ADDRESS = "/admin/billing/inboxevent/replay/"

    def test_puts_an_event_that_was_set_aside_back_and_says_who_and_why(self, sign_in: SignIn) -> None:
        event = tell_story(1).event
        client = sign_in(ENGINEERING)
        assert "Try again" in client.get(self.ADDRESS, {"event": event.pk}).content.decode()

        response = client.post(self.ADDRESS, {"event": event.pk, "reason": "mended the tax"}, follow=True)

        before, event = event, InboxEvent.objects.get(pk=event.pk)
        replay = InboxReplay.objects.get()
        assert "1 waiting to be processed again" in response.content.decode()
        assert (event.state, event.strikes, event.error) == (InboxEvent.State.RECEIVED, 0, "")
        assert (replay.reason, replay.chosen) == ("mended the tax", 1)
        assert replay.events.get().error_before == before.error
        assert LogEntry.objects.get().change_message == "1 put back into the queue: mended the tax"

    def test_needs_a_reason(self, sign_in: SignIn) -> None:
        event = tell_story(1).event

        response = sign_in(ENGINEERING).post(self.ADDRESS, {"event": event.pk, "reason": " "})

        assert response.status_code == 422
        assert "Say why" in response.content.decode()
        assert InboxEvent.objects.get(pk=event.pk).state == event.state

    def test_works_on_several_from_the_list_and_on_all_of_a_type(self, sign_in: SignIn) -> None:
        events = [tell_story(number).event for number in (1, 2)]
        client = sign_in(ENGINEERING)
        chosen = {"action": "process_again", "_selected_action": [event.pk for event in events]}

        asked = client.post(reverse("admin:billing_inboxevent_changelist"), chosen)
        assert asked.status_code == 302
        assert f"event={events[1].pk}" in asked["Location"]
        client.post(self.ADDRESS, {"type": events[0].type.partition(".")[0], "reason": "all of them"})

        assert set(InboxEvent.objects.values_list("state", flat=True)) == {InboxEvent.State.RECEIVED}
        assert InboxReplay.objects.get().chosen == 2

    @pytest.mark.parametrize("role", [CUSTOMER_SUCCESS, FINANCE])
    def test_is_refused_to_others(self, sign_in: SignIn, role: str) -> None:
        event = tell_story(1).event

        assert sign_in(role).post(self.ADDRESS, {"event": event.pk, "reason": "x"}).status_code == 403

    def test_does_not_happen_by_following_a_link(self, sign_in: SignIn) -> None:
        event = tell_story(1).event

        assert sign_in(ENGINEERING).get(self.ADDRESS, {"event": event.pk, "reason": "x"}).status_code == 200
        assert InboxReplay.objects.count() == 0

    def test_an_object_has_a_page_of_all_that_happened(self, sign_in: SignIn) -> None:
        event = tell_story(1).event
        client = sign_in(ENGINEERING)

        page = client.get(reverse("admin:billing_inboxevent_object", args=[event.object_id])).content.decode()

        assert event.type in page
        assert "What the mirror holds now" in page
        unknown = client.get(reverse("admin:billing_inboxevent_object", args=["in_nobody/knows"]))
        assert "Nothing is known here" in unknown.content.decode()
