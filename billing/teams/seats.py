"""
Seats: who holds one, and that there are never fewer than are held.

A member who joins takes a seat of the plan. Beyond the seats there are, that is refused; or, where the customer's seats
follow their members, Stripe is told of more (from now on) and of fewer (from the next period on). What is to be told
stands in a row before Stripe is asked, and while fewer are being asked for nobody is given a seat above that. Between
the two nothing is lost: `settle_seats` looks at what is there, and comes to the same whoever calls it how often.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, F, Min, OuterRef, Q, QuerySet, Sum

from billing.catalog.models import Plan
from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.stripe.errors import StripeRefused
from billing.subscriptions.errors import SubscriptionError
from billing.subscriptions.models import Subscription, SubscriptionAddOn
from billing.subscriptions.opening import add_ons_at
from billing.subscriptions.operations import ENDED_STATUSES, change_terms
from billing.teams.changes import Outcome, Wish, Write, carry_out, end_spans, held_at, not_over
from billing.teams.errors import InvalidTeam, SeatsExceeded, TeamNotFound
from billing.teams.models import Member, Membership, SeatAssignment, SeatOrder, TeamChange, TeamPolicy

BATCH = 5_000
# Telling Stripe once can leave one thing to do: members who came meanwhile.
ROUNDS_MAX = 4
ENDED = "the subscription has ended"


@dataclass(slots=True)
class Seating:
    """Which of those who join get a seat at once, and how many wait for one that is to be bought."""

    subscription: Subscription | None = None
    seated: Sequence[str] = field(default_factory=list)
    waiting: int = 0
    # Whose seat was to end and goes on from there.
    kept: Mapping[int, datetime] = field(default_factory=dict)

    def counts(self) -> Mapping[str, int]:
        return {"seated": len(self.seated), "waiting_for_seats": self.waiting}

    def write(self, change: TeamChange, ids: Mapping[str, int], at: datetime) -> None:
        if self.subscription is not None and self.kept:
            theirs = not_over(_of_plan(self.subscription).filter(member__in=list(self.kept)), at)
            later = [one.pk for one in theirs if one.starts_at >= self.kept[one.member_id]]
            end_spans(SeatAssignment.objects.filter(pk__in=later), change, at)
            SeatAssignment.objects.bulk_create(
                [
                    SeatAssignment(member_id=pk, subscription=self.subscription, starts_at=end, begun_by=change)
                    for pk, end in self.kept.items()
                ],
                batch_size=BATCH,
            )
        if self.subscription is not None and self.seated:
            end_spans(_of_plan(self.subscription).filter(member__in=[ids[key] for key in self.seated]), change, at)
            _seat(self.subscription, [ids[key] for key in self.seated], change, at)


def plan_seats(
    customer: Customer, at: datetime, *, joining: Sequence[str], leaving: Sequence[str], staying: Mapping[str, datetime]
) -> Seating:
    """
    Return who of those joining gets a seat of the plan from `at` on, and who of those staying, who were to leave later,
    keeps theirs. Inside the caller's transaction, customer locked.

    Raises SeatsExceeded unless seats follow members. A customer without a live subscription has no seats to give.
    """
    subscription = live_subscription(customer)
    if subscription is None or not (joining or staying):
        return Seating()
    free = seats_allowed(subscription) - _held(subscription, at)
    # Who leaves gives theirs back, and who joins before they were to has one promised.
    theirs = _of_plan(subscription).filter(_held_from(at), member__key__in=[*leaving, *joining])
    free += theirs.values("member_id").distinct().count()
    kept = _ending_seats(subscription, at, staying)
    if len(joining) <= free or not (joining or (kept and free < 0)):
        return Seating(subscription, joining, kept=kept)
    if not follows_members(customer):
        raise SeatsExceeded(
            "members",
            f"{len(joining) + max(-free, 0)} seats are needed and {max(free, 0)} of {subscription.seats} are free."
            " Change the subscription's seats first, release some, let members join without a seat, or let seats follow"
            " members.",
        )
    seated = list(joining[: max(free, 0)])
    # Where the seat of one who stays was promised to another meanwhile, they wait as those who join.
    still = dict(list(kept.items())[: max(len(kept) + min(free, 0), 0)])
    return Seating(subscription, seated, len(joining) - len(seated) + len(kept) - len(still), still)


def _ending_seats(subscription: Subscription, at: datetime, staying: Mapping[str, datetime]) -> dict[int, datetime]:
    """Of those staying, whose seat was to end with their membership."""
    if not staying:
        return {}
    held = not_over(_of_plan(subscription).filter(member__key__in=list(staying)), at)
    rows = held.order_by("member_id").values_list("member__key", "member_id", "ends_at")
    return {pk: ends_at for key, pk, ends_at in rows if ends_at == staying[key]}


def assign_seats(
    *,
    customer_key: str,
    member_keys: Sequence[str],
    add_on_code: str = "",
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
    effective_at: datetime | None = None,
) -> TeamChange:
    """
    Give members a seat of the plan, or of an add-on of the subscription; who holds one keeps it.

    Raises SeatsExceeded beyond the seats there are, TeamNotFound, and as every change.
    """
    wish = Wish(
        customer_key=customer_key,
        operation=TeamChange.Operation.ASSIGN_SEATS,
        asked={"member_keys": sorted(set(member_keys)), "add_on": add_on_code},
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
        effective_at=effective_at,
    )

    def plan(customer: Customer, at: datetime) -> tuple[Outcome, Write]:
        subscription, add_on, ids = _item(customer, add_on_code, member_keys, at)
        held = SeatAssignment.objects.filter(subscription=subscription, add_on=add_on)
        having = set(held.filter(_held_from(at)).values_list("member_id", flat=True))
        new = [pk for pk in ids if pk not in having]
        there_are = seats_allowed(subscription, add_on=add_on)
        if len(having) + len(new) > there_are:
            raise SeatsExceeded(
                "member_keys",
                f"{len(new)} seats are needed and {max(there_are - len(having), 0)} of {there_are} are free. Change the"
                " subscription's seats first, or release some.",
            )
        return {"seated": len(new)}, lambda change: _seat(subscription, new, change, at, add_on=add_on)

    return carry_out(wish, plan)


def release_seats(
    *,
    customer_key: str,
    member_keys: Sequence[str],
    add_on_code: str = "",
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
    effective_at: datetime | None = None,
) -> TeamChange:
    """Let members hold their seat no longer; who holds none is left out. They stay members. Raises as every change."""
    wish = Wish(
        customer_key=customer_key,
        operation=TeamChange.Operation.RELEASE_SEATS,
        asked={"member_keys": sorted(set(member_keys)), "add_on": add_on_code},
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
        effective_at=effective_at,
    )

    def plan(customer: Customer, at: datetime) -> tuple[Outcome, Write]:
        subscription, add_on, ids = _item(customer, add_on_code, member_keys, at)
        held = SeatAssignment.objects.filter(subscription=subscription, add_on=add_on, member__in=ids)
        return {"released": held.filter(_held_from(at)).count()}, lambda change: end_spans(held, change, at)

    return carry_out(wish, plan)


def settle_seats(*, customer_id: int, actor: str, now: datetime) -> int:
    """
    Bring seats to members where they follow them, and give the seats there are to who waits. Not inside a transaction.

    Returns how many seats the subscription has. Safe to repeat at any point. Raises what outbox.perform raises, after
    which a repeat goes on; a refusal is kept with the order and tried again when something changes.
    """
    for _ in range(ROUNDS_MAX):
        order = _next_order(customer_id, actor=actor, now=now)
        if order is None:
            break
        _tell(order, actor=actor, now=now)
    subscription = live_subscription(Customer.objects.get(pk=customer_id))
    return 0 if subscription is None else subscription.seats


def live_subscription(customer: Customer) -> Subscription | None:
    """Return the customer's subscription that has not ended, or None."""
    found = Subscription.objects.filter(customer=customer).exclude(status__in=ENDED_STATUSES)
    return found.select_related("plan_version__plan", "customer").first()


