"""What lies between Stripe and us: which events arrive, when, how often, in which order, and where workers die."""

import random
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from billing.customers.models import Customer
from billing.invoicing.models import InvoiceClose
from billing.stripe import gateway, mirror, poll
from billing.stripe.projection import ENABLED_EVENTS
from tests.billing.thread import Crasher, post_event

if TYPE_CHECKING:
    from tests.billing.convergence.life import Life

Event = dict[str, Any]
LOST, DELAYED, COPIED, POLLED, MIRRORED = 15, 35, 30, 15, 10  # percent
ROUNDS_MAX = 40
# What Stripe's list forgot nobody finds by polling: that is for the alarm and for reconciliation.
STRIPE_KEEPS_SECONDS = 29 * 86_400
# So often the poll runs at least: the life's longest step is 19 days, and nothing lost may be forgotten meanwhile.
POLLED_AFTER_SECONDS = 9 * 86_400


@dataclass
class Told:
    """What the network did, to be added up."""

    events: int = 0
    deliveries: int = 0
    duplicates: int = 0
    lost: int = 0
    delayed: int = 0
    crashes: int = 0
    orders: int = 0

    def add(self, other: "Told") -> None:
        """One more order."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
        self.orders += 1


@dataclass
class Network:
    """Delivers everything at once and in order: what Stripe does on a good day. Others are worse."""

    seen: set[str] = field(default_factory=set)
    told: Told = field(default_factory=Told)
    read_until: int = 0

    def turn(self, life: "Life") -> None:
        """After each step of the life."""
        for event in self.new(life):
            self.deliver(event)
        self.work(life)

    def bring(self, life: "Life", *, about: tuple[str, ...]) -> None:
        """What the next step needs has to arrive: here everything did."""

    def close(self, life: "Life", *, customers: tuple[str, ...]) -> None:
        """The invoices of periods that end now are closed before Stripe finalises them by itself."""
        drafts = [one for one in life.all("invoice") if one["status"] == "draft" and one["parent"]]
        # A change at the dashboard that is not known here would hold the close for a person.
        changed = [one["parent"]["subscription_details"]["subscription"] for one in drafts]
        self.bring(life, about=tuple(changed))
        self.bring(life, about=tuple(one["id"] for one in drafts))
        life.aggregate()
        for _ in range(ROUNDS_MAX):
            if not life.orders() + life._project() + life._close():
                break
        owners = dict(Customer.objects.values_list("stripe_customer_id", "customer_key"))
        left = [one for one in life.all("invoice") if one["status"] == "draft" and one["parent"]]
        late = [owners[one["customer"]] for one in left if owners.get(one["customer"]) in customers]
        held = InvoiceClose.objects.exclude(held_reason="").values_list("held_reason", flat=True)
        assert not late, f"not closed in time: {late}, {list(held)}, {life.unfinished()}"

    def end(self, life: "Life") -> None:
        """Whatever was lost is found, and whatever was delayed arrives."""
        self.finish(life)

    def finish(self, life: "Life") -> None:
        for _ in range(ROUNDS_MAX):
            life.now += timedelta(minutes=20)  # beyond the longest wait of what failed
            missed = poll.fetch_missed_events(now=life.now)
            poll.fetch_missed_balance_transactions(now=life.now)
            moved = self.work(life)
            if not missed and not moved:
                return
        raise AssertionError("the world does not come to rest")

    def new(self, life: "Life") -> list[Event]:
        """Events that the network has not seen yet, oldest first."""
        since = {"gte": self.read_until}
        fresh = [
            one
            for one in list(gateway.listed_events(ENABLED_EVENTS, created=since))[::-1]
            if one["id"] not in self.seen
        ]
        self.read_until = max([self.read_until, *(int(one["created"]) for one in fresh)])
        self.seen.update(one["id"] for one in fresh)
        self.told.events += len(fresh)
        return fresh

    def deliver(self, event: Event) -> None:
        assert post_event(event).status_code == 200
        self.told.deliveries += 1

    def work(self, life: "Life") -> int:
        """Workers do what they find, until they find nothing; our clock moves so that what failed is due again."""
        moved = 0
        for _ in range(ROUNDS_MAX):
            life.aggregate()
            life.pass_ours()
            done = life.orders() + life._project() + life._close()
            moved += done
            if not done:
                return moved
        raise AssertionError("the workers do not come to rest")


@dataclass
class Chaos(Network):
    """Loses, delays, repeats and shuffles events, refreshes the mirror at odd times, and lets workers die."""

    chance: random.Random = field(default_factory=random.Random)
    crashes_max: int = 6
    delayed: list[Event] = field(default_factory=list)
    lost: list[Event] = field(default_factory=list)
    arriving: list[Event] = field(default_factory=list)
    polled_at: int = 0

    def turn(self, life: "Life") -> None:
        if life.crasher is None:
            life.crasher = Crasher(self.chance, statements_max=300, crashes_max=self.crashes_max)
        now, self.delayed = self.delayed, []
        life.sandbox_now = life.sandbox.now()
        for event in self.new(life) + now:
            fate = self.chance.randrange(100)
            if fate < LOST and int(event["created"]) > life.sandbox_now - STRIPE_KEEPS_SECONDS:
                self.lost.append(event)
            elif fate < LOST + DELAYED:
                self.delayed.append(event)
            else:
                self.arrive([event])
        self.shuffle_out(life)
        self.polled_at = self.polled_at or life.sandbox_now
        is_by_chance = self.chance.randrange(100) < POLLED
        if is_by_chance or life.sandbox_now - self.polled_at > POLLED_AFTER_SECONDS:
            self.polled_at = life.sandbox_now
            poll.fetch_missed_events(now=life.now)
            self.work(life)
        if self.chance.randrange(100) < MIRRORED:
            mirror.refresh(now=life.now, limit=3)

    def arrive(self, events: list[Event]) -> None:
        for event in events:
            self.arriving.append(event)
            if self.chance.randrange(100) < COPIED:
                self.arriving.append(event)
                self.told.duplicates += 1

    def shuffle_out(self, life: "Life") -> None:
        """Deliver what arrives in any order; now and then workers begin before all of it is there."""
        arriving, self.arriving = self.arriving, []
        self.chance.shuffle(arriving)
        for event in arriving:
            self.deliver(event)
            if self.chance.randrange(100) < 10:
                life._project()
        self.work(life)

    def bring(self, life: "Life", *, about: tuple[str, ...]) -> None:
        held = self.delayed + self.lost
        self.delayed = [one for one in self.delayed if not _is_about(one, about)]
        self.lost = [one for one in self.lost if not _is_about(one, about)]
        self.arrive([one for one in held if _is_about(one, about)])
        self.arrive([one for one in self.new(life) if _is_about(one, about)])
        self.shuffle_out(life)

    def end(self, life: "Life") -> None:
        self.told.lost, self.told.delayed = len(self.lost), self.told.delayed + len(self.delayed)
        self.arrive(self.delayed + self.new(life))
        self.delayed = []
        self.shuffle_out(life)
        self.finish(life)
        if life.crasher is not None:
            self.told.crashes = life.crasher.crashes


def _is_about(event: Event, about: tuple[str, ...]) -> bool:
    return event["data"]["object"].get("id") in about


@dataclass
class OnlyNeeded(Network):
    """Nothing arrives but what the life cannot go on without: everything else is left for the end."""

    held: list[Event] = field(default_factory=list)

    def turn(self, life: "Life") -> None:
        self.held += self.new(life)
        self.work(life)

    def bring(self, life: "Life", *, about: tuple[str, ...]) -> None:
        self.held += self.new(life)
        for event in self.held:
            if _is_about(event, about):
                self.deliver(event)
        self.held = [one for one in self.held if not _is_about(one, about)]
        self.work(life)
