"""
A month of a few customers through the real thing: sandbox, web server and worker as processes, one small world.

The world is chosen so that every road of the money is walked: an allowance used in part, a grant burnt, usage left to
bill, a sum too small to charge, and a card that is declined.
"""

import json
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings as django_settings
from django.core.management import call_command
from django.db.models import Sum

from billing.catalog import operations as catalog
from billing.catalog.document import read_yaml
from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.customers.operations import create_customer, use_payment_method
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.tasks import task_sweep_closes
from billing.payments.models import Payment
from billing.rating.models import UsageAccrual
from billing.stripe.models import InboxEvent, OutboxIntent
from billing.stripe.tasks import task_sweep_inbox
from billing.subscriptions.operations import create_subscription, start_at_stripe
from config.api_keys.models import ApiKey
from ledger import queries as ledger
from metering.operations import advance_windows
from promotions.operations import issue_grant
from tests.processes import CeleryWorker, WebServer
from tests.sandbox.client import SandboxProcess


def _months_ago(number: int) -> datetime:
    """The first instant of the month `number` months before this one: usage must be recent, and its month over."""
    today = datetime.now(tz=UTC)
    years, month = divmod(today.year * 12 + today.month - 1 - number, 12)
    return datetime(years, month + 1, 1, tzinfo=UTC)


# Two months that are over by now, because a close waits, by the real clock, for usage that may still come.
MONTH_START, MONTH_END, NEXT_MONTH_END = _months_ago(2), _months_ago(1), _months_ago(0)
SOON = timedelta(minutes=10)
AFTER_CLOSE, RECONCILED_TO = MONTH_END + SOON, MONTH_END + 2 * SOON
SECRET_KEY = "sk_test_" + "boringbillingscenario0000"
PATIENCE_SECONDS = 90.0
POLL_SECONDS = 0.05
ACTOR = "service:scenario"

# Prices by the million, chosen so that the sums below can be done in the head.
CATALOGUE = """
meters:
  - code: input_tokens
    event_type: llm.request
    value_path: data.input_tokens
    aggregation: sum
    dimensions: [model]
    unit: token
  - code: output_tokens
    event_type: llm.request
    value_path: data.output_tokens
    aggregation: sum
    dimensions: [model]
    unit: token
rate_cards:
  - code: scenario
    name: Scenario prices
    currency: USD
    source: made for the scenario tests
    effective_from: 2020-01-01T00:00:00Z
    models:
      - {model: sonnet, rates: {input_tokens: "2", output_tokens: "10"}}
      - {model: opus, rates: {input_tokens: "5", output_tokens: "25"}}
plans:
  - code: free
    name: Free
    versions: [{version: 1, currency: USD, fee_minor: 0, included_amount: "0", rate_card: scenario}]
  - code: pro
    name: Pro
    versions: [{version: 1, currency: USD, fee_minor: 2000, included_amount: "20", rate_card: scenario}]
"""


@dataclass(frozen=True, slots=True)
class Person:
    """One customer of the world and the tokens used, as (day, hour, model, input, output)."""

    key: str
    plan: str
    usage: tuple[tuple[int, int, str, int, int], ...]


