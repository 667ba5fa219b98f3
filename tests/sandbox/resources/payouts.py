"""Payouts by request, and the account's schedule of automatic ones (`/v1/balance_settings`)."""

from typing import Any

from tests.sandbox.billing.payments import paying_out
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.lists import in_range, matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

CREATABLE = frozenset(
    {"amount", "currency", "description", "destination", "metadata", "method", "source_type", "statement_descriptor"}
)
DELAY_DAYS = 2


@handles("POST /v1/payouts")
def create_payout(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/payouts")
    if parameters.get("method", "standard") != "standard":
        raise not_implemented("instant payouts", param="method")
    if parameters.get("source_type", "card") != "card":
        raise not_implemented("payouts from other balances than that of cards", param="source_type")
    if parameters["amount"] <= 0:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if "destination" in parameters:
        world.store.get("bank_account", parameters["destination"], noun="external account", param="destination")
    fields: dict[str, Any] = {"metadata": merged_metadata({}, parameters)}
    for name in ("description", "statement_descriptor"):
        fields[name] = unset(parameters.get(name))
    return paying_out.pay_out(world, amount=parameters["amount"], currency=parameters["currency"].lower(), **fields)


@handles("GET /v1/payouts")
def list_payouts(world: World, parameters: Parameters) -> StripeObject:
    payouts = matching(world.store.all("payout"), parameters, "destination", "status")
    if "arrival_date" in parameters:
        payouts = [payout for payout in payouts if in_range(payout["arrival_date"], parameters["arrival_date"])]
    return page_of(world.store, payouts, parameters, url="/v1/payouts")


@handles("GET /v1/payouts/{payout}")
def retrieve_payout(world: World, parameters: Parameters, payout_id: str) -> StripeObject:
    return world.store.get("payout", payout_id)


@handles("POST /v1/payouts/{payout}")
def update_payout(world: World, parameters: Parameters, payout_id: str) -> StripeObject:
    payout = world.store.get("payout", payout_id)
    world.update(payout, "payout.updated", metadata=merged_metadata(payout["metadata"], parameters))
    return payout


@handles("POST /v1/payouts/{payout}/cancel")
def cancel_payout(world: World, parameters: Parameters, payout_id: str) -> StripeObject:
    payout = world.store.get("payout", payout_id)
    paying_out.cancel(world, payout)
    return payout


@handles("POST /v1/payouts/{payout}/reverse")
def reverse_payout(world: World, parameters: Parameters, payout_id: str) -> StripeObject:
    return paying_out.reverse(world, world.store.get("payout", payout_id), merged_metadata({}, parameters))


@handles("GET /v1/balance_settings")
def retrieve_balance_settings(world: World, parameters: Parameters) -> StripeObject:
    return _balance_settings(world)


@handles("POST /v1/balance_settings")
def update_balance_settings(world: World, parameters: Parameters) -> StripeObject:
    """The interval of automatic payouts: manual (none), or daily."""
    payments = parameters.get("payments", {})
    refuse_unsupported(payments, frozenset({"payouts"}), "POST /v1/balance_settings (payments)")
    payouts = payments.get("payouts", {})
    refuse_unsupported(payouts, frozenset({"schedule"}), "POST /v1/balance_settings (payments[payouts])")
    schedule = payouts.get("schedule", {})
    refuse_unsupported(schedule, frozenset({"interval"}), "POST /v1/balance_settings (payments[payouts][schedule])")
    interval = schedule.get("interval", world.payout_interval)
    if interval not in ("daily", "manual"):
        raise not_implemented(f"{interval} payouts", param="payments[payouts][schedule][interval]")
    if interval != world.payout_interval:
        former = _balance_settings(world)
        world.payout_interval = interval
        world.emit("balance_settings.updated", _balance_settings(world), previous={"payments": former["payments"]})
        if interval == "daily":
            paying_out.schedule_daily(world)
    return _balance_settings(world)


def _balance_settings(world: World) -> StripeObject:
    payouts = world.skeletons.new(
        "balance_settings_resource_payouts",
        automatic_transfer_rules_by_currency={},
        minimum_balance_by_currency={},
        schedule={"interval": world.payout_interval},
        status="enabled",
    )
    timing = world.skeletons.new("balance_settings_resource_settlement_timing", delay_days=DELAY_DAYS)
    payments = world.skeletons.new(
        "balance_settings_resource_payments", debit_negative_balances=True, payouts=payouts, settlement_timing=timing
    )
    return world.skeletons.new("balance_settings", payments=payments)
