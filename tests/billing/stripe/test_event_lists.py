"""Stripe's list of events takes 20 types at most; ours is one list, newest first, of as many as we follow."""

from datetime import timedelta

import pytest

from billing.stripe import gateway, poll
from billing.stripe.errors import StripeRefused
from billing.stripe.models import InboxEvent
from billing.stripe.projection import ENABLED_EVENTS
from tests.billing.thread import START, Thread

EARLY, LATE = "customer.created", "customer.updated"


@pytest.fixture
def customers(thread: Thread) -> list[str]:
    """Three made and changed in turn, a minute between any two events."""
    made = []
    for number in range(3):
        thread.sandbox.advance(START + timedelta(minutes=2 * number + 1))
        made.append(gateway.request("post", "/v1/customers", {"name": f"c{number}"}).data["id"])
        thread.sandbox.advance(START + timedelta(minutes=2 * number + 2))
        gateway.request("post", f"/v1/customers/{made[-1]}", {"name": f"changed {number}"})
    return made


@pytest.mark.parametrize("page_size", [1, 2, 100])
def test_the_parts_are_merged_in_order(customers: list[str], monkeypatch: pytest.MonkeyPatch, page_size: int) -> None:
    """The two types stand in different parts, and the parts' pages interleave."""
    monkeypatch.setattr(gateway, "PAGE_SIZE_MAX", page_size)
    between = [f"invoice.type_{number}" for number in range(gateway.EVENT_TYPES_MAX)]

    listed = list(gateway.listed_events([EARLY, *between, LATE]))

    expected = [(kind, customer) for customer in reversed(customers) for kind in (LATE, EARLY)]
    assert [(event["type"], event["data"]["object"]["id"]) for event in listed] == expected


def test_the_filter_by_time_is_that_of_every_part(customers: list[str]) -> None:
    between = [f"invoice.type_{number}" for number in range(gateway.EVENT_TYPES_MAX)]
    since = {"gte": int(START.timestamp()) + 300}

    listed = list(gateway.listed_events([EARLY, *between, LATE], created=since))

    assert [event["type"] for event in listed] == [LATE, EARLY]


def test_more_types_than_stripe_takes_are_what_we_follow(thread: Thread) -> None:
    assert len(ENABLED_EVENTS) > gateway.EVENT_TYPES_MAX
    with pytest.raises(StripeRefused, match="up to 20"):
        list(gateway.listed("/v1/events", types=list(ENABLED_EVENTS)))

    thread.subscribe()

    missed = poll.fetch_missed_events(now=thread.now)
    stored = InboxEvent.objects.order_by("stripe_created_at").values_list("pk", flat=True)
    assert sorted(missed) == sorted(stored)
    assert len(missed) > 3
