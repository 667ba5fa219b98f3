"""The ends of a subscription schedule that leave nothing to do: released, canceled, completed."""

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

OPEN = frozenset({"not_started", "active"})


def release(world: World, schedule: StripeObject) -> None:
    """Leave the subscription to itself. Told as an update too, as by Stripe (twentyhq/twenty, pull request 16669)."""
    subscription = world.store.find("subscription", schedule["subscription"])
    world.update(
        schedule,
        "subscription_schedule.updated",
        current_phase=None,
        released_at=world.now,
        released_subscription=schedule["subscription"],
        status="released",
        subscription=None,
    )
    world.emit("subscription_schedule.released", schedule)
    if subscription is not None:
        world.update(subscription, "customer.subscription.updated", schedule=None)


def complete(world: World, schedule: StripeObject) -> None:
    """After its last phase."""
    world.update(schedule, None, completed_at=world.now, current_phase=None, status="completed")
    world.emit("subscription_schedule.completed", schedule)


def cancel(world: World, schedule: StripeObject, *, aborted: bool) -> None:
    """`aborted`: for unpaid bills; and, by the official flow of that event, one that never started."""
    world.update(schedule, None, canceled_at=world.now, current_phase=None, status="canceled")
    world.emit("subscription_schedule.canceled", schedule)
    if aborted:
        world.emit("subscription_schedule.aborted", schedule)


def refuse_end_of_scheduled(subscription: StripeObject, parameters: Parameters) -> None:
    """Raises `StripeError` for an update that plans the end of a subscription which a schedule manages."""
    named = [name for name in ("cancel_at", "cancel_at_period_end") if name in parameters]
    if subscription["schedule"] is not None and named:
        raise StripeError(
            f"The subscription is managed by the subscription schedule `{subscription['schedule']}`, and updating any "
            "cancelation behavior directly is not allowed. Please update the schedule instead.",
            param=named[0],
        )


def end_with_subscription(world: World, subscription: StripeObject, *, reason: str) -> None:
    """A subscription that ends takes its schedule along: completed when that was its plan, else canceled."""
    schedule = world.store.find("subscription_schedule", subscription["schedule"])
    if schedule is None or schedule["status"] not in OPEN:
        return
    if schedule["end_behavior"] == "cancel" and schedule["phases"][-1]["end_date"] <= world.now:
        complete(world, schedule)
    else:
        cancel(world, schedule, aborted=reason == "payment_failed")
