"""
A long and varied life at Stripe, told in steps: ours, the customers', and the dashboard's.

After each step the network gets its turn (`Network`): it decides which of Stripe's events arrive, how often, when, and
where our processes die meanwhile. The life itself is the same in every order: it waits for nothing but what it needs.
"""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from billing.catalog.models import PlanVersion
from billing.catalog.operations import load_catalog, sync_catalog_to_stripe
from billing.customers.models import Customer
from billing.customers.operations import create_customer
from billing.invoicing.orders.carrying_out import carry_out, due_orders
from billing.invoicing.orders.models import InvoiceOrder
from billing.stripe import gateway
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import change_terms, create_subscription, start_at_stripe
from tests.billing.accounting.stripe_story import HAND_DECLINED, payment_of, post
from tests.billing.convergence.network import Network
from tests.billing.thread import START, Thread

DAY = timedelta(days=1)


def _plan(code: str, *, fee_minor: int, **terms: Any) -> dict[str, Any]:
    version = {"version": 1, "currency": "USD", "fee_minor": fee_minor, "included_amount": "1", "rate_card": "card"}
    return {"code": code, "name": code.title(), "versions": [{**version, **terms}]}


class Life(Thread):
    """The customers: ada changes, bob tries first, cleo pays late, dan disputes, eve authenticates, fay leaves."""

    network: Network
    sandbox_now = 0

    def tell(self, network: Network, *, months: int) -> None:
        """Live it from 1 October 2026 on, until 3 December if it is all three months. Ends with events under way."""
        self.network = network
        load_catalog(
            {"plans": [_plan("team", fee_minor=3500), _plan("trial", fee_minor=1500, trial_days=7)]}, now=self.now
        )
        sync_catalog_to_stripe(now=self.now)
        for month in (self.october, self.november, self.december)[:months]:
            month()

    # --- the months -------------------------------------------------------------------------------------------------

    def october(self) -> None:
        self.start("ada", "pro", "pm_card_visa")
        self.start("bob", "trial", "pm_card_visa")
        self.start("cleo", "pro", "pm_card_visa")
        self.start("dan", "pro", "pm_card_createMultipleDisputes")
        self.start("eve", "pro", "pm_card_authenticationRequired", needs_authentication=True)
        self.start("fay", "pro", "pm_card_bypassPending")
        self.pass_to(START + 3 * DAY)
        for key in ("ada", "bob", "cleo", "fay"):
            self.use(900_000, at=START + 2 * DAY, customer_key=key)
        self.refund("ada", amount=500)
        self.refund("ada", amount=300, on_credit_note=True)
        self.balance("ada", -300)
        self.pass_to(START + 7 * DAY + timedelta(minutes=1), closing=("bob",))
        self.disputes("dan")
        self.pass_to(START + 10 * DAY)
        self.change("ada", "team", seats=3)
        self.dashboard_seats("cleo", 2)
        self.turn()
        self.use_card("cleo", HAND_DECLINED)
        self.payout(700)
        self.pass_to(START + 20 * DAY)
        self.use(1_700_000, at=START + 15 * DAY, customer_key="ada")
        self.refund("fay")
        self.cancel_at_period_end("fay")
        self.turn()

    def november(self) -> None:
        november = datetime(2026, 11, 1, tzinfo=UTC)
        self.pass_to(november, closing=("ada", "cleo", "dan", "eve"))
        self.is_known_to_have_ended("fay")
        self.pass_to(november + timedelta(hours=2))
        self.credit_to_balance("ada", 250)
        self.one_off_voided("ada", 1200)
        self.pass_to(november + 7 * DAY, closing=("bob",))
        self.pass_to(november + 8 * DAY)
        self.use(2_500_000, at=november + 5 * DAY, customer_key="ada")
        self.pay_late("cleo")
        self.given_up_and_paid_elsewhere("bob", 900)
        self.payout_that_fails(400)
        self.change("ada", "team", seats=2)
        self.pass_to(november + 12 * DAY)
        self.payment_without_invoice("eve", 777)
        self.dashboard_cancels("dan")
        self.turn()

    def december(self) -> None:
        december = datetime(2026, 12, 1, tzinfo=UTC)
        self.advance_our_clock_to(december + 10 * DAY)
        self.pass_to(december, closing=("ada", "cleo", "eve"))
        self.pass_to(december + 2 * DAY)
        self.refund("eve", amount=450)
        self.give_back("eve", 777)
        self.turn()

    # --- what passes, and what is asked of the network --------------------------------------------------------------

    def turn(self) -> None:
        self.network.turn(self)

    def pass_to(self, moment: datetime, *, closing: tuple[str, ...] = ()) -> None:
        """Time passes at Stripe. Where periods end, their invoices are closed before Stripe's hour is over."""
        self.turn()
        self.sandbox.advance(moment)
        self.network.turn(self)
        if closing:
            self.network.close(self, customers=closing)

    def pass_ours(self) -> None:
        """Our clock moves on, beyond every lease."""
        self.now += timedelta(minutes=2)

    def orders(self) -> int:
        """Invoices of our own making that are due; how many moved."""
        moved = 0
        for order_id in due_orders(now=self.now, limit=100):
            before = InvoiceOrder.objects.values_list("state", "invoice_id").get(pk=order_id)
            self._survive(partial(carry_out, order_id=order_id, now=self.now))
            moved += InvoiceOrder.objects.values_list("state", "invoice_id").get(pk=order_id) != before
        return moved

    # --- what people do ---------------------------------------------------------------------------------------------

    def start(self, key: str, plan: str, card: str, *, needs_authentication: bool = False) -> None:
        starts_at = datetime.fromtimestamp(self.sandbox.now(), tz=UTC)
        customer = create_customer(
            customer_key=key,
            name=key.title(),
            email=f"{key}@example.com",
            kind="individual",
            currency="USD",
            created_at=starts_at,
            actor="user:tester",
        )
        version = PlanVersion.objects.get(plan__code=plan)
        subscription = create_subscription(
            customer=customer, plan_version=version, seats=1, starts_at=starts_at, actor="user:tester"
        )
        start_at_stripe(subscription_id=subscription.pk, payment_method=card, now=self.now)
        if needs_authentication:
            (waiting,) = self.mine("payment_intent", key)
            assert waiting["status"] == "requires_action", waiting["status"]
            self.sandbox.authenticate(waiting["id"])
        self.turn()

    def change(self, key: str, plan: str, *, seats: int) -> None:
        """Our own operation: it needs to know what the subscription is at Stripe now."""
        subscription = self.subscription(key)
        self.network.bring(self, about=(str(subscription.stripe_subscription_id),))
        now = datetime.fromtimestamp(self.sandbox.now(), tz=UTC)
        change_terms(
            subscription_id=subscription.pk,
            plan_version=PlanVersion.objects.get(plan__code=plan),
            seats=seats,
            actor="user:tester",
            reason="a test",
            idempotency_key=f"{key}:{plan}:{seats}",
            now=now,
        )
        self.turn()

    def dashboard_seats(self, key: str, seats: int) -> None:
        (theirs,) = self.mine("subscription", key)
        item = theirs["items"]["data"][0]["id"]
        path = f"/v1/subscriptions/{theirs['id']}"
        post(path, items=[{"id": item, "quantity": seats}], proration_behavior="create_prorations")

    def cancel_at_period_end(self, key: str) -> None:
        (theirs,) = self.mine("subscription", key)
        post(f"/v1/subscriptions/{theirs['id']}", cancel_at_period_end=True)

    def dashboard_cancels(self, key: str) -> None:
        (theirs,) = self.mine("subscription", key)
        gateway.request("delete", f"/v1/subscriptions/{theirs['id']}")
        self.is_known_to_have_ended(key)

    def is_known_to_have_ended(self, key: str) -> None:
        """Its end is to be known before the life goes on: a closing invoice is made then, and Stripe bills it."""
        self.network.bring(self, about=(str(self.subscription(key).stripe_subscription_id),))
        assert self.subscription(key).status == "canceled"

    def refund(self, key: str, *, amount: int | None = None, on_credit_note: bool = False) -> None:
        charge = next(one for one in self.mine("charge", key) if one["status"] == "succeeded")
        if on_credit_note:
            invoice = next(one for one in self.mine("invoice", key) if one["status"] == "paid" and one["amount_paid"])
            post("/v1/credit_notes", invoice=invoice["id"], amount=amount, refund_amount=amount)
        else:
            post("/v1/refunds", charge=charge["id"], **({"amount": amount} if amount else {}))
        self.turn()

    def give_back(self, key: str, amount: int) -> None:
        """A payment that no invoice asked for."""
        charge = next(one for one in self.mine("charge", key) if one["amount"] == amount)
        post("/v1/refunds", charge=charge["id"])
        self.turn()

    def balance(self, key: str, amount: int) -> None:
        post(f"/v1/customers/{self.stripe_id(key)}/balance_transactions", amount=amount, currency="usd")
        self.turn()

    def disputes(self, key: str) -> None:
        """One is won, the other lost."""
        won, lost = sorted(self.all("dispute"), key=lambda one: str(one["id"]))
        post(f"/v1/disputes/{won['id']}", evidence={"uncategorized_text": "winning_evidence"}, submit=True)
        post(f"/v1/disputes/{lost['id']}/close")
        self.turn()

    def payout(self, amount: int) -> None:
        post("/v1/payouts", amount=amount, currency="usd")
        self.turn()

    def payout_that_fails(self, amount: int) -> None:
        self.sandbox.choose_payout_account("000111111113")
        self.payout(amount)

    def credit_to_balance(self, key: str, amount: int) -> None:
        invoice = max((one for one in self.mine("invoice", key) if one["status"] == "paid"), key=_created)
        post("/v1/credit_notes", invoice=invoice["id"], amount=amount, credit_amount=amount)
        self.turn()

    def one_off(self, key: str, amount: int) -> str:
        customer = self.stripe_id(key)
        invoice = post("/v1/invoices", customer=customer, auto_advance=False, pending_invoice_items_behavior="exclude")
        details = {"customer": customer, "invoice": invoice["id"], "currency": "usd", "metadata": {"kind": "one_off"}}
        post("/v1/invoiceitems", amount=amount, description="by hand", **details)
        post(f"/v1/invoices/{invoice['id']}/finalize", auto_advance=False)
        self.turn()
        return str(invoice["id"])

    def one_off_voided(self, key: str, amount: int) -> None:
        post(f"/v1/invoices/{self.one_off(key, amount)}/void")
        self.turn()

    def given_up_and_paid_elsewhere(self, key: str, amount: int) -> None:
        path = f"/v1/invoices/{self.one_off(key, amount)}"
        post(f"{path}/mark_uncollectible")
        self.turn()
        post(f"{path}/pay", paid_out_of_band=True)
        self.turn()

    def pay_late(self, key: str) -> None:
        """Its card was declined, and declined again; another one pays."""
        (waiting,) = [one for one in self.mine("invoice", key) if one["status"] == "open"]
        self.use_card(key, "pm_card_visa")
        post(f"/v1/invoices/{waiting['id']}/pay")
        self.turn()

    def payment_without_invoice(self, key: str, amount: int) -> None:
        payment_of(Customer.objects.get(customer_key=key), amount)
        self.turn()

    # --- looking at Stripe ------------------------------------------------------------------------------------------

    def all(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.sandbox.state().get(kind, [])
        return found

    def mine(self, kind: str, key: str) -> list[dict[str, Any]]:
        stripe_id = self.stripe_id(key)
        return [one for one in self.all(kind) if one.get("customer") == stripe_id]

    def stripe_id(self, key: str) -> str:
        return str(Customer.objects.get(customer_key=key).stripe_customer_id)

    def subscription(self, key: str) -> Subscription:
        return Subscription.objects.get(customer__customer_key=key)


def _created(one: dict[str, Any]) -> tuple[int, str]:
    return int(one["created"]), str(one["id"])
