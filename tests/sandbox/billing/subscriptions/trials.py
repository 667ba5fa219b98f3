"""Trials: when one ends, the warning three days before, and what becomes of the subscription then."""

from typing import Any

from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.billing.subscriptions.ended import end_subscription
from tests.sandbox.billing.subscriptions.subscription_invoices import has_means
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

WARNED_BEFORE_SECONDS = 3 * DAY_SECONDS
TRIAL_DAYS_MAX = 730  # two years, by the description of `trial_end` in Stripe's document


def wanted_trial_end(world: World, parameters: Parameters, prices: list[StripeObject]) -> int | None:
    """When the trial that a request asks for ends; None for none, and for one that ends "now".

    `trial_end` overrides the days, the days of the request those of its prices' plans. Raises `StripeError`.
    """
    named = [name for name in ("trial_end", "trial_period_days") if name in parameters]
    if len(named) == 2:
        raise StripeError("You may only specify one of these parameters: trial_end, trial_period_days.", param=named[1])
    if parameters.get("trial_from_plan") and named:
        raise StripeError(f"You cannot set `{named[0]}` together with `trial_from_plan`.", param="trial_from_plan")
    if "trial_end" in parameters:
        return _checked_end(world, parameters["trial_end"])
    days = parameters.get("trial_period_days", 0)
    if parameters.get("trial_from_plan"):
        days = max((world.trial_period_days.get(price["id"], 0) for price in prices), default=0)
    if not 0 <= days <= TRIAL_DAYS_MAX:
        raise StripeError(f"trial_period_days must be between 0 and {TRIAL_DAYS_MAX}.", param="trial_period_days")
    return world.now + days * DAY_SECONDS if days else None


def warn_when_due(world: World, subscription: StripeObject) -> None:
    """`customer.subscription.trial_will_end` three days before, at once for a trial that is shorter."""
    trial_end = subscription["trial_end"]

    def due() -> None:
        if subscription["status"] == "trialing" and subscription["trial_end"] == trial_end:
            world.emit("customer.subscription.trial_will_end", subscription)

    moment = trial_end - WARNED_BEFORE_SECONDS
    if moment <= world.now:
        due()
    else:
        world.clock.at(moment, due, f"warning of the trial's end of {subscription['id']}")


def ends_without_means(world: World, subscription: StripeObject) -> str | None:
    """What `trial_settings` want of a trial's end without a way to pay: "pause" or "cancel". None: bill as usual."""
    behavior = str(subscription["trial_settings"]["end_behavior"]["missing_payment_method"])
    return None if behavior == "create_invoice" or has_means(world, subscription) else behavior


def end_without_means(world: World, subscription: StripeObject, outcome: str, fields: dict[str, Any]) -> None:
    """Nobody can pay: "pause", and nothing is billed until it is resumed, or "cancel". `fields` change with it."""
    if outcome == "pause":
        fields = {**fields, "status": "paused"}
    world.update(subscription, "customer.subscription.updated", **fields)
    if outcome == "pause":
        world.emit("customer.subscription.paused", subscription)
    else:
        end_subscription(world, subscription, reason="cancellation_requested")


def _checked_end(world: World, wanted: int | str) -> int | None:
    if isinstance(wanted, str):
        return None
    if wanted <= world.now:
        raise StripeError("Invalid timestamp: must be an integer Unix timestamp in the future.", param="trial_end")
    if wanted > world.now + TRIAL_DAYS_MAX * DAY_SECONDS:
        raise StripeError("trial_end must be less than two years in the future.", param="trial_end")
    return wanted
