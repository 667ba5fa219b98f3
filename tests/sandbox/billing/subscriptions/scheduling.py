"""The life of a subscription schedule: it starts its subscription, changes it from phase to phase, and ends.

A phase that ends together with a billing period changes the subscription before that period's renewal, so that the
renewal bills the new phase, and nothing is left to prorate.

What can no longer be done when its time has come (Stripe publishes nothing about it): a schedule that cannot start is
canceled, one that cannot enter its next phase is released.
"""

from collections.abc import Sequence
from typing import Any

from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.billing.subscriptions.changing import change_from_parameters
from tests.sandbox.billing.subscriptions.ended import ENDED
from tests.sandbox.billing.subscriptions.ending import cancel_subscription
from tests.sandbox.billing.subscriptions.phase_parameters import begins_anew, changing_parameters, starting_parameters
from tests.sandbox.billing.subscriptions.starting import start_from_parameters
from tests.sandbox.billing.subscriptions.unscheduling import cancel, complete, release
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Stripe's pages say seven days. The official flow of the event (CLI, subscription_schedule.expiring) expects it nine
# days before the end, so nine it is.
EXPIRING_BEFORE_SECONDS = 9 * DAY_SECONDS


def begin(world: World, schedule: StripeObject) -> None:
    """Start the subscription with the phase that is due now. Raises what starting one raises."""
    phase = next(phase for phase in schedule["phases"] if phase["end_date"] > world.now)
    parameters = starting_parameters(schedule, phase)
    if phase["start_date"] < world.now:
        parameters["backdate_start_date"] = phase["start_date"]
    subscription = start_from_parameters(world, parameters, scheduled=True)
    attach(world, schedule, subscription, phase)


def attach(world: World, schedule: StripeObject, subscription: StripeObject, phase: StripeObject) -> None:
    """Let the schedule manage a subscription that is in `phase` now. The caller tells of the schedule."""
    world.update(subscription, "customer.subscription.updated", schedule=schedule["id"])
    world.update(schedule, None, status="active", subscription=subscription["id"], current_phase=_span(phase))
    await_end(world, schedule)


def begin_when_due(world: World, schedule: StripeObject) -> None:
    """At the start of the first phase, unless that was changed by then."""
    moment = schedule["phases"][0]["start_date"]

    def due() -> None:
        if schedule["status"] != "not_started" or schedule["phases"][0]["start_date"] != moment:
            return
        before = {name: schedule[name] for name in ("status", "subscription", "current_phase")}
        try:
            begin(world, schedule)
        except StripeError:  # its customer was deleted meanwhile, its price archived …
            cancel(world, schedule, aborted=True)
        else:
            world.emit("subscription_schedule.updated", schedule, previous=before)

    world.clock.at(moment, due, f"start of {schedule['id']}", first=True)


def await_end(world: World, schedule: StripeObject) -> None:
    """Wait for the end of the current phase, and of the whole schedule."""
    moment = schedule["current_phase"]["end_date"]

    def due() -> None:
        if _is_in_phase_until(schedule, moment):
            try:
                leave_phase(world, schedule)
            except StripeError:  # the next phase cannot be entered any more: its price was archived …
                release(world, schedule)

    world.clock.at(moment, due, f"end of a phase of {schedule['id']}", first=True)
    _warn_when_due(world, schedule)
    _agree_on_end(world, schedule)


def leave_phase(world: World, schedule: StripeObject) -> None:
    """Go on to the phase that begins now, or end the schedule."""
    following = [phase for phase in schedule["phases"] if phase["end_date"] > world.now]
    if following:
        enter_phase(world, schedule, following[0])
    elif schedule["end_behavior"] == "cancel":
        _let_subscription_end(world, schedule)
    elif schedule["end_behavior"] == "release":
        complete(world, schedule)
        release(world, schedule)
    else:
        complete(world, schedule)


def enter_phase(world: World, schedule: StripeObject, phase: StripeObject) -> None:
    subscription = world.store.get("subscription", schedule["subscription"])
    parameters = changing_parameters(schedule, phase, subscription)
    if begins_anew(world, schedule, phase, subscription):
        parameters["billing_cycle_anchor"] = "now"
    change_from_parameters(world, subscription, parameters)
    world.update(schedule, "subscription_schedule.updated", current_phase=_span(phase))
    await_end(world, schedule)


