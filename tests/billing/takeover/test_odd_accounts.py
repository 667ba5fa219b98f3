"""What an old account has besides: deleted customers, refunds that failed, credit notes, and customers left out."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from billing.catalog.models import PlanVersion
from billing.catalog.operations import load_catalog, sync_catalog_to_stripe
from billing.invoicing.models import Invoice
from billing.rating.operations import accrue_period
from billing.reconciliation.operations import reconcile
from billing.stripe import gateway
from billing.stripe.models import InboxEvent
from billing.stripe.poll import fetch_missed_balance_transactions
from billing.subscriptions.models import BillingPeriod, PeriodAllowance
from billing.takeover.checking import check_takeover
from billing.takeover.document import read_map
from billing.takeover.models import TakenOver, Takeover
from billing.takeover.operations import run_takeover
from billing.takeover.queries import by_kind
from tests.billing.invoicing.ordering import carry_out_all
from tests.billing.thread import Thread, catalog, post_event
from tests.sandbox.client import SandboxProcess

ACTOR = "user:finance"
BEGINNING = datetime(2026, 10, 1, tzinfo=UTC)
CUT = datetime(2026, 10, 20, 12, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
FAILS_LATER = "pm_card_refundFail"
WAITS = "pm_card_pendingRefund"

StripeDict = dict[str, Any]


def post(path: str, **params: Any) -> StripeDict:
    return gateway.request("post", path, params).data


class Shop:
    """Customers with one invoice each, by their names."""

    def __init__(self, sandbox: SandboxProcess) -> None:
        self.sandbox, self.thread = sandbox, Thread(sandbox)
        self.customers: dict[str, str] = {}
        self.invoices: dict[str, str] = {}
        self.refunds: dict[str, str] = {}
        self.subscriptions: dict[str, str] = {}

    def buy(self, name: str, *, card: str = "pm_card_visa", is_paid: bool = True) -> str:
        """An invoice of 50.00, paid at once or left open."""
        made = post("/v1/customers", name=name.title(), email=f"{name}@example.com")
        self.customers[name] = made["id"]
        sent = {} if is_paid else {"collection_method": "send_invoice", "days_until_due": 30}
        if is_paid:
            method = post(f"/v1/payment_methods/{card}/attach", customer=made["id"])
            post(f"/v1/customers/{made['id']}", invoice_settings={"default_payment_method": method["id"]})
        invoice = post("/v1/invoices", customer=made["id"], auto_advance=False, **sent)["id"]
        post("/v1/invoiceitems", customer=made["id"], invoice=invoice, amount=5000, currency="usd")
        post(f"/v1/invoices/{invoice}/finalize", auto_advance=False)
        if is_paid:
            post(f"/v1/invoices/{invoice}/pay")
        self.invoices[name] = invoice
        return str(invoice)

    def subscribe(self, name: str, *prices: str, **more: Any) -> None:
        """From the first of the month on."""
        made = post("/v1/customers", name=name.title(), email=f"{name}@example.com")
        method = post("/v1/payment_methods/pm_card_visa/attach", customer=made["id"])
        items = [{"price": price} for price in prices]
        post(f"/v1/customers/{made['id']}", invoice_settings={"default_payment_method": method["id"]})
        subscription = post("/v1/subscriptions", customer=made["id"], items=items, **more)
        self.customers[name], self.subscriptions[name] = made["id"], subscription["id"]

    def refund(self, name: str, amount: int) -> str:
        page = gateway.request("get", "/v1/invoice_payments", {"invoice": self.invoices[name]}).data
        refund = post("/v1/refunds", payment_intent=page["data"][0]["payment"]["payment_intent"], amount=amount)
        self.refunds[name] = refund["id"]
        return str(refund["id"])

    def credit(self, name: str, amount: int, **ways: Any) -> str:
        return str(post("/v1/credit_notes", invoice=self.invoices[name], amount=amount, **ways)["id"])

    def run(self, text: str = "currency: USD") -> None:
        run_takeover(by=read_map(text), as_of=CUT, actor=ACTOR, clock=lambda: self.thread.now)

    def owed(self) -> dict[str, dict[str, Decimal]]:
        """Of whom the books hold something: what is asked of them, owed to them, and on their balance."""
        found = {name: self.thread.balances(stripe_id) for name, stripe_id in self.customers.items()}
        kinds = ("receivable", "refund_due", "balance")
        return {name: said for name, held in found.items() if (said := {k: held[k] for k in kinds if k in held})}

    def house(self, *kinds: str) -> dict[str, Decimal]:
        held = self.thread.balances(next(iter(self.customers.values())))
        return {kind: held[kind] for kind in kinds if kind in held}

    def differences(self) -> list[str]:
        self.thread.settle()
        fetch_missed_balance_transactions(now=self.thread.now)
        for period in BillingPeriod.objects.filter(state="open"):
            accrue_period(period_id=period.pk, now=self.thread.now)
        now, until = self.thread.now, datetime.fromtimestamp(self.sandbox.now(), tz=UTC) + timedelta(hours=1)
        run = reconcile(range_start=BEGINNING, range_end=until, now=now, actor=ACTOR)
        apart = [f"{one.check_code}: {one.subject}: {one.left_value} / {one.right_value}"
                 for one in run.discrepancies.all()]  # fmt: skip
        return apart + [str(one) for one in check_takeover(actor=ACTOR, now=now).differences]


@pytest.fixture
def shop(committed_db: None, at_sandbox: SandboxProcess) -> Shop:
    return Shop(at_sandbox)


def test_refunds_and_credit_notes_on_both_sides_of_the_cut_owe_nobody_twice(shop: Shop) -> None:
    for name, card in (("failed", FAILS_LATER), ("fails", FAILS_LATER), ("called", WAITS), ("calls", WAITS)):
        shop.buy(name, card=card)
    for name in ("noted", "covered", "untouched"):
        shop.buy(name)
    shop.buy("credited", is_paid=False)
    shop.refund("failed", 1000)  # comes back within days
    post(f"/v1/refunds/{shop.refund('called', 1100)}/cancel")
    shop.sandbox.advance(CUT - timedelta(hours=1))
    shop.refund("fails", 1200)  # comes back after the cut
    shop.refund("calls", 1300)  # and this is called off after it
    shop.refund("covered", 700)
    shop.credit("noted", 600, refund_amount=600)
    post(f"/v1/credit_notes/{shop.credit('credited', 500)}/void")
    standing = shop.credit("credited", 400)
    shop.sandbox.advance(CUT + timedelta(hours=1))

    shop.run()
    assert shop.owed() == {"failed": {"refund_due": 10}, "credited": {"receivable": 46}}
    assert shop.differences() == []
    assert shop.house("contra:refunds", "stripe:in_transit") == {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ledger_journalentry WHERE effective_at < %s", [CUT])
        assert cursor.fetchone() == (0,)

    post(f"/v1/refunds/{shop.refunds['calls']}/cancel")
    shop.credit("covered", 700, refunds=[{"refund": shop.refunds["covered"], "amount_refunded": 700}])
    shop.credit("noted", 900, refund_amount=500, credit_amount=400)
    shop.refund("untouched", 200)
    post(f"/v1/credit_notes/{standing}/void")
    shop.sandbox.advance(CUT + timedelta(days=15))
    # What came back has been owed for long, as reconciliation says by name; nothing else is apart.
    apart = shop.differences()
    assert [one.split(":")[1] for one in apart] == [" account refund_due"] * 2, apart
    assert shop.owed() == {
        "failed": {"refund_due": 10},
        "fails": {"refund_due": 12},
        "noted": {"balance": 4},
        "credited": {"receivable": 50},
    }
    # 9 and 2 are given back now; 7 were in the books of before, and 13 come back to us against what they had said.
    assert shop.house("contra:refunds") == {"contra:refunds": 9 + 2 - 13}


def test_who_was_deleted_is_left_out_by_name_and_news_of_them_wait_for_nobody(shop: Shop) -> None:
    for name in ("deleted", "tester", "dora"):
        shop.buy(name)
    gateway.request("delete", f"/v1/customers/{shop.customers['deleted']}", {})
    shop.sandbox.advance(CUT + timedelta(hours=1))
    shop.run(f"leave_out: {{{shop.customers['tester']}: our own tests}}")
    deleted = TakenOver.objects.get(kind="customer", stripe_id=shop.customers["deleted"])
    assert deleted.reason == "it was deleted at Stripe"
    assert Invoice.objects.count() == 1
    assert_all_is_told()
    assert shop.differences() == []

    shop.refund("tester", 300)
    for event in shop.thread.new_events():
        if event["data"]["object"]["object"] == "refund":
            event["data"]["object"].pop("customer", None)  # which only the sandbox tells
            post_event(event)
    shop.thread.settle()
    assert shop.thread.unfinished() == []
    assert set(InboxEvent.objects.filter(type__startswith="refund").values_list("outcome", flat=True)) == {"ignored"}

    shop.run()  # the tester is left out no longer
    assert Invoice.objects.count() == 2
    assert_all_is_told()
    assert shop.differences() == []


def assert_all_is_told() -> None:
    for row in by_kind(Takeover.objects.get()):
        assert row.found == row.brought_in + row.history + row.left_out, row.kind


def test_calendars_add_ons_and_pauses_go_on_as_they_were(shop: Shop) -> None:
    """The month is of the calendar and began before the cut: its allowance of 10.00 is whole, as is each later one."""
    document = catalog(fee_minor=2000, included="10")
    terms = {**document["plans"][0]["versions"][0], "alignment": "calendar"}
    extra = {**terms, "fee_minor": 500, "included_amount": "1"}
    load_catalog({"plans": [
        {"code": "monthly", "name": "Monthly", "versions": [terms]},
        {"code": "extra", "name": "Extra", "is_add_on": True, "versions": [extra]},
    ]}, now=shop.thread.now)  # fmt: skip
    sync_catalog_to_stripe(now=shop.thread.now)
    prices = {one.plan.code: str(one.stripe_price_id) for one in PlanVersion.objects.select_related("plan")}
    for name, codes in (("both", ("monthly", "extra")), ("paused", ("monthly",)), ("resumed", ("monthly",))):
        shop.subscribe(name, *(prices[code] for code in codes))
    for name in ("paused", "resumed"):
        post(f"/v1/subscriptions/{shop.subscriptions[name]}", pause_collection={"behavior": "void"})
    shop.sandbox.advance(CUT + timedelta(hours=1))

    shop.run()
    held = PeriodAllowance.objects.values_list("period__subscription__customer__stripe_customer_id", "amount")
    assert sorted(held) == sorted([
        (shop.customers["both"], 10), (shop.customers["both"], 1),
        (shop.customers["paused"], None), (shop.customers["resumed"], None),
    ])  # fmt: skip
    post(f"/v1/subscriptions/{shop.subscriptions['resumed']}", pause_collection="")
    shop.thread.settle()
    for name in shop.customers:
        shop.thread.use(5_000_000, at=CUT + timedelta(days=2), customer_key=shop.customers[name])  # 15.00
    shop.sandbox.advance(NOVEMBER)
    shop.thread.settle()
    shop.sandbox.advance(NOVEMBER + timedelta(hours=3))
    shop.thread.settle()
    renewed = Invoice.objects.filter(billing_reason="subscription_cycle").exclude(status="void")
    totals = dict(renewed.values_list("customer__stripe_customer_id", "total_minor"))
    assert totals[shop.customers["both"]] == 2000 + 500 + 400
    assert shop.customers["paused"] not in totals
    assert shop.differences() == []


def test_what_was_renewed_or_cancelled_between_the_cut_and_the_run_is_billed_to_its_end(shop: Shop) -> None:
    """Who left used 6.00 in the five days that were ours, and gets 4.20 of the fee back; and then came again."""
    price = str(PlanVersion.objects.get().stripe_price_id)
    shop.subscribe("renewed", price)
    shop.subscribe("gone", price)
    shop.sandbox.advance(CUT + timedelta(days=5))
    gone = shop.subscriptions["gone"]
    gateway.request("delete", f"/v1/subscriptions/{gone}", {"invoice_now": True, "prorate": True})
    shop.sandbox.advance(CUT + timedelta(days=6))
    post("/v1/subscriptions", customer=shop.customers["gone"], items=[{"price": price}])
    shop.sandbox.advance(NOVEMBER + timedelta(hours=3))

    shop.run()
    for name in shop.customers:
        shop.thread.use(2_000_000, at=CUT + timedelta(days=1), customer_key=shop.customers[name])
    shop.thread.settle()
    carry_out_all(shop.thread)
    shop.sandbox.advance(NOVEMBER + timedelta(hours=6))
    assert shop.differences() == []
    rows = Invoice.objects.filter(taken_over="").order_by("total_minor", "customer__name")
    billed = rows.values_list("customer__name", "billing_reason", "total_minor")
    assert list(billed) == [
        ("Gone", "subscription_update", -420),
        ("Gone", "manual", 600),
        ("Gone", "subscription_create", 2000),
        ("Renewed", "subscription_cycle", 2000),  # Stripe had finalised it: the usage goes on the next
    ]
