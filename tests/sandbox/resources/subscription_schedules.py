"""Subscription schedules: phases that start a subscription, change it and end it by themselves."""

from typing import Any

from tests.sandbox.billing.subscriptions.ended import ENDED
from tests.sandbox.billing.subscriptions.ending import cancel_subscription
from tests.sandbox.billing.subscriptions.phases import phase_of_subscription, read_phases
from tests.sandbox.billing.subscriptions.scheduling import attach, await_end, begin, begin_when_due, rewrite
from tests.sandbox.billing.subscriptions.unscheduling import OPEN, cancel, release
from tests.sandbox.core.belonging import without_other_clocks
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.lists import in_range, matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

KIND = "subscription_schedule"
URL = "/v1/subscription_schedules"
UPDATABLE = frozenset({"default_settings", "end_behavior", "metadata", "phases", "proration_behavior"})
CREATABLE = (UPDATABLE - {"proration_behavior"}) | {"billing_mode", "customer", "from_subscription", "start_date"}
SETTINGS = frozenset(
    {"automatic_tax", "billing_cycle_anchor", "collection_method", "default_payment_method", "description"}
    | {"invoice_settings"}
)
MOMENTS = ("canceled_at", "completed_at", "released_at")


@handles("POST /v1/subscription_schedules")
def create_schedule(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, f"POST {URL}")
    if "from_subscription" in parameters:
        return _from_subscription(world, parameters)
    for name in ("customer", "phases"):
        if name not in parameters:
            raise StripeError(f"Missing required param: {name}.", code="parameter_missing", param=name)
    customer = world.store.get("customer", parameters["customer"], param="customer")
    start = parameters.get("start_date", "now")
    phases = read_phases(world, parameters["phases"], world.now if start == "now" else start)
    if phases[-1]["end_date"] <= world.now:
        raise StripeError("The last phase of a schedule must end in the future.", param="phases")
    schedule = _new_schedule(world, parameters, customer["id"], phases)
    if phases[0]["start_date"] > world.now:
        begin_when_due(world, schedule)
    else:
        try:
            begin(world, schedule)
        except StripeError:  # a subscription that may not start: there is no schedule then
            world.store.remove(schedule)
            raise
    world.emit("subscription_schedule.created", schedule)
    return schedule


@handles("GET /v1/subscription_schedules")
def list_schedules(world: World, parameters: Parameters) -> StripeObject:
    found = matching(without_other_clocks(world.store.all(KIND), parameters), parameters, "customer")
    if parameters.get("scheduled"):
        found = [schedule for schedule in found if schedule["status"] == "not_started"]
    for name in MOMENTS:
        if name in parameters:
            wanted = parameters[name]
            found = [schedule for schedule in found if schedule[name] and in_range(schedule[name], wanted)]
    return page_of(world.store, found, parameters, url=URL)


@handles("GET /v1/subscription_schedules/{schedule}")
def retrieve_schedule(world: World, parameters: Parameters, schedule_id: str) -> StripeObject:
    return find_schedule(world, schedule_id)


@handles("POST /v1/subscription_schedules/{schedule}")
def update_schedule(world: World, parameters: Parameters, schedule_id: str) -> StripeObject:
    refuse_unsupported(parameters, UPDATABLE, f"POST {URL}/{{schedule}}")
    schedule = find_schedule(world, schedule_id)
    if schedule["status"] not in OPEN and set(parameters) - {"expand", "metadata"}:
        raise StripeError(
            f"You can only update the metadata of a schedule that is {schedule['status']}.", param="phases"
        )
    changes: dict[str, Any] = {"metadata": merged_metadata(schedule["metadata"], parameters)}
    if "end_behavior" in parameters:
        changes["end_behavior"] = _end_behavior(parameters)
    if "default_settings" in parameters:
        changes["default_settings"] = _settings(schedule["default_settings"], parameters["default_settings"])
    if "phases" not in parameters:
        world.update(schedule, "subscription_schedule.updated", **changes)
        if schedule["status"] == "active" and "end_behavior" in parameters:
            await_end(world, schedule)
        return schedule
    phases = _given_phases(world, parameters)
    if schedule["status"] == "not_started":
        world.update(schedule, "subscription_schedule.updated", phases=phases, **changes)
        begin_when_due(world, schedule)
    else:
        rewrite(world, schedule, phases, changes, parameters.get("proration_behavior", "create_prorations"))
    return schedule


@handles("POST /v1/subscription_schedules/{schedule}/cancel")
def cancel_schedule(world: World, parameters: Parameters, schedule_id: str) -> StripeObject:
    schedule = _open_schedule(world, schedule_id, "canceled")
    if schedule["status"] == "not_started":
        cancel(world, schedule, aborted=True)
        return schedule
    cancel_subscription(  # and the schedule ends with its subscription
        world,
        world.store.get("subscription", schedule["subscription"]),
        prorate=parameters.get("prorate", True),
        invoice_now=parameters.get("invoice_now", True),
    )
    return schedule