def follows_members(customer: Customer) -> bool:
    """Whether the customer's seats follow their members."""
    return TeamPolicy.objects.filter(customer=customer, seats_follow_members=True).exists()


def seats_allowed(subscription: Subscription, *, add_on: Plan | None = None) -> int:
    """Return how many seats may be held: those there are, or fewer where Stripe is being asked for fewer."""
    if add_on is not None:
        own = SubscriptionAddOn.objects.filter(subscription=subscription, plan_version__plan=add_on, removed_at=None)
        return own.aggregate(sum=Sum("seats"))["sum"] or 0
    orders = SeatOrder.objects.filter(subscription=subscription, state=SeatOrder.State.OPEN, from_next_period=True)
    asked = orders.aggregate(least=Min("seats"))["least"]
    return subscription.seats if asked is None else min(subscription.seats, asked)


def seats_held(subscription_id: int, *, at: datetime, add_on_id: int | None = None) -> int:
    """Return how many seats are held at the instant or promised from then on; nobody may pay for fewer."""
    held = SeatAssignment.objects.filter(subscription_id=subscription_id, add_on_id=add_on_id)
    return held.filter(_held_from(at)).values("member_id").distinct().count()


def _next_order(customer_id: int, *, actor: str, now: datetime) -> SeatOrder | None:
    """The order that is open or that the members of this moment ask for; who waits is seated on the way."""
    with transaction.atomic():
        lock_customer(customer_id=customer_id)
        customer = Customer.objects.get(pk=customer_id)
        subscription = live_subscription(customer)
        _refuse_orders_of_ended(customer, subscription, now=now)
        if subscription is None or not follows_members(customer):
            return None
        latest = SeatOrder.objects.filter(subscription=subscription).first()
        if latest is not None and latest.state == SeatOrder.State.OPEN:
            return latest
        waiting = _seat_waiting(subscription, actor=actor, now=now)
        wanted = max(_held(subscription, now) + waiting, 1)
        because = TeamChange.objects.filter(customer=customer).first()
        if wanted == subscription.seats or because is None or _was_refused(latest, wanted, because):
            return None
        return SeatOrder.objects.create(
            customer=customer,
            subscription=subscription,
            seats=wanted,
            from_next_period=wanted < subscription.seats,
            because=because,
        )


