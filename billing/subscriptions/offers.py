"""Who may subscribe to what: the checks before a subscription or an add-on is agreed on."""

from billing.catalog.models import Alignment, Interval, PlanVersion
from billing.customers.models import Customer
from billing.subscriptions.errors import PlanNotOffered


def require_offered(version: PlanVersion, *, customer: Customer, seats: int) -> None:
    """
    Raise PlanNotOffered unless this customer may subscribe to so many seats of the version; ValueError without seats.
    """
    if seats < 1:
        raise ValueError("a subscription needs at least one seat")
    require_sold(version, customer=customer)
    if outside := seats_outside(version, seats):
        raise PlanNotOffered(outside)


def require_sold(version: PlanVersion, *, customer: Customer) -> None:
    """Raise PlanNotOffered unless the version is sold to this customer, with whatever seats."""
    if version.status != PlanVersion.Status.PUBLISHED:
        raise PlanNotOffered(f"{version} is {version.status}; choose a published version")
    if version.currency != customer.currency:
        raise PlanNotOffered(
            f"{version} is in {version.currency}, {customer} pays in {customer.currency}; choose a version in that"
        )
    if version.only_for_id is not None and version.only_for_id != customer.pk:
        raise PlanNotOffered(f"{version} is the contract of another customer; choose a version that is for everybody")


def require_plan(version: PlanVersion) -> None:
    """Raise PlanNotOffered for a version of an add-on, and for a cadence that Stripe cannot keep."""
    if version.plan.is_add_on:
        raise PlanNotOffered(f"{version} is an add-on; subscribe to a plan, and add it to that")
    is_ahead_of_utc = version.alignment == Alignment.CALENDAR and version.time_zone not in ("UTC", "Etc/UTC")
    if is_ahead_of_utc and version.interval == Interval.MONTH and version.interval_count > 1:
        # Such a quarter begins on the 30th or 31st in UTC, and Stripe's anchor keeps only the one it was given.
        raise PlanNotOffered(
            f"{version} bills every {version.interval_count} months by the calendar of {version.time_zone}, which"
            " Stripe cannot keep; let its time_zone be UTC, or its interval a month or a year"
        )


def require_add_on(add_on: PlanVersion, *, plan: PlanVersion) -> None:
    """Raise PlanNotOffered unless the add-on goes with the plan: billed at the same instants, and not in its fee."""
    if not add_on.plan.is_add_on:
        raise PlanNotOffered(f"{add_on} is a plan and no add-on; change the subscription's plan instead")
    if (add_on.interval, add_on.interval_count) != (plan.interval, plan.interval_count):
        raise PlanNotOffered(
            f"{add_on} is billed every {add_on.interval_count} {add_on.interval}, and {plan} every"
            f" {plan.interval_count} {plan.interval}; choose a version of the add-on that is billed with the plan"
        )
    if plan.bundled.filter(plan_id=add_on.plan_id).exists():
        raise PlanNotOffered(f"{plan} includes {add_on.plan.name} already; there is nothing to add")


def seats_outside(version: PlanVersion, seats: int) -> str:
    """Why the version cannot be had with so many seats; nothing where it can."""
    if seats >= version.min_seats and (version.max_seats is None or seats <= version.max_seats):
        return ""
    up_to = f" to {version.max_seats}" if version.max_seats is not None else " or more"
    return f"{version} is for {version.min_seats}{up_to} seats, not for {seats}"


def seats_text(version: PlanVersion) -> str:
    """How many seats the version is for, in words."""
    if version.max_seats is None:
        return "any" if version.min_seats == 1 else f"{version.min_seats} or more"
    return f"{version.min_seats} to {version.max_seats}"
