"""What else can be done in the admin: void a grant, process an event again. Each by those who may, each logged."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from billing.stripe.models import InboxEvent
from config.roles import CUSTOMER_SUCCESS, ENGINEERING, FINANCE
from promotions.queries import available
from tests.billing.admin.stories import tell_story
from tests.factories import CreditGrantFactory, CustomerFactory

SignIn = Callable[[str], Client]


def void_address(grant_id: int) -> str:
    return reverse("admin:promotions_creditgrant_void", args=[grant_id])


def again_address(event: InboxEvent) -> str:
    return reverse("admin:billing_inboxevent_process_again", args=[event.pk])


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


class TestProcessAgain:
    def test_puts_an_event_that_was_set_aside_back_into_the_queue(self, sign_in: SignIn) -> None:
        event = tell_story(1).event

        response = sign_in(ENGINEERING).post(again_address(event), follow=True)

        event.refresh_from_db()
        assert "1 waiting to be processed again" in response.content.decode()
        assert (event.state, event.attempts, event.error) == (InboxEvent.State.RECEIVED, 0, "")
        assert LogEntry.objects.get().change_message == "Asked to be processed again"

    def test_leaves_an_event_alone_that_is_done(self, sign_in: SignIn) -> None:
        event = tell_story(1).event
        InboxEvent.objects.filter(pk=event.pk).update(state=InboxEvent.State.DONE)

        response = sign_in(ENGINEERING).post(again_address(event), follow=True)

        event.refresh_from_db()
        assert "1 left alone" in response.content.decode()
        assert event.state == InboxEvent.State.DONE

    def test_works_on_several_from_the_list(self, sign_in: SignIn) -> None:
        events = [tell_story(number).event for number in (1, 2)]
        chosen = [event.pk for event in events]

        sign_in(ENGINEERING).post(
            reverse("admin:billing_inboxevent_changelist"), {"action": "process_again", "_selected_action": chosen}
        )

        assert set(InboxEvent.objects.values_list("state", flat=True)) == {InboxEvent.State.RECEIVED}

    @pytest.mark.parametrize("role", [CUSTOMER_SUCCESS, FINANCE])
    def test_is_refused_to_others(self, sign_in: SignIn, role: str) -> None:
        event = tell_story(1).event

        assert sign_in(role).post(again_address(event)).status_code == 403

    def test_does_not_happen_by_following_a_link(self, sign_in: SignIn) -> None:
        event = tell_story(1).event

        assert sign_in(ENGINEERING).get(again_address(event)).status_code == 405