WORLD = (
    # 3 M × 2 + 1 M × 10 = 16 of 20 included: nothing to bill but the fee.
    Person("allowance", "pro", ((2, 9, "sonnet", 2_000_000, 1_000_000), (9, 10, "sonnet", 1_000_000, 0))),
    # 5 × 5 + 1 × 25 = 50; 20 included, 5 of a grant, 25 to bill.
    Person("grant", "pro", ((3, 9, "opus", 2_000_000, 1_000_000), (20, 23, "opus", 3_000_000, 0))),
    # 0.1 M × 2 = 0.20: below what Stripe charges, so it moves to the customer's balance.
    Person("tiny", "free", ((15, 12, "sonnet", 100_000, 0),)),
    # 4 × 10 = 40; 20 included, 20 to bill, and the card is declined by then.
    Person("declined", "pro", ((4, 8, "sonnet", 0, 4_000_000),)),
    # Lines far below a cent: 3 × 0.000002, rounded once each.
    Person("crumbs", "free", ((7, 1, "sonnet", 1, 0), (7, 2, "sonnet", 2, 0))),
)
EVENTS = sum(len(person.usage) for person in WORLD)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a month came to. Two runs are the same when these are."""

    accounts: Mapping[str, Decimal]
    invoices: Sequence[tuple[str, str, str, int, int, int]]
    payments: Sequence[tuple[str, str, int]]
    accrued: Mapping[str, Decimal]
    charges_at_stripe: int


def _undisturbed() -> Figures:
    """The month of WORLD, worked out by hand. Stripe's fee as the sandbox assumes it: 2.9 % + 30 cents, half up."""
    fee_of_20, fee_of_45 = Decimal("0.88"), Decimal("1.61")
    fees = 3 * fee_of_20 + fee_of_20 + fee_of_45
    collected = 3 * Decimal(20) + Decimal(20) + Decimal(45)
    return Figures(
        accounts={
            "revenue:usage:USD": Decimal("-106.200006"),
            "revenue:subscription:USD": Decimal(-120),  # three Pro fees, twice
            "contra:included:USD": Decimal(56),
            "contra:promotions:USD": Decimal(5),
            "rounding:USD": Decimal("0.000006"),  # crumbs, charged as 0.00
            "receivable:declined:USD": Decimal(40),  # fee 20 + usage 20
            "balance:tiny:USD": Decimal("0.20"),  # owed, to be asked for when it is worth a charge
            "stripe:clearing:USD": collected - fees,
            "fees:stripe:USD": fees,
        },
        invoices=[
            ("allowance", "subscription_create", "paid", 2000, 2000, 0),
            ("allowance", "subscription_cycle", "paid", 2000, 2000, 0),
            ("crumbs", "subscription_create", "paid", 0, 0, 0),
            ("crumbs", "subscription_cycle", "paid", 0, 0, 0),
            ("declined", "subscription_create", "paid", 2000, 2000, 0),
            ("declined", "subscription_cycle", "open", 4000, 0, 4000),
            ("grant", "subscription_create", "paid", 2000, 2000, 0),
            ("grant", "subscription_cycle", "paid", 4500, 4500, 0),
            ("tiny", "subscription_create", "paid", 0, 0, 0),
            ("tiny", "subscription_cycle", "paid", 20, 0, 0),
        ],
        payments=[
            ("allowance", "succeeded", 2000),
            ("allowance", "succeeded", 2000),
            ("declined", "succeeded", 2000),
            ("declined", "failed", 4000),
            ("grant", "succeeded", 2000),
            ("grant", "succeeded", 4500),
        ],
        accrued={
            "rated": Decimal("106.200006"),  # 16 + 50 + 0.2 + 40 + 0.000006
            "included": Decimal(56),  # 16 + 20 + 20
            "credited": Decimal(5),
            "unbilled": Decimal("45.200006"),
        },
        charges_at_stripe=6,
    )


UNDISTURBED = _undisturbed()


