"""One Stripe account: its clock, objects, events and switches. A reset makes a new one.

Time. An account has its own clock and any number of test clocks; a customer lives by one of them for good. Exactly one
is in force at any moment, `world.clock`, and `world.now` is its time:
* while a request is answered, the test clock of the first object that it names (`core/belonging.py`), otherwise the
  account's;
* while work runs that was left with `clock.at(…)`, the clock that it was left with;
* otherwise (control endpoints, the page) the account's.
So whatever concerns a customer of a test clock happens by that clock, and nobody but `Application` and
`resources/test_clocks.py` chooses one. Moving a clock moves no other. Events and idempotency keys go by the account's.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from tests.sandbox.core.clock import Clock
from tests.sandbox.core.document import Document
from tests.sandbox.core.faults import Faults
from tests.sandbox.core.history import History
from tests.sandbox.core.idempotency import IdempotencyKeys
from tests.sandbox.core.ids import IdSource
from tests.sandbox.core.meter_events import MeterEvents
from tests.sandbox.core.schema import problems
from tests.sandbox.core.skeletons import Skeletons
from tests.sandbox.core.store import Store, StripeObject, copied
from tests.sandbox.core.undo import NotedDict, NotedSet, Undo

AfterLastRetry = Literal["past_due", "unpaid", "cancel"]
InvoiceAfterLastRetry = Literal["leave_open", "uncollectible"]


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Whose doing an event is. Work of the clock has no request."""

    id: str
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class Cause:
    """The work of a clock that made an event: the test clock's id or None, its time, and what was due."""

    test_clock: str | None
    moment: int
    what: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What an account owner chooses in Stripe's dashboard. `address` is where the sandbox serves its own pages."""

    strict: bool = False
    after_last_retry: AfterLastRetry = "past_due"
    upcoming_invoice_days: int = 7  # how long before a renewal it is told
    invoice_after_last_retry: InvoiceAfterLastRetry = "leave_open"
    late_balance_transactions: bool = False  # a charge's balance transaction comes after the charge
    address: str = ""


