"""
What becomes of each customer and subscription of an account, and everything that cannot be brought in, by name and with
its remedy. Reads our catalogue and customers, writes nothing and calls nobody.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.customers.operations import InvalidCustomer, NewCustomer, require_valid
from billing.payments.operations import instant
from billing.stripe.readers import id_of
from billing.subscriptions import periods
from billing.subscriptions.models import BillingPeriod
from billing.takeover.document import Map
from billing.takeover.finding import CANCELED, CUSTOMER, SUBSCRIPTION, Found

StripeDict = dict[str, Any]
# One that was cancelled since the cut is brought in as it ran, and ends here as it did at Stripe.
FOLLOWED = ("active", "trialing", "past_due", "unpaid", CANCELED)
# Stripe counts a period in whole seconds of UTC; ours may lie so far apart and still be the same (open_next_period).
NEAR = timedelta(hours=1)
DELETED = "it was deleted at Stripe"
LEAVE_OUT = "or leave the customer out by the map's leave_out"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that cannot be brought in as it is. `remedy` says what to do about it."""

    stripe_id: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.stripe_id}: {self.what}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class WantedCustomer:
    """A customer to be, with Stripe's id."""

    stripe_id: str
    new: NewCustomer


@dataclass(frozen=True, slots=True)
class WantedSubscription:
    """A subscription to be: its plan, its add-ons and the period in which the cut lies, or with which it begins."""

    stripe_id: str
    stripe_customer_id: str
    plan: PlanVersion
    seats: int
    add_ons: Sequence[tuple[PlanVersion, int]]
    starts_at: datetime
    ends_at: datetime
    kind: str


@dataclass(slots=True)
class Decided:
    """The whole of it. `prices` are Stripe's prices that versions of ours take on, by the version's key."""

    customers: list[WantedCustomer] = field(default_factory=list)
    subscriptions: list[WantedSubscription] = field(default_factory=list)
    prices: dict[int, StripeDict] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class _Refused(Exception):
    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


def decide(found: Found, *, by: Map, as_of: datetime) -> Decided:
    """Decide about every customer and subscription that was found; what is not decided is a problem."""
    decided = Decided()
    known = {one["id"] for one in found.shelf.each(CUSTOMER)}
    for stripe_id, reason in by.leave_out.items():
        if stripe_id in known:
            decided.left_out[stripe_id] = reason
        else:
            decided.problems.append(Problem(stripe_id, "the map leaves it out, and Stripe has no such customer",
                                            "take it out of leave_out"))  # fmt: skip
    decided.left_out |= dict.fromkeys(found.deleted_customers(as_of), DELETED) | decided.left_out
    seats = _seats(found)
    keys: dict[str, str] = {}
    for theirs in found.shelf.each(CUSTOMER):
        if theirs["id"] not in decided.left_out:
            currencies, is_team = found.shelf.currencies_of(theirs["id"]), seats.get(theirs["id"], 1) > 1
            _decide_customer(theirs, currencies, is_team=is_team, keys=keys, by=by, decided=decided)
    _decide_subscriptions(found, by=by, as_of=as_of, decided=decided)
    return decided


def _seats(found: Found) -> Mapping[str, int]:
    """The most seats that each customer has of anything."""
    most: dict[str, int] = {}
    for one in found.shelf.each(SUBSCRIPTION):
        customer = id_of(one["customer"])
        seats = [item.get("quantity") or 1 for item in one["items"]["data"]]
        most[customer] = max([most.get(customer, 1), *seats])
    return most


def _decide_customer(
    theirs: StripeDict, currencies: set[str], *, is_team: bool, keys: dict[str, str], by: Map, decided: Decided
) -> None:
    try:
        wanted = _customer(theirs, currencies, is_team=is_team, by=by)
        key = wanted.new.customer_key
        if keys.setdefault(key, theirs["id"]) != theirs["id"]:
            raise _Refused(f"it has the customer key {key} of {keys[key]}", "give one of the two another key at Stripe")
    except _Refused as refused:
        decided.problems.append(Problem(theirs["id"], refused.what, f"{refused.remedy}, {LEAVE_OUT}"))
    else:
        decided.customers.append(wanted)