@dataclass
class MainThread:
    """The processes and what can be done with them. Build it with a running sandbox, web server and worker."""

    sandbox: SandboxProcess
    web: WebServer
    worker: CeleryWorker
    api_key: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def set_up(self) -> None:
        """Catalogue, customers, subscriptions at Stripe, and the first invoices paid."""
        catalog.load_catalog(read_yaml(CATALOGUE), now=MONTH_START)
        catalog.sync_catalog_to_stripe(now=MONTH_START)
        call_command("setup_stripe_webhook", url=self.web.address, verbosity=0)
        self.api_key = ApiKey.objects.create_key(name="scenario", scopes=["usage:write"])[1]
        for person in WORLD:
            self._subscribe(person)
        issue_grant(
            customer_key="grant",
            kind="promotional",
            name="Welcome credit",
            amount=Decimal(5),
            currency="USD",
            effective_at=MONTH_START,
            expires_at=None,
            reason="Scenario",
            actor=ACTOR,
            idempotency_key="scenario-grant",
            recorded_at=MONTH_START,
        )
        self.settle()

    def _subscribe(self, person: Person) -> None:
        customer = create_customer(
            customer_key=person.key,
            name=person.key.title(),
            email=f"{person.key}@example.com",
            kind=Customer.Kind.INDIVIDUAL,
            currency="USD",
            created_at=MONTH_START,
            actor=ACTOR,
        )
        subscription = create_subscription(
            customer=customer,
            plan_version=PlanVersion.objects.get(plan__code=person.plan),
            seats=1,
            starts_at=MONTH_START,
            actor=ACTOR,
        )
        start_at_stripe(subscription_id=subscription.pk, payment_method="pm_card_visa", now=MONTH_START)

    def replace_card_of(self, key: str, payment_method: str) -> None:
        """Let another card pay from now on."""
        customer = Customer.objects.get(customer_key=key)
        use_payment_method(
            customer_id=customer.pk,
            payment_method=payment_method,
            idempotency_key=f"scenario:{key}:{payment_method}",
            now=MONTH_START,
        )

    def events(self) -> list[dict[str, Any]]:
        """The month's usage as CloudEvents."""
        found = []
        for person in WORLD:
            for number, (day, hour, model, tokens_in, tokens_out) in enumerate(person.usage):
                data = {"model": model, "input_tokens": tokens_in, "output_tokens": tokens_out}
                found.append(
                    {
                        "specversion": "1.0",
                        "id": f"{person.key}-{number}",
                        "source": "scenario",
                        "type": "llm.request",
                        "subject": person.key,
                        "time": MONTH_START.replace(day=day, hour=hour, minute=30).isoformat(),
                        "data": data,
                    }
                )
        return found

    def send(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """POST a batch to the web server; returns its answer."""
        request = urllib.request.Request(
            f"{self.web.address}/api/v1/events",
            data=json.dumps(events).encode(),
            headers={"Content-Type": "application/cloudevents-batch+json", "Authorization": f"Api-Key {self.api_key}"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            body: dict[str, Any] = json.load(answer)
            return body

    def use(self) -> None:
        """Send the month's usage and bring it into windows."""
        answer = self.send(self.events())
        assert answer["accepted"] == EVENTS, answer
        self.aggregate()

    def aggregate(self) -> None:
        wait_for(lambda: advance_windows(now=datetime.now(tz=UTC)).caught_up, "every event is in its window")

    def end_month(self) -> None:
        """Let Stripe reach the next month: it makes the drafts and sends their events."""
        self.sandbox.advance(AFTER_CLOSE)

    def settle(self) -> None:
        """Wait until nothing is under way: no webhook, no event, no close, no intent."""
        wait_for(self._is_settled, "the thread settles", state=self._unsettled, every_seconds=0.5)

    def _is_settled(self) -> bool:
        # The sweeps are beat's work; here they are handed to the worker as often as we look.
        task_sweep_inbox.delay()
        task_sweep_closes.delay()
        return self.sandbox.is_idle() and not self._unsettled()

    def _unsettled(self) -> list[str]:
        events = InboxEvent.objects.exclude(state=InboxEvent.State.DONE)
        closes = InvoiceClose.objects.exclude(step=InvoiceClose.Step.FINALIZED).filter(held_reason="")
        drafts = Invoice.objects.filter(status=Invoice.Status.DRAFT, close__isnull=True)
        intents = OutboxIntent.objects.filter(state=OutboxIntent.State.INTENDED)
        return [
            *(f"{event} {event.state} {event.error}" for event in events),
            *(f"{close} at {close.step} {close.error}" for close in closes),
            *(f"draft {invoice}" for invoice in drafts),
            *(f"intent {intent} {intent.error}" for intent in intents),
        ]

    def figures(self) -> Figures:
        """Everything that must be the same however the month went, read from the ledger and from Stripe."""
        invoices = Invoice.objects.order_by("customer__customer_key", "created_at").values_list(
            "customer__customer_key",
            "billing_reason",
            "status",
            "total_minor",
            "amount_paid_minor",
            "amount_remaining_minor",
        )
        payments = Payment.objects.order_by("customer__customer_key", "occurred_at", "amount_minor")
        accrued = UsageAccrual.objects.aggregate(
            rated=Sum("rated"), included=Sum("included"), credited=Sum("credited"), unbilled=Sum("unbilled")
        )
        stripe = self.sandbox.state()
        return Figures(
            accounts={row.code: row.debit - row.credit for row in ledger.trial_balance() if row.debit != row.credit},
            invoices=list(invoices),
            payments=list(payments.values_list("customer__customer_key", "status", "amount_minor")),
            accrued=accrued,
            charges_at_stripe=len(stripe["charge"]),
        )

    def lines_at_stripe(self, key: str) -> list[tuple[str, int]]:
        """Description and amount (minor units) of every invoice line of one customer, as Stripe has them."""
        invoices = [
            found for found in self.sandbox.state()["invoice"] if found["customer_email"] == f"{key}@example.com"
        ]
        return [(line["description"], line["amount"]) for found in invoices for line in found["lines"]["data"]]


def wait_for(
    condition: Callable[[], bool],
    what: str,
    *,
    state: Callable[[], object] = lambda: "",
    every_seconds: float = POLL_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Poll until `condition()`; raises AssertionError naming `what` and the state it hangs in."""
    deadline = time.monotonic() + patience_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience_seconds} s: {what}: {state()}"
        time.sleep(every_seconds)


def environment_for(sandbox: SandboxProcess) -> dict[str, str]:
    """What web server and worker need beside the test's own environment."""
    return {
        "STRIPE_SECRET_KEY": SECRET_KEY,
        "STRIPE_API_BASE": sandbox.address,
        "DJANGO_SECRET_KEY": django_settings.SECRET_KEY,
        "BILLING_LEASE_SECONDS": "2",  # so that what a killed worker held is soon taken up again
    }
