"""One customer's way through billing in tests: real operations, the sandbox's own process, signed webhooks."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

import stripe
from django.db import connection
from django.test import Client
from djstripe.models import WebhookEndpoint

from billing.accounting.chart import CUSTOMER_ACCOUNTS, SYSTEM_ACCOUNTS
from billing.catalog.models import PlanVersion
from billing.catalog.operations import load_catalog, sync_catalog_to_stripe
from billing.customers.models import Customer
from billing.customers.operations import create_customer, use_payment_method
from billing.invoicing import queries as invoicing_queries
from billing.invoicing.closing import advance_close
from billing.invoicing.models import InvoiceClose
from billing.stripe import gateway, inbox
from billing.stripe.models import InboxEvent
from billing.stripe.projection import ENABLED_EVENTS, process_event
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import create_subscription, start_at_stripe
from config import clock
from ledger import queries as ledger_queries
from metering.operations import UsageEventInput, catch_up_windows, define_meter, ingest_events
from tests.sandbox.client import SandboxProcess

SECRET = "whsec_of_the_tests"
ENDPOINT_UUID = "0f6a4f3e-6a7b-5a2c-9d1e-000000000001"
START = datetime(2026, 10, 1, tzinfo=UTC)
SECOND_MONTH = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = "claude-sonnet-5"
ROUNDS_MAX = 60
# One for all tests: a client loads the middleware, and with it looks at every static file, when it is first used.
CLIENT = Client()


def catalog(*, fee_minor: int, included: str, **terms_of_late_usage: str) -> dict[str, Any]:
    """One plan and one model: 3 USD a million input tokens."""
    card = {
        "code": "card",
        "name": "Prices",
        "currency": "USD",
        "effective_from": "2020-01-01T00:00:00Z",
        "models": [{"model": MODEL, "rates": {"input_tokens": "3", "output_tokens": "15"}}],
    }
    terms = {"currency": "USD", "fee_minor": fee_minor, "included_amount": included, "rate_card": "card"}
    terms |= terms_of_late_usage
    return {"rate_cards": [card], "plans": [{"code": "pro", "name": "Pro", "versions": [{"version": 1, **terms}]}]}


class Crash(BaseException):
    """The process died here: no handler of ours may see it."""


class Restless(AssertionError):
    """Something still moved when the rounds were over."""


class Crasher:
    """Kills the work before a statement chosen by chance, `crashes_max` times. Wraps the database connection."""

    def __init__(self, chance: random.Random, *, statements_max: int, crashes_max: int) -> None:
        self._chance = chance
        self._crashes_max = crashes_max
        self._statements_max = statements_max
        self.crashes = 0
        self._seen = 0
        self._left = chance.randint(1, statements_max)

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self._left -= 1
        if self._left <= 0 and self.crashes < self._crashes_max:
            self._left = self._chance.randint(1, self._statements_max)
            self.crashes += 1
            raise Crash
        return execute(sql, params, many, context)

    def is_fresh(self) -> bool:
        """Whether it crashed since this was last asked: then there is work left."""
        seen, self._seen = self._seen, self.crashes
        return seen != self.crashes


class Thread:
    """A world with one plan. `now` is a clock of ours that only the test moves; `late` is the plan's late policy."""

    def __init__(self, sandbox: SandboxProcess, *, fee_minor: int = 2000, included: str = "0", **late: str) -> None:
        self.sandbox = sandbox
        self.now = clock.now()
        self._ids = count(1)
        self._delivered: set[str] = set()
        self._heard_until = 0
        self.crasher: Crasher | None = None
        for meter in ("input_tokens", "output_tokens"):
            define_meter(
                code=meter,
                event_type="llm.request",
                value_path=f"data.{meter}",
                aggregation="sum",
                dimensions=["model"],
                unit="tokens",
            )
        load_catalog(catalog(fee_minor=fee_minor, included=included, **late), now=self.now)
        sync_catalog_to_stripe(now=self.now)
        WebhookEndpoint.objects.create(
            id="we_tests",
            secret=SECRET,
            djstripe_uuid=ENDPOINT_UUID,
            livemode=False,
            enabled_events=list(ENABLED_EVENTS),
            url="https://billing.example.com/",
            status="enabled",
        )

    def subscribe(self, customer_key: str = "ada", *, card: str = "pm_card_visa") -> Subscription:
        """A customer with a card and a subscription from the sandbox's present on."""
        starts_at = datetime.fromtimestamp(self.sandbox.now(), tz=UTC)
        return subscribe(customer_key, starts_at=starts_at, card=card, now=self.now)

    def use_card(self, customer_key: str, card: str) -> None:
        """Attach another test card and let it pay from now on."""
        customer = Customer.objects.get(customer_key=customer_key)
        key = f"card:{customer_key}:{next(self._ids)}"
        use_payment_method(customer_id=customer.pk, payment_method=card, idempotency_key=key, now=self.now)

    def use(
        self,
        tokens: int,
        *,
        at: datetime,
        customer_key: str = "ada",
        model: str = MODEL,
        meter: str = "input_tokens",
    ) -> None:
        """Accept usage; 1,000,000 input tokens cost 3 USD, output tokens 15."""
        event = UsageEventInput(
            id=f"event-{next(self._ids)}",
            source="tests",
            type="llm.request",
            subject=customer_key,
            time=at,
            data={"model": model, meter: tokens},
        )
        result = ingest_events(events=[event], received_at=self.now)
        assert result.accepted == 1, result.outcomes

    def aggregate(self) -> None:
        """Bring all usage into its windows, seen from our clock."""
        catch_up_windows(now=self.now)

    def events(self) -> list[dict[str, Any]]:
        """Everything that happened at Stripe and that we follow, oldest first."""
        return list(gateway.listed_events(ENABLED_EVENTS))[::-1]

    def new_events(self) -> list[dict[str, Any]]:
        """What happened since they were asked for last, oldest first; of that second again, for it may not be over."""
        since = {"created": {"gte": self._heard_until}} if self._delivered else {}
        found = list(gateway.listed_events(ENABLED_EVENTS, **since))[::-1]
        fresh = [event for event in found if event["id"] not in self._delivered]
        self._delivered.update(event["id"] for event in fresh)
        self._heard_until = max((event["created"] for event in found), default=self._heard_until)
        return fresh

    def advance_our_clock_to(self, now: datetime) -> None:
        self.now = max(self.now, now)

    def redeliver_everything(self) -> None:
        """Stripe delivers all its events once more."""
        self._delivered.clear()
        self.settle()

    def calls_counted(self, beginning: str) -> int:
        """How many of the last requests the sandbox saw begin so, such as POST /v1/invoices/."""
        recent = self.sandbox.state()["recent_requests"]
        return sum(request["call"].startswith(beginning) for request in recent)

    def settle(
        self,
        *,
        copies: int = 1,
        shuffle: random.Random | None = None,
        is_closing: bool = True,
        aggregated_until: datetime | None = None,
        rounds_max: int = ROUNDS_MAX,
    ) -> None:
        """Deliver events, project them and advance closes until nothing moves any more. Raises Restless."""
        catch_up_windows(now=aggregated_until or self.now)
        for _ in range(rounds_max):
            events = self.new_events() * copies
            if shuffle is not None:
                shuffle.shuffle(events)
            for event in events:
                assert post_event(event).status_code == 200
            self.now += timedelta(minutes=20)
            done = self._project() + (self._close() if is_closing else 0)
            if not done and not events:
                return
        raise Restless("the world does not come to rest")

    def _project(self) -> int:
        due = inbox.due_event_ids(now=self.now, limit=1000)
        return sum(self._survive(partial(process_event, event_id=event_id, now=self.now)) for event_id in due)

    def _close(self) -> int:
        """The number of closes that moved; one that waits does not."""
        moved = 0
        for close_id in invoicing_queries.due_closes(now=self.now, limit=1000):
            before = InvoiceClose.objects.get(pk=close_id).step
            self._survive(partial(advance_close, close_id=close_id, now=self.now))
            moved += InvoiceClose.objects.get(pk=close_id).step != before
        return moved + (self.crasher is not None and self.crasher.is_fresh())

    def _survive(self, work: Callable[[], Any]) -> bool:
        """Do the work, or let the process die in the middle of it and somebody else go on later."""
        if self.crasher is None:
            return bool(work())
        try:
            with connection.execute_wrapper(self.crasher):
                return bool(work())
        except Crash:
            connection.close()
            return True

    def unfinished(self) -> list[tuple[str, str, str]]:
        rows = InboxEvent.objects.exclude(state="done")
        return list(rows.values_list("type", "state", "error"))

    def balances(self, customer_key: str = "ada") -> dict[str, Decimal]:
        """The accounts that are not at zero, the customer's without its key."""
        codes = {f"{kind}:{customer_key}:USD": kind for kind in CUSTOMER_ACCOUNTS}
        codes |= {f"{account.name}:USD": account.name for account in SYSTEM_ACCOUNTS}
        found = {name: ledger_queries.balance_of(code) for code, name in codes.items()}
        return {name: amount.normalize() for name, amount in found.items() if amount}


def subscribe(customer_key: str, *, starts_at: datetime, card: str, now: datetime) -> Subscription:
    """A customer with a card and a subscription to the one plan that there is."""
    customer = create_customer(
        customer_key=customer_key,
        name=customer_key.title(),
        email=f"{customer_key}@example.com",
        kind="individual",
        currency="USD",
        created_at=starts_at,
        actor="user:tester",
    )
    version = PlanVersion.objects.get()
    subscription = create_subscription(
        customer=customer, plan_version=version, seats=1, starts_at=starts_at, actor="user:tester"
    )
    return start_at_stripe(subscription_id=subscription.pk, payment_method=card, now=now)


def sign(body: str, *, secret: str = SECRET, timestamp: int | None = None) -> str:
    return str(stripe.WebhookSignature.generate_signature_header(body, secret, timestamp=timestamp))


def post_event(event: dict[str, Any]) -> Any:
    """Deliver an event as Stripe does."""
    body = json.dumps(event)
    return CLIENT.post(
        f"/stripe/webhook/{ENDPOINT_UUID}/",
        data=body,
        content_type="application/json",
        headers={"Stripe-Signature": sign(body)},
    )
