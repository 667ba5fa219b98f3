"""Previews of invoices: what is asked for is done in a scratch world, and the draft that comes of it is shown."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.sandbox.billing.invoices.invoicing import pending_items
from tests.sandbox.billing.invoices.lines import LINES_SHOWN
from tests.sandbox.billing.subscriptions.changing import change_from_parameters
from tests.sandbox.billing.subscriptions.ended import ENDED
from tests.sandbox.billing.subscriptions.ending import cancel_subscription
from tests.sandbox.billing.subscriptions.pausing import resume
from tests.sandbox.billing.subscriptions.previewing import (
    Sought,
    forget_pending_items,
    next_draft,
    no_upcoming_invoice,
    upcoming,
)
from tests.sandbox.billing.subscriptions.starting import start_from_parameters
from tests.sandbox.billing.subscriptions.unscheduling import refuse_end_of_scheduled
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.resources.customers import create_customer, update_customer
from tests.sandbox.resources.invoice_items import create_invoice_item, update_invoice_item
from tests.sandbox.resources.invoices import create_invoice, update_invoice
from tests.sandbox.resources.subscription_schedules import create_schedule, find_schedule, update_schedule
from tests.sandbox.resources.tax_ids import create_customer_tax_id
from tests.sandbox.scratch import scratch_of
from tests.sandbox.world import World

OPERATION = "POST /v1/invoices/create_preview"
ABOUT_SUBSCRIPTIONS = frozenset({"subscription", "subscription_details"})
ABOUT_SCHEDULES = frozenset({"schedule", "schedule_details"})
SUPPORTED = (
    ABOUT_SUBSCRIPTIONS
    | ABOUT_SCHEDULES
    | {"automatic_tax", "currency", "customer", "customer_details", "discounts", "invoice_items", "issuer"}
    | {"on_behalf_of", "preview_mode"}
)
# Of subscription_details, those that mean the same as the parameter of that name of a subscription.
SAME_WHEN_STARTING = ("billing_cycle_anchor", "billing_mode", "cancel_at", "cancel_at_period_end", "default_tax_rates")
SAME_WHEN_CHANGING = ("billing_cycle_anchor", "cancel_at", "cancel_at_period_end", "default_tax_rates", "items")
RECURRING = frozenset({"subscription_cycle"})


@handles(OPERATION)
def create_preview(world: World, parameters: Parameters) -> StripeObject:
    """The next invoice after what the parameters say. Nothing of it happens in `world`."""
    refuse_unsupported(parameters, SUPPORTED, OPERATION)
    _refuse_contradictions(parameters)
    with scratch_of(world, _customer_id(world, parameters)) as scratch:
        preview = _previewed(scratch, parameters)
    return _with_first_lines(world, preview)


def _with_first_lines(world: World, preview: StripeObject) -> StripeObject:
    """A preview carries its first lines, as an invoice does; all are on the pages of its own list."""
    lines = preview["lines"]["data"]
    if len(lines) > LINES_SHOWN:
        world.previewed_lines[preview["id"]] = lines
        preview["lines"] |= {"data": lines[:LINES_SHOWN], "has_more": True}
    return preview


def _previewed(scratch: World, parameters: Parameters) -> StripeObject:
    customer = _customer(scratch, parameters)
    recurring = parameters.get("preview_mode") == "recurring"
    sought = Sought(customer, reasons=RECURRING if recurring else None)
    if ABOUT_SCHEDULES & parameters.keys():
        sought = replace(sought, schedule=_schedule(scratch, parameters, customer))
    else:
        sought = replace(sought, subscription=_subscription(scratch, parameters, customer, recurring=recurring))
    _add_items(scratch, parameters, customer, sought.subscription)
    if recurring:
        forget_pending_items(scratch, customer)
    if sought.schedule is None and sought.subscription is None and not _has_subscriptions(scratch, customer):
        draft = _manual_invoice(scratch, customer)
    else:
        draft = next_draft(scratch, sought)
    if str(parameters.get("currency") or draft["currency"]).lower() != draft["currency"]:
        raise StripeError(f"The next invoice is in {draft['currency']}.", param="currency")
    if "discounts" in parameters:
        draft = _discounted(scratch, draft, parameters)
    return upcoming(scratch, draft)


def _refuse_contradictions(parameters: Parameters) -> None:
    if ABOUT_SUBSCRIPTIONS & parameters.keys() and ABOUT_SCHEDULES & parameters.keys():
        raise StripeError(
            "You cannot preview a subscription and a schedule at the same time.",
            code="parameters_exclusive",
            param="schedule",
        )
    if parameters.get("automatic_tax", {}).get("enabled"):
        raise not_implemented("automatic tax", param="automatic_tax")
    if parameters.get("issuer", {}).get("type", "self") != "self" or parameters.get("on_behalf_of"):
        raise not_implemented("invoices of connected accounts", param="issuer")


def _customer_id(world: World, parameters: Parameters) -> str | None:
    """Who the preview is for; None for somebody who is no customer yet. Raises `StripeError` for nobody."""
    for kind, name in (("subscription", "subscription"), ("subscription_schedule", "schedule")):
        if name in parameters:
            owner = world.store.get(kind, parameters[name], noun=name, param=name)["customer"]
            if parameters.get("customer", owner) != owner:
                raise StripeError(f"The {name} belongs to another customer.", param="customer")
            return str(owner)
    if "customer" in parameters:
        return str(world.store.get("customer", parameters["customer"], param="customer")["id"])
    if "customer_details" in parameters:
        return None
    raise StripeError(
        "You must provide one of `customer`, `customer_details`, `subscription` or `schedule`.",
        code="parameter_missing",
        param="customer",
    )


def _customer(scratch: World, parameters: Parameters) -> str:
    """The customer in the scratch world, with the details of the request."""
    details: dict[str, Any] = dict(parameters.get("customer_details", {}))
    tax_ids = details.pop("tax_ids", [])
    customer = _customer_id(scratch, parameters)
    if customer is None:
        customer = str(create_customer(scratch, details)["id"])
    elif details:
        update_customer(scratch, details, customer)
    for tax_id in tax_ids:
        create_customer_tax_id(scratch, tax_id, customer)
    return customer


def _subscription(scratch: World, parameters: Parameters, customer: str, *, recurring: bool) -> str | None:
    """Do what the request says about a subscription; the answer is its id, if it is about one."""
    details: dict[str, Any] = dict(parameters.get("subscription_details", {}))
    if "billing_schedules" in details:
        raise not_implemented("billing schedules", param="subscription_details[billing_schedules]")
    if recurring:
        details |= {"proration_behavior": "none"}
    if "subscription" in parameters:
        subscription = scratch.store.get("subscription", parameters["subscription"], param="subscription")
        if subscription["status"] in ENDED:
            raise no_upcoming_invoice(customer)
        _change(scratch, subscription, details)
        return str(subscription["id"])
    return _start(scratch, customer, details, parameters) if "items" in details else None


def _start(scratch: World, customer: str, details: dict[str, Any], parameters: Parameters) -> str:
    for name in ("cancel_now", "proration_date", "resume_at"):
        if details.get(name):
            raise StripeError(
                f"You cannot use `subscription_details[{name}]` without a subscription.",
                param=f"subscription_details[{name}]",
            )
    wanted = {name: details[name] for name in SAME_WHEN_STARTING if name in details}
    wanted |= {"customer": customer, "items": details["items"], "payment_behavior": "default_incomplete"}
    for name in ("proration_behavior", "trial_end"):
        if name in details:
            wanted[name] = details[name]
    if "start_date" in details:
        wanted["backdate_start_date"] = details["start_date"]
    if wanted.get("billing_cycle_anchor") in ("now", "unchanged"):
        del wanted["billing_cycle_anchor"]  # a new subscription's anchor is now, unless a moment is given
    if "currency" in parameters:
        wanted["currency"] = parameters["currency"]
    return str(start_from_parameters(scratch, wanted)["id"])


def _change(scratch: World, subscription: StripeObject, details: dict[str, Any]) -> None:
    for name in ("billing_mode", "start_date"):
        if name in details:
            raise not_implemented(
                f"previews of another {name} of an existing subscription", param=f"subscription_details[{name}]"
            )
    if details.get("cancel_now"):
        _refuse_beside(details, "cancel_now", frozenset({"proration_behavior"}))
        prorate = details.get("proration_behavior", "create_prorations") != "none"
        cancel_subscription(scratch, subscription, prorate=prorate, invoice_now=True)
        return
    if details.get("resume_at"):
        names = frozenset({"billing_cycle_anchor", "proration_behavior", "proration_date"})
        _refuse_beside(details, "resume_at", names)
        wanted = {name: details[name] for name in names if name in details}
        resume(scratch, subscription, wanted)
        return
    wanted = {name: details[name] for name in SAME_WHEN_CHANGING if name in details}
    refuse_end_of_scheduled(subscription, wanted)
    for name in ("proration_behavior", "proration_date", "trial_end"):
        if name in details:
            wanted[name] = details[name]
    if wanted:
        change_from_parameters(scratch, subscription, wanted | {"payment_behavior": "allow_incomplete"})


def _refuse_beside(details: dict[str, Any], name: str, allowed: frozenset[str]) -> None:
    """Raises `StripeError` for what cannot happen together with the end or the resumption of a subscription."""
    others = sorted(set(details) - allowed - {name})
    if others:
        raise StripeError(
            f"You cannot use `subscription_details[{others[0]}]` together with `subscription_details[{name}]`.",
            code="parameters_exclusive",
            param=f"subscription_details[{others[0]}]",
        )


def _schedule(scratch: World, parameters: Parameters, customer: str) -> str:
    """Make or change the schedule that the request is about; the answer is its id."""
    details: dict[str, Any] = dict(parameters.get("schedule_details", {}))
    if "schedule" in parameters:
        schedule = find_schedule(scratch, parameters["schedule"], param="schedule")
        if details:
            update_schedule(scratch, details, schedule["id"])
    else:
        details.pop("proration_behavior", None)  # of a change to the current phase, and there is none yet
        details["phases"] = _with_moments(scratch, details.get("phases", ()))
        start = details["phases"][0].get("start_date", "now") if details["phases"] else "now"
        schedule = create_schedule(scratch, {**details, "customer": customer, "start_date": start})
    return str(schedule["id"])


def _with_moments(scratch: World, phases: Sequence[Parameters]) -> list[Parameters]:
    """The phases of a preview with moments in place of `now`, which phases of a new schedule do not know."""
    moments = ("start_date", "end_date", "trial_end")
    return [
        {name: scratch.now if name in moments and value == "now" else value for name, value in phase.items()}
        for phase in phases
    ]


def _add_items(scratch: World, parameters: Parameters, customer: str, subscription: str | None) -> None:
    """Items of the request join those that wait, or change them."""
    for given in parameters.get("invoice_items", ()):
        item = dict(given)
        if "price" in item:
            item["pricing"] = {"price": item.pop("price")}
        if "unit_amount" in item:
            item["unit_amount_decimal"] = str(item.pop("unit_amount"))
        if "invoiceitem" in item:
            found = scratch.store.get("invoiceitem", item.pop("invoiceitem"), param="invoice_items[invoiceitem]")
            update_invoice_item(scratch, item, found["id"])
            continue
        item["customer"] = customer
        if "currency" in parameters:
            item.setdefault("currency", parameters["currency"])
        if subscription is not None:
            item["subscription"] = subscription
        create_invoice_item(scratch, item)


def _has_subscriptions(scratch: World, customer: str) -> bool:
    return any(item["status"] not in ENDED for item in scratch.store.where("subscription", "customer", customer))


def _manual_invoice(scratch: World, customer: str) -> StripeObject:
    """Without a subscription, what waits makes the next invoice."""
    if not pending_items(scratch, customer):
        raise no_upcoming_invoice(customer)
    return create_invoice(scratch, {"customer": customer, "pending_invoice_items_behavior": "include"})


def _discounted(scratch: World, draft: StripeObject, parameters: Parameters) -> StripeObject:
    """The draft with the discounts of the request in place of those it came with."""
    invoice = scratch.store.get("invoice", draft["id"])
    invoice.update(draft)  # it may be paid by now; discounts are for drafts
    return update_invoice(scratch, {"discounts": parameters["discounts"]}, invoice["id"])