@handles("POST /v1/subscription_schedules/{schedule}/release")
def release_schedule(world: World, parameters: Parameters, schedule_id: str) -> StripeObject:
    schedule = _open_schedule(world, schedule_id, "released")
    subscription = world.store.find("subscription", schedule["subscription"])
    planned = schedule["phases"][-1]["end_date"] if schedule["end_behavior"] == "cancel" else None
    release(world, schedule)
    if subscription is not None and planned == subscription["cancel_at"] and not parameters.get("preserve_cancel_date"):
        world.update(subscription, "customer.subscription.updated", cancel_at=None, canceled_at=None)
    return schedule


def find_schedule(world: World, schedule_id: str, *, param: str = "id") -> StripeObject:
    return world.store.get(KIND, schedule_id, noun="subscription_schedule", param=param)


def _from_subscription(world: World, parameters: Parameters) -> StripeObject:
    others = sorted(set(parameters) - {"billing_mode", "expand", "from_subscription"})
    if others:
        raise StripeError(
            f"You cannot set `{others[0]}` if `from_subscription` is set.", code="parameters_exclusive", param=others[0]
        )
    subscription = world.store.get("subscription", parameters["from_subscription"], param="from_subscription")
    if subscription["schedule"] is not None:
        raise StripeError(
            "You cannot migrate a subscription that is already attached to a schedule: "
            f"{subscription['schedule']}. Update that one instead.",
            param="from_subscription",
        )
    if subscription["status"] in ENDED:
        raise StripeError(
            f"You cannot migrate a subscription that is {subscription['status']}.", param="from_subscription"
        )
    phase = phase_of_subscription(world, subscription)
    schedule = _new_schedule(world, parameters, subscription["customer"], [phase])
    attach(world, schedule, subscription, phase)
    world.emit("subscription_schedule.created", schedule)
    return schedule


def _new_schedule(world: World, parameters: Parameters, customer_id: str, phases: list[StripeObject]) -> StripeObject:
    if parameters.get("billing_mode", {}).get("type", "flexible") != "flexible":
        raise not_implemented("classic billing mode", param="billing_mode[type]")
    end_behavior = _end_behavior(parameters)
    defaults = world.skeletons.new(
        "subscription_schedules_resource_default_settings",
        billing_cycle_anchor="automatic",
        collection_method="charge_automatically",
        invoice_settings=world.skeletons.new("invoice_setting_subscription_schedule_setting", issuer={"type": "self"}),
    )
    return world.new(
        KIND,
        "sub_sched",
        billing_mode={"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": world.now},
        customer=customer_id,
        default_settings=_settings(defaults, parameters.get("default_settings", {})),
        end_behavior=end_behavior,
        metadata=merged_metadata({}, parameters),
        phases=phases,
        status="not_started",
    )


def _end_behavior(parameters: Parameters) -> str:
    behavior: str = parameters.get("end_behavior", "release")
    if behavior == "renew":
        raise not_implemented("schedules that renew", param="end_behavior")
    return behavior


def _settings(current: StripeObject, given: Parameters) -> StripeObject:
    refuse_unsupported(given, SETTINGS, "default_settings of a schedule")
    if given.get("automatic_tax", {}).get("enabled"):
        raise not_implemented("automatic tax", param="default_settings[automatic_tax]")
    settings = dict(current)
    for name in ("billing_cycle_anchor", "collection_method", "default_payment_method"):
        if name in given:
            settings[name] = given[name]
    if "description" in given:
        settings["description"] = unset(given["description"])
    if "invoice_settings" in given:
        wanted = {name: value if value != "" else None for name, value in given["invoice_settings"].items()}
        settings["invoice_settings"] = {**current["invoice_settings"], **wanted}
    return settings


def _given_phases(world: World, parameters: Parameters) -> list[StripeObject]:
    """The phases of an update, where a start or an end may be `now`."""
    given = [{**phase} for phase in parameters["phases"]]
    for phase in given:
        for name in ("start_date", "end_date", "trial_end"):
            if phase.get(name) == "now":
                phase[name] = world.now
    if given and "start_date" not in given[0]:
        raise StripeError(
            "The subscription schedule update is missing at least one phase with a `start_date` to anchor end dates "
            "to.",
            param="phases",
        )
    return read_phases(world, given, given[0]["start_date"] if given else world.now)


def _open_schedule(world: World, schedule_id: str, wanted: str) -> StripeObject:
    schedule = find_schedule(world, schedule_id)
    if schedule["status"] not in OPEN:
        raise StripeError(
            f"You cannot change a schedule that is {schedule['status']}: only one that is not_started or active can be "
            f"{wanted}.",
            param="schedule",
        )
    return schedule