def _customer(theirs: StripeDict, currencies: set[str], *, is_team: bool, by: Map) -> WantedCustomer:
    if len(currencies) > 1:
        raise _Refused(
            f"it is billed in {' and '.join(sorted(currencies))}", "a customer here has one currency: split it"
        )
    currency = next(iter(currencies), by.currency)
    if not currency:
        raise _Refused("it was never billed, so its currency is not known", "name the map's currency")
    key = str((theirs.get("metadata") or {}).get(by.customer_key) or theirs["id"])
    new = NewCustomer(
        customer_key=key,
        name=str(theirs.get("name") or theirs.get("email") or theirs["id"])[:200],
        email=str(theirs.get("email") or ""),
        kind=Customer.Kind.TEAM if is_team else Customer.Kind.INDIVIDUAL,
        currency=currency,
        created_at=instant(theirs["created"]),
    )
    try:
        require_valid(new)
    except InvalidCustomer as invalid:
        raise _Refused(
            f"its {invalid.field} is {getattr(new, invalid.field)!r}: {invalid}", "mend it at Stripe"
        ) from None
    here = Customer.objects.filter(customer_key=key).first()
    if here is not None and here.stripe_customer_id not in (None, theirs["id"]):
        raise _Refused(f"the customer {key} here is {here.stripe_customer_id}", "give it another key at Stripe")
    if here is not None and here.currency != currency:
        raise _Refused(
            f"the customer {key} here pays in {here.currency}, not {currency}", "give it another key at Stripe"
        )
    return WantedCustomer(theirs["id"], new)


def _decide_subscriptions(found: Found, *, by: Map, as_of: datetime, decided: Decided) -> None:
    versions = _Versions(by, decided.prices)
    of_customer: dict[str, tuple[str, int | None]] = {}
    for theirs in found.shelf.each(SUBSCRIPTION):
        customer = id_of(theirs["customer"])
        if customer in decided.left_out:
            continue
        try:
            before, of_customer[customer] = of_customer.get(customer), (theirs["id"], theirs["ended_at"])
            if before is not None and (before[1] is None or before[1] > theirs["start_date"]):
                raise _Refused(
                    f"{customer} has the subscription {before[0]} too",
                    "usage is a customer's: end one of them at Stripe",
                )
            decided.subscriptions.append(_subscription(theirs, versions=versions, as_of=as_of))
        except _Refused as refused:
            decided.problems.append(Problem(theirs["id"], refused.what, f"{refused.remedy}, {LEAVE_OUT}"))


def _subscription(theirs: StripeDict, *, versions: "_Versions", as_of: datetime) -> WantedSubscription:
    if theirs["status"] not in FOLLOWED:
        raise _Refused(f"it is {theirs['status']}", "wait until it is paid or ended, end it at Stripe")
    if theirs.get("schedule"):
        raise _Refused(f"the schedule {id_of(theirs['schedule'])} changes it", "release that at Stripe")
    behaviour = (theirs.get("pause_collection") or {}).get("behavior", "void")
    if behaviour != "void":
        raise _Refused(f"its collection is paused by {behaviour}", "let the pause make its invoices void at Stripe")
    items = theirs["items"]["data"]
    if theirs["items"].get("has_more"):
        raise _Refused("it has more items than Stripe lists with it", "take items away at Stripe")
    priced = [(versions.of(item["price"]), int(item.get("quantity") or 1)) for item in items]
    plans = [one for one in priced if not one[0].plan.is_add_on]
    if len(plans) != 1:
        raise _Refused(f"{len(plans)} of its items are plans", "leave it one plan, with add-ons beside it")
    ((plan, seats),) = plans
    starts_at, ends_at, kind = _period(theirs, plan, as_of=as_of)
    add_ons = [one for one in priced if one[0].plan.is_add_on]
    customer = id_of(theirs["customer"])
    return WantedSubscription(theirs["id"], customer, plan, seats, add_ons, starts_at, ends_at, kind)