class World:
    """The state every operation works on. Single-threaded: nothing here is ever touched from another thread."""

    def __init__(
        self, *, document: Document, skeletons: Skeletons, ids: IdSource, settings: Settings, now: int
    ) -> None:
        self.document = document
        self.skeletons = skeletons
        self.ids = ids
        self.settings = settings
        self.account_clock = Clock(now)
        self.clock = self.account_clock  # the one in force
        self.test_clocks: dict[str, Clock] = {}  # also deleted ones: what is left of their customers can be read
        self.undo = Undo()
        self.store = Store(self.undo)
        self.faults = Faults(ids)
        self.idempotency = IdempotencyKeys()
        self.request: RequestContext | None = None

        # What is left of deleted objects
        self.tombstones: dict[str, StripeObject] = {}

        # Subscriptions
        self.subscription_items: dict[str, str] = {}  # an item's id to its subscription's
        self.credited_items: dict[str, StripeObject | None] = {}  # a proration item to the billed lines it credits
        # Of a subscription item: each credit to the debit that it takes back, and from which moment on.
        self.credits: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
        self.usage_billed_until: dict[str, int] = {}  # of a metered subscription item
        self.billed_usage: dict[str, list[Any]] = {}  # of a draft: `BilledUsage`, looked at again when it is finalised
        self.told_expiring: dict[str, int] = {}  # of a schedule: the end of which it was warned
        self.told_upcoming: dict[str, int] = {}  # of a subscription: the latest renewal that was told before
        self.pending_updates: dict[str, dict[str, Any]] = {}  # by subscription: what waits for its invoice to be paid

        # Invoices
        self.lines: dict[str, list[StripeObject]] = defaultdict(list)  # of an invoice, all of them, in their order
        self.previewed_lines: dict[str, list[StripeObject]] = {}  # of a preview that does not show them all
        self.line_tax_rates: dict[str, list[str]] = {}  # a line's own, perhaps none; else its invoice's
        self.line_credits: dict[str, list[StripeObject]] = {}  # billing credits spent on a line
        self.attached_intents: dict[str, str] = {}  # a payment intent attached to an invoice, to its invoice payment
        self.credit_note_lines: dict[str, list[StripeObject]] = {}  # of a credit note, all of them
        self.hidden_prices: dict[tuple[str, str, str, str], str] = {}  # by name, currency, unit amount, tax behavior
        self.hidden_products: dict[str, str] = {}  # by name
        self.coupon_terms: dict[str, StripeObject] = {}  # products and currency options, shown only when expanded
        self.discount_coupons: dict[str, StripeObject] = {}  # a discount's coupon with its terms, as redeemed
        self.used_discounts: set[str] = set()  # discounts that apply once, and have

        # Payments
        self.cards: dict[str, str] = {}  # id of a payment method, card or token to the name of its test card
        self.debits: dict[str, str] = {}  # id of a payment method to what its test IBAN does
        self.mandates: dict[str, str] = {}  # id of a payment method to its mandate
        self.set_up: set[str] = set()  # payment methods whose customer agreed to payments in their absence
        self.spent: set[str] = set()  # payment methods detached, or used without a customer: never to be used again
        self.balances: dict[str, dict[str, int]] = {"pending": {}, "available": {}}  # sums of net amounts by currency
        self.maturing: dict[tuple[Clock, int], list[StripeObject]] = {}  # balance transactions by when they mature
        self.cash_balances: dict[str, StripeObject] = {}  # by customer
        self.paid_out: dict[str, str] = {}  # balance transaction to the automatic payout that paid it out
        self.next_daily_payout: int | None = None
        self.payout_interval = "manual"  # of the account's schedule of payouts
        self.payout_account_number = "000123456789"  # where payouts go: one of Stripe's test account numbers

        # Prices
        self.price_tiers: dict[str, list[StripeObject]] = {}  # by price; a price shows them only when expanded
        self.currency_options: dict[str, dict[str, StripeObject]] = {}  # by price and currency, without its own
        self.trial_period_days: dict[str, int] = {}  # by plan, whose id is its price's
        self.meter_events = MeterEvents(self.undo)
        self.meter_sessions: dict[str, int] = {}  # when a token for the meter event stream ends
        self.product_features: dict[str, str] = {}  # product of each product_feature
        self.entitlements: dict[str, tuple[str, str]] = {}  # active entitlement to its customer and feature

        # Selling
        self.line_items: dict[str, list[StripeObject]] = {}  # of a checkout session, payment link or quote, by its id
        self.asked_for: dict[str, StripeObject] = {}  # the parameters such a one was made with, for what it will make
        self.checkouts: dict[str, str] = {}  # payment or setup intent to the checkout session that confirmed it
        self.begun_subscriptions: dict[str, str] = {}  # checkout session to the subscription that it has started
        self.portal_setups: dict[str, str] = {}  # setup intent to the portal session that it was made in

        # Events and webhooks
        self.new_events: list[StripeObject] = []  # emitted, not yet handed to the webhook deliveries
        self.new_thin_events: list[StripeObject] = []  # the same of the events of /v2, which the store keeps too
        self.causes: dict[str, Cause] = {}  # of the events that no request caused
        self.webhook_secrets: dict[str, str] = {}

        # What people ask about
        self.problems: list[str] = []
        self.history = History()
        self._let_undo()

    @property
    def now(self) -> int:
        return self.clock.now

    @contextmanager
    def by_clock(self, clock: Clock) -> Iterator[None]:
        """Put another clock in force for a while."""
        former, self.clock = self.clock, clock
        try:
            yield
        finally:
            self.clock = former

    def clock_with(self, test_clock_id: str | None) -> Clock:
        """The test clock, or the account's own clock for None."""
        return self.test_clocks[test_clock_id] if test_clock_id is not None else self.account_clock

    def run_due(self) -> None:
        """Do what is due on every clock, each in force while its work runs."""
        for clock in (self.account_clock, *self.test_clocks.values()):
            with self.by_clock(clock):
                clock.run_due()

    def close(self) -> None:
        """Drop what waits, when another world takes this one's place.

        What waits holds the world and the world holds it: so its memory comes back at once, and not only when the
        collector looks, which is seldom.
        """
        for clock in (self.account_clock, *self.test_clocks.values()):
            clock.forget()
        self.store.journal = None

    def new(self, schema_name: str, prefix: str, **fields: Any) -> StripeObject:
        """A stored, valid object of the schema with a fresh id, created now."""
        fields.setdefault("id", self.ids.new(prefix))
        properties = self.document.schema(schema_name).properties
        if "created" in properties:
            fields.setdefault("created", self.now)
        if "test_clock" in properties:
            fields.setdefault("test_clock", self.clock.id)
        return self.store.add(self.skeletons.new(schema_name, **fields))

    def update(self, thing: StripeObject, event_type: str | None = None, **changes: Any) -> StripeObject:
        """Change a stored object. With `event_type`, an event tells the former values, if anything changed."""
        previous = self.store.change(thing, changes)
        if previous and event_type is not None:
            self.emit(event_type, thing, previous=previous)
        return previous

    def emit(self, event_type: str, thing: StripeObject, *, previous: StripeObject | None = None) -> StripeObject:
        """Record an event about `thing` as it is now."""
        data: StripeObject = {"object": copied(thing)}
        if previous is not None:
            data["previous_attributes"] = previous_attributes(thing, previous)
        request = self.request
        event = self.new(
            "event",
            "evt",
            created=self.account_clock.now,
            api_version=self.document.version,
            data=data,
            type=event_type,
            request={
                "id": request.id if request else None,
                "idempotency_key": request.idempotency_key if request else None,
            },
        )
        if request is None:
            self.causes[event["id"]] = Cause(self.clock.id, self.clock.now, self.clock.doing)
        self.new_events.append(event)
        if self.settings.strict:
            self._check_event(event)
        return event

    def _let_undo(self) -> None:
        """What is kept beside the store can be taken back, too."""
        for name, value in list(vars(self).items()):
            if isinstance(value, dict):
                setattr(self, name, NotedDict(self.undo, value, of_objects=name == "maturing"))
            elif isinstance(value, set):
                setattr(self, name, NotedSet(self.undo, value))

    def _check_event(self, event: StripeObject) -> None:
        thing = event["data"]["object"]
        found = problems(event, self.document.schema("event"))
        schema = self.document.object_schema(thing["object"])
        if schema is None:
            self.problems.append(f"event {event['type']}: unknown object {thing['object']!r}")
        elif not thing.get("deleted"):
            found += problems(thing, schema)
        self.problems.extend(f"event {event['type']} {thing.get('id')}: {problem}" for problem in found)


def previous_attributes(thing: StripeObject, previous: StripeObject) -> StripeObject:
    """Stripe's form of former values: of a changed nested object only the changed keys, of a list all of it."""
    attributes: StripeObject = {}
    for field, former in previous.items():
        current = thing.get(field)
        if isinstance(former, dict) and isinstance(current, dict):
            keys = former.keys() | current.keys()
            attributes[field] = {key: former.get(key) for key in sorted(keys) if former.get(key) != current.get(key)}
        else:
            attributes[field] = former
    return attributes