def change_phase(world: World, schedule: StripeObject, phase: StripeObject, *, proration_behavior: str) -> None:
    """The phase that the subscription is in was rewritten: change the subscription now."""
    subscription = world.store.get("subscription", schedule["subscription"])
    parameters = changing_parameters(schedule, phase, subscription)
    change_from_parameters(world, subscription, parameters | {"proration_behavior": proration_behavior})


def rewrite(
    world: World, schedule: StripeObject, phases: list[StripeObject], changes: dict[str, Any], prorations: str
) -> None:
    """New phases, and other `changes`, for a schedule that is under way. Past phases that were left out stay.

    Raises `StripeError` when the phases leave the current one out.
    """
    former = phase_at(schedule["phases"], world.now) or schedule["phases"][-1]
    ended_now = next((phase for phase in phases if phase["end_date"] == world.now), None)
    current = phase_at(phases, world.now)
    started = ended_now or current
    if started is None or started["start_date"] != former["start_date"]:
        raise StripeError(
            "You can not modify the start date of the current phase; give the current phase with the start date that "
            f"it has ({former['start_date']}).",
            param="phases[0][start_date]",
        )
    past = [phase for phase in schedule["phases"] if phase["end_date"] <= phases[0]["start_date"]]
    if ended_now is not None:
        world.update(schedule, "subscription_schedule.updated", phases=past + phases, **changes)
        if current is not None:
            enter_phase(world, schedule, current)
        else:
            leave_phase(world, schedule)
        return
    assert current is not None
    changes |= {"phases": past + phases, "current_phase": _span(current)}
    world.update(schedule, "subscription_schedule.updated", **changes)
    if _configuration(current) != _configuration(former):
        change_phase(world, schedule, current, proration_behavior=prorations)
    await_end(world, schedule)


def phase_at(phases: Sequence[StripeObject], moment: int) -> StripeObject | None:
    """The phase that `moment` falls into."""
    return next((phase for phase in phases if phase["start_date"] <= moment < phase["end_date"]), None)


def _let_subscription_end(world: World, schedule: StripeObject) -> None:
    """Its `cancel_at` is this moment too and comes first: a period that is over is billed as at any other end."""
    subscription = world.store.get("subscription", schedule["subscription"])

    def due() -> None:
        if subscription["status"] not in ENDED:
            cancel_subscription(world, subscription)

    world.clock.at(world.now, due, f"end of {schedule['id']}")


def _agree_on_end(world: World, schedule: StripeObject) -> None:
    """While a schedule manages a subscription, `cancel_at` is its own: set for the last phase, if it is to cancel."""
    subscription = world.store.get("subscription", schedule["subscription"])
    end = schedule["current_phase"]["end_date"]
    last = end == schedule["phases"][-1]["end_date"]
    planned = end if last and schedule["end_behavior"] == "cancel" else None
    if subscription["cancel_at"] != planned:
        change_from_parameters(world, subscription, {"cancel_at": planned or "", "proration_behavior": "none"})


def _warn_when_due(world: World, schedule: StripeObject) -> None:
    end = schedule["phases"][-1]["end_date"]

    def due() -> None:
        active = schedule["status"] == "active" and schedule["phases"][-1]["end_date"] == end
        if active and world.told_expiring.get(schedule["id"]) != end:
            world.told_expiring[schedule["id"]] = end
            world.emit("subscription_schedule.expiring", schedule)

    last = schedule["current_phase"]["end_date"] == end
    if last and end - EXPIRING_BEFORE_SECONDS > world.now:
        world.clock.at(end - EXPIRING_BEFORE_SECONDS, due, f"warning that {schedule['id']} expires")


def _configuration(phase: StripeObject) -> StripeObject:
    """What of a phase its subscription shows."""
    timing = ("end_date", "proration_behavior", "start_date", "add_invoice_items")
    return {name: value for name, value in phase.items() if name not in timing}


def _is_in_phase_until(schedule: StripeObject, moment: int) -> bool:
    return schedule["status"] == "active" and schedule["current_phase"]["end_date"] == moment


def _span(phase: StripeObject) -> StripeObject:
    return {"start_date": phase["start_date"], "end_date": phase["end_date"]}