def _period(theirs: StripeDict, plan: PlanVersion, *, as_of: datetime) -> tuple[datetime, datetime, str]:
    """
    From when to when our first period is: from the cut, or where the subscription began later, to where Stripe's ends.

    Usage before the cut was billed elsewhere, so no period of ours has it. A renewal after the cut that Stripe has made
    already comes by its own event, as any other.
    """
    item = theirs["items"]["data"][0]
    start, end = instant(item["current_period_start"]), instant(item["current_period_end"])
    begun = max(as_of + timedelta(seconds=1), instant(theirs["start_date"]))
    kind = BillingPeriod.Kind.PAUSED if theirs.get("pause_collection") else BillingPeriod.Kind.REGULAR
    trial_end = theirs.get("trial_end")
    if trial_end is not None and instant(trial_end) > begun:
        return begun, instant(trial_end), BillingPeriod.Kind.TRIAL
    cadence = periods.cadence_of(
        interval=plan.interval,
        interval_count=plan.interval_count,
        alignment=plan.alignment,
        time_zone=plan.time_zone,
        anchor_at=instant(theirs["billing_cycle_anchor"]),
    )
    if abs(cadence.nearest(end) - end) > NEAR:
        raise _Refused(
            f"its period ends {end:%F %T}, and by {plan} it would end {cadence.nearest(end):%F %T}",
            "choose a version with its cadence",
        )
    if begun < start:
        end = cadence.after(begun)
    elif cadence.zone is not None:
        end = cadence.nearest(end)
    return begun, end, kind


class _Versions:
    """Which version of ours a price at Stripe is: by what was synced, else by the map."""

    def __init__(self, by: Map, adopted: dict[int, StripeDict]) -> None:
        rows = PlanVersion.objects.exclude(published_at=None).select_related("plan")
        self._rows = list(rows)
        self._by_price = {row.stripe_price_id: row for row in rows if row.stripe_price_id}
        self._map, self._adopted = by, adopted

    def of(self, price: StripeDict) -> PlanVersion:
        recurring = price.get("recurring") or {}
        if recurring.get("usage_type") == "metered":
            raise _Refused(f"its price {price['id']} is metered by Stripe", "take the item away: usage is rated here")
        version = self._by_price.get(price["id"]) or self._mapped(price)
        fee: tuple[Any, ...] = (version.fee_minor, version.currency, version.interval, version.interval_count)
        theirs: tuple[Any, ...] = (price.get("unit_amount"), price["currency"].upper(), recurring.get("interval"),
                  recurring.get("interval_count"))  # fmt: skip
        if version.fee_tiers:
            fee, theirs = fee[1:], theirs[1:]
        if fee != theirs:
            raise _Refused(
                f"its price {price['id']} is {_words(theirs)}, and {version} is {_words(fee)}",
                "map the price to a version with these terms",
            )
        return version

    def _mapped(self, price: StripeDict) -> PlanVersion:
        named = self._map.prices.get(price["id"])
        if named is None:
            raise _Refused(
                f"its price {price['id']} is no version of ours", f"name it in the map: prices.{price['id']}"
            )
        found = (row for row in self._rows if row.plan.code == named.plan and row.version == named.version
                 and row.currency == price["currency"].upper())  # fmt: skip
        version = next(found, None)
        if version is None:
            raise _Refused(
                f"the map says that {price['id']} is {named.plan} version {named.version} in"
                f" {price['currency'].upper()}, which was never published", "publish it",
            )  # fmt: skip
        taken = version.stripe_price_id or self._adopted.setdefault(version.pk, price)["id"]
        if taken != price["id"]:
            raise _Refused(
                f"{version} is {taken} at Stripe already, and can be no second price",
                "publish another version with these terms and map the price to that",
            )
        return version


def _words(terms: Sequence[Any]) -> str:
    return " ".join(str(part) for part in terms)


def of_plan(decided: Decided) -> Iterator[str]:
    """What is decided, in lines for a person."""
    for price in decided.prices.values():
        yield f"price {price['id']}: taken on by the version that the map names"
    for stripe_id, reason in decided.left_out.items():
        yield f"customer {stripe_id}: left out ({reason})"
