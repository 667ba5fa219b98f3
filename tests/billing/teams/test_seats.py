"""Seats: never fewer than are held, whoever comes first; and following members through Stripe."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.db import connections

from billing.stripe.models import OutboxIntent
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import ChangeRefused, change_terms
from billing.teams import seats
from billing.teams.errors import SeatsExceeded
from billing.teams.models import SeatAssignment, SeatOrder, TeamChange
from billing.teams.policy import set_policy
from tests.billing.teams.world import BY, entry, october_of, roster, subscription_of
from tests.billing.thread import Thread
from tests.factories import OCTOBER

DAY = timedelta(days=1)
OCT_15 = OCTOBER + 14 * DAY


def together(*works: Callable[[], object]) -> list[BaseException]:
    """Do all works at once, each on a connection of its own; return what they raised."""
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        try:
            gate.wait(timeout=60)
            work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        done = [pool.submit(run, work) for work in works]
        return [error for future in done if (error := future.exception(timeout=120)) is not None]


def held() -> int:
    return SeatAssignment.objects.filter(ends_at=None).count()


def assign(*keys: str, at: datetime = OCTOBER + DAY, name: str = "") -> TeamChange:
    return seats.assign_seats(
        customer_key="acme", member_keys=keys, idempotency_key=name or f"assign {keys}", now=at, **BY
    )


@pytest.mark.usefixtures("committed_db")
def test_the_last_seat_is_given_once_polar_13569() -> None:
    """P#13569, the seat TOCTOU: four ask for the one seat that is left, and one gets it."""
    october_of(seats=2)
    roster(entry("ada"), *[entry(f"m{n}", takes_seat=False) for n in range(4)])

    raised = together(*[lambda n=n: assign(f"m{n}") for n in range(4)])

    assert [type(error) for error in raised] == [SeatsExceeded] * 3
    assert held() == 2


@pytest.mark.usefixtures("committed_db")
def test_a_seat_is_not_given_above_what_stripe_is_being_asked_for_polar_13569() -> None:
    """Seats are lowered while somebody takes one: whoever is second sees the first."""
    october_of(seats=3)
    roster(entry("ada"), entry("bob"), entry("cid", takes_seat=False))
    follow()
    customer = subscription_of().customer

    raised = together(
        lambda: seats._next_order(customer.pk, actor="task:x", now=OCTOBER + DAY),
        lambda: assign("cid"),
    )

    order = SeatOrder.objects.first()
    if raised:
        assert [type(error) for error in raised] == [SeatsExceeded]
        assert order is not None
        assert (order.seats, order.from_next_period, held()) == (2, True, 2)
    else:
        assert (order, held()) == (None, 3)


def follow(*, at: datetime = OCTOBER) -> None:
    set_policy(
        customer_key="acme",
        seats_follow_members=True,
        member_dimension="",
        idempotency_key="follow",
        now=at,
        **BY,
    )


def test_seats_follow_members_through_stripe(thread: Thread) -> None:
    subscription = thread.subscribe("acme")
    thread.settle()
    thread.sandbox.advance(OCT_15)
    hours = iter(range(1, 20))
    follow(at=OCT_15)

    def clock() -> datetime:
        return OCT_15 + timedelta(hours=next(hours))

    def settle() -> int:
        now = clock()
        thread.sandbox.advance(now)
        return seats.settle_seats(customer_id=subscription.customer_id, actor="task:settle_seats", now=now)

    change = roster(entry("ada"), entry("bob"), entry("cid"), at=clock())
    assert (change.outcome["seated"], change.outcome["waiting_for_seats"]) == (1, 2)

    # Said again, Stripe is told once.
    assert (settle(), settle(), held()) == (3, 3, 3)
    told = OutboxIntent.objects.filter(operation="subscriptions.update")
    assert told.count() == 1

    # Who leaves gives their seat back at once, and it is paid until the period ends.
    roster(entry("ada"), at=clock())
    assert (held(), settle(), told.count()) == (1, 1, 2)
    latest = SeatOrder.objects.first()
    assert latest is not None
    assert (latest.seats, latest.from_next_period, latest.state) == (1, True, SeatOrder.State.DONE)

    # Nobody gets a seat that will not be paid: it is bought again.
    again = roster(entry("ada"), entry("dan"), at=clock())
    assert again.outcome["waiting_for_seats"] == 1
    assert (settle(), held(), Subscription.objects.get().seats) == (2, 2, 2)


def test_a_refusal_is_kept_and_not_repeated(thread: Thread) -> None:
    subscription = thread.subscribe("acme")
    thread.settle()
    follow(at=thread.now)
    # The change would lie in a period that has ended for Stripe's clock: it is refused with the remedy.
    late = thread.now + timedelta(days=90)
    roster(entry("ada"), entry("bob"), at=late)

    for _ in range(2):
        assert seats.settle_seats(customer_id=subscription.customer_id, actor="task:settle_seats", now=late) == 1

    [order] = SeatOrder.objects.all()
    assert order.state == SeatOrder.State.REFUSED
    assert "the latest period is" in order.detail
    assert held() == 1


@pytest.mark.usefixtures("committed_db")
def test_nobody_pays_for_fewer_seats_than_are_held() -> None:
    october_of(seats=3, stripe_subscription_id="sub_1", status="active")
    roster(entry("ada"), entry("bob"))
    subscription = subscription_of()

    with pytest.raises(ChangeRefused, match="2 members hold a seat of the plan; release 1 of these first"):
        change_terms(
            subscription_id=subscription.pk,
            plan_version=subscription.plan_version,
            seats=1,
            from_next_period=True,
            actor="user:tester",
            idempotency_key="fewer",
            now=OCTOBER + DAY,
        )