def _was_refused(latest: SeatOrder | None, wanted: int, because: TeamChange) -> bool:
    """Asked for again, it would be refused again: until the team changes."""
    if latest is None or latest.state != SeatOrder.State.REFUSED:
        return False
    return (latest.seats, latest.because_id) == (wanted, because.pk)


def _tell(order: SeatOrder, *, actor: str, now: datetime) -> None:
    """Tell Stripe, and keep how it ended. `change_terms` is done once for the order's key."""
    subscription = order.subscription
    own = [(item.version, item.seats) for item in add_ons_at(subscription, now) if not item.is_bundled]
    state, detail = SeatOrder.State.DONE, ""
    try:
        change_terms(
            subscription_id=subscription.pk,
            plan_version=subscription.plan_version,
            seats=order.seats,
            add_ons=own,
            from_next_period=order.from_next_period,
            actor=actor,
            idempotency_key=f"seat-order:{order.pk}",
            now=now,
        )
    except (SubscriptionError, StripeRefused) as refused:
        state, detail = SeatOrder.State.REFUSED, str(refused)[:500]
    SeatOrder.objects.filter(pk=order.pk, state=SeatOrder.State.OPEN).update(state=state, detail=detail, settled_at=now)


def _refuse_orders_of_ended(customer: Customer, live: Subscription | None, *, now: datetime) -> None:
    left = SeatOrder.objects.filter(customer=customer, state=SeatOrder.State.OPEN).exclude(subscription=live)
    left.update(state=SeatOrder.State.REFUSED, detail=ENDED, settled_at=now)


def _seat_waiting(subscription: Subscription, *, actor: str, now: datetime) -> int:
    """Give free seats to members who joined with one and have none, in the order they came; return how many wait on."""
    # Who had one since they joined and gave it back waits for none.
    had = _of_plan(subscription).filter(member=OuterRef("member")).filter(_held_from(OuterRef("starts_at")))
    members = held_at(Membership, now).filter(member__customer=subscription.customer, takes_seat=True)
    members = members.filter(~Exists(had)).order_by("starts_at", "pk")
    waiting = list(members.values_list("member_id", flat=True))
    free = max(seats_allowed(subscription) - _held(subscription, now), 0)
    seated = waiting[:free]
    if seated:
        keys = Member.objects.filter(pk__in=seated).values_list("key", flat=True)
        last = TeamChange.objects.filter(customer=subscription.customer).values_list("pk", flat=True).first()
        assign_seats(
            customer_key=subscription.customer.customer_key,
            member_keys=list(keys),
            actor=actor,
            reason="They joined, and the seats are there",
            idempotency_key=f"seat-waiting:{last}",
            now=now,
        )
    return len(waiting) - len(seated)


def _seat(
    subscription: Subscription, ids: Sequence[int], change: TeamChange, at: datetime, *, add_on: Plan | None = None
) -> None:
    SeatAssignment.objects.bulk_create(
        [
            SeatAssignment(member_id=pk, subscription=subscription, add_on=add_on, starts_at=at, begun_by=change)
            for pk in ids
        ],
        batch_size=BATCH,
    )


def _item(
    customer: Customer, add_on_code: str, member_keys: Sequence[str], at: datetime
) -> tuple[Subscription, Plan | None, list[int]]:
    """The subscription, its add-on, and the members. Raises TeamNotFound and InvalidTeam."""
    subscription = live_subscription(customer)
    if subscription is None:
        raise TeamNotFound("customer_key", "The customer has no subscription, so there are no seats.")
    add_on = Plan.objects.filter(code=add_on_code, is_add_on=True).first() if add_on_code else None
    if add_on_code and add_on is None:
        raise TeamNotFound("add_on", f"There is no add-on {add_on_code[:64]!r}. Check its code.")
    if not member_keys:
        raise InvalidTeam("member_keys", "Name at least one member.")
    wanted = sorted(set(member_keys))
    members = held_at(Membership, at).filter(member__customer=customer, member__key__in=wanted)
    ids = dict(members.values_list("member__key", "member_id"))
    missing = [key for key in wanted if key not in ids]
    if missing:
        raise TeamNotFound("member_keys", f"Not a member at that instant: {', '.join(missing[:3])}. Leave them out.")
    return subscription, add_on, [ids[key] for key in wanted]


def _of_plan(subscription: Subscription) -> QuerySet[SeatAssignment]:
    return SeatAssignment.objects.filter(subscription=subscription, add_on=None)


def _held_from(at: datetime | OuterRef) -> Q:
    """Held at the instant or promised for later; not what was cancelled before it began."""
    return (Q(ends_at=None) | Q(ends_at__gt=at)) & ~Q(ends_at__lte=F("starts_at"))


def _held(subscription: Subscription, at: datetime) -> int:
    return seats_held(subscription.pk, at=at)
