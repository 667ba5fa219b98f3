"""A company that bills through Stripe already is taken over, and its books agree: then, and after the next renewal."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse

from billing.invoicing.models import Invoice
from billing.reconciliation.operations import reconcile
from billing.stripe import gateway
from billing.stripe.poll import fetch_missed_balance_transactions
from billing.subscriptions.models import Subscription
from billing.takeover.checking import check_takeover
from billing.takeover.document import MapInvalid, read_map
from billing.takeover.models import OpeningEntry, TakenOver, Takeover, TakeoverCheck
from billing.takeover.operations import TakeoverRefused, plan_takeover, run_takeover
from billing.takeover.queries import by_kind
from tests.billing.takeover.account import BEGINNING, CUT, Account, post
from tests.billing.thread import CLIENT, Crash, Crasher
from tests.sandbox.client import SandboxProcess

ACTOR = "user:finance"
CRASHES = 3
# Of acme and bo; and dee's trial ends. Stripe finalises a draft an hour later.
RENEWAL = datetime(2026, 10, 20, 10, tzinfo=UTC)
AFTER_RENEWAL = datetime(2026, 10, 20, 14, tzinfo=UTC)


@pytest.fixture
def account(committed_db: None, at_sandbox: SandboxProcess) -> Account:
    return Account(at_sandbox)


def differences(account: Account, *, until: datetime) -> list[str]:
    """What reconciliation and the takeover's own check find apart, once all events and movements are in."""
    account.thread.settle()
    fetch_missed_balance_transactions(now=account.thread.now)
    now = account.thread.now
    run = reconcile(range_start=BEGINNING, range_end=until, now=now, actor=ACTOR)
    found = [
        f"{one.check_code}: {one.subject}: {one.left_value} / {one.right_value}" for one in run.discrepancies.all()
    ]
    return found + [str(one) for one in check_takeover(actor=ACTOR, now=now).differences]


def test_an_account_is_taken_over_and_its_books_agree_then_and_later(account: Account, tmp_path: Path) -> None:
    thread = account.thread
    with pytest.raises(TakeoverRefused, match="say run first"):
        check_takeover(actor=ACTOR, now=thread.now)
    unmapped = plan_takeover(by=read_map("currency: USD"), as_of=CUT, now=thread.now)
    (problem,) = unmapped.problems
    assert problem.stripe_id == account.subscriptions["acme"]
    assert problem.what == f"its price {account.team_price} is no version of ours"
    assert problem.remedy.startswith(f"name it in the map: prices.{account.team_price}, or leave the customer out")
    with pytest.raises(TakeoverRefused, match="1 thing is undecided"):
        run_takeover(by=read_map("currency: USD"), as_of=CUT, actor=ACTOR, clock=lambda: thread.now)
    assert not Takeover.objects.exists()

    plan = plan_takeover(by=account.map, as_of=CUT, now=thread.now)
    assert (plan.problems, len(plan.decided.customers), len(plan.decided.subscriptions)) == ([], 11, 4)
    change_between_plan_and_run(account)
    run_broken_off_and_again(account, tmp_path)

    assert opening(account) == {
        # 20 for cy, 50 of fay's of which 25 went back, 45 and 20 of subscribers, 9 of the tester, 30 of kim's that the
        # bank holds back; less fees and payout.
        "stripe:clearing": Decimal("87.15"),
        "payout:in_transit": Decimal(10),
        "disputes": Decimal(30),
        "balance:hal": Decimal(7),
        "balance:joy": Decimal("-2.5"),
    }
    assert differences(account, until=CUT + timedelta(hours=2)) == []
    assert thread.balances("cyan")["receivable"] == 20  # the renewal nobody paid
    assert thread.balances(account.ids["ina"])["receivable"] == 7  # 3 of its 10 came from the balance
    assert "receivable" not in thread.balances(account.ids["gus"])
    assert thread.balances("acme")["bad_debt"] == 25
    assert terms("acme") == ("team", 3, "active")
    assert terms("cyan") == ("pro", 1, "past_due")
    assert terms(account.ids["dee"]) == ("pro", 1, "trialing")
    assert Invoice.objects.get(stripe_invoice_id=account.invoices["fay"]).taken_over == "settled"
    assert TakenOver.objects.get(kind="customer", outcome="left_out").reason == "our own tests"
    for row in by_kind(Takeover.objects.get()):
        assert row.found == row.brought_in + row.history + row.left_out, row.kind

    thread.use(1_000_000, at=CUT - timedelta(hours=1), customer_key=account.ids["bo"])  # billed elsewhere
    thread.use(2_000_000, at=CUT + timedelta(days=1), customer_key=account.ids["bo"])
    assert "0 differences" in commanded("check", account, tmp_path)
    account.sandbox.advance(RENEWAL)
    thread.settle()
    account.sandbox.advance(AFTER_RENEWAL)
    after_the_renewal(account)
    assert differences(account, until=AFTER_RENEWAL + timedelta(hours=1)) == []
    renewed = Invoice.objects.get(customer__stripe_customer_id=account.ids["bo"], billing_reason="subscription_cycle")
    assert (renewed.taken_over, renewed.status, renewed.total_minor) == ("", "paid", 2600)  # 20 and 2 x 3
    assert thread.balances(account.ids["ina"])["balance"] == 3  # what the void gave back
    assert "receivable" not in thread.balances(account.ids["ina"])
    assert thread.balances("acme")["contra:refunds"] == 25  # 5 between plan and run, 20 now; not what went back before
    assert thread.balances("acme")["bad_debt"] == 55  # gus, and kim's dispute, which was lost after the cut
    # What was open or held at the cut, 218.65 in all, less 10 that ina never owed, and the 6 of bo's draft.
    assert thread.balances("acme")["opening"] == Decimal("214.65")
    assert_pages_show_it(account)


def assert_pages_show_it(account: Account) -> None:
    """The page has the figures, each a link to what it is made of; the other pages open."""
    client = CLIENT
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(reverse("admin:billing_takeover_change", args=[1])).content.decode()
    for text in (
        "10 Oct 2026",
        "All equal",
        "$87.15",
        "$214.65",
        "outcome__exact=left_out",
        f"{account.team_price} = team",
    ):
        assert text in page, text
    for model in (TakenOver, OpeningEntry, TakeoverCheck):
        name = f"admin:billing_{model._meta.model_name}"
        newest = model._default_manager.order_by("-pk")[0]
        for address in (reverse(f"{name}_changelist"), reverse(f"{name}_change", args=[newest.pk])):
            assert client.get(address).status_code == 200
    client.logout()


def change_between_plan_and_run(account: Account) -> None:
    """Eve pays, and fay gets 5 more back, after the cut and before anybody ran anything."""
    account.sandbox.advance(CUT + timedelta(hours=1))
    account.use_card("eve", "pm_card_visa")
    post(f"/v1/invoices/{account.invoices['eve']}/pay")
    post("/v1/refunds", payment_intent=account.paid_by("fay"), amount=500)
    (dispute,) = gateway.listed("/v1/disputes")
    post(f"/v1/disputes/{dispute['id']}", evidence={"uncategorized_text": "losing_evidence"}, submit=True)


def commanded(what: str, account: Account, written_to: Path) -> str:
    """What the command says, with the map in a file. Raises SystemExit where something is open."""
    written_to.joinpath("map.yaml").write_text(account.map_text)
    said = StringIO()
    call_command("stripe_takeover", what, "--map", str(written_to / "map.yaml"), stdout=said)
    return said.getvalue()


def run_broken_off_and_again(account: Account, written_to: Path) -> None:
    """The process dies at statements chosen by chance, is interrupted, and is said once more when all is done."""
    now = account.thread.now
    crasher = Crasher(random.Random(7), statements_max=300, crashes_max=CRASHES)
    done = None
    while done is None:
        try:
            with connection.execute_wrapper(crasher):
                done = run_takeover(by=account.map, as_of=CUT, actor=ACTOR, clock=lambda: now)
        except Crash:
            connection.close()
    assert crasher.crashes == CRASHES
    kept = (TakenOver.objects.count(), OpeningEntry.objects.count(), ledger_size())
    assert "nothing that was not here" in commanded("run", account, written_to)
    assert "11 customers with 4 subscriptions" in commanded("plan", account, written_to)
    assert (TakenOver.objects.count(), OpeningEntry.objects.count(), ledger_size()) == kept
    assert run_takeover(by=account.map, as_of=None, actor=ACTOR, clock=lambda: now, is_interrupted=lambda: True) is None
    with pytest.raises(TakeoverRefused, match="cannot be moved"):
        run_takeover(by=account.map, as_of=CUT + timedelta(hours=1), actor=ACTOR, clock=lambda: now)


def after_the_renewal(account: Account) -> None:
    """Cy pays at last, fay gets 20 more back, ina's invoice is void."""
    account.use_card("cy", "pm_card_visa")
    owed = Invoice.objects.get(customer__customer_key="cyan", status="open")
    post(f"/v1/invoices/{owed.stripe_invoice_id}/pay")
    post("/v1/refunds", payment_intent=account.paid_by("fay"), amount=2000)
    post(f"/v1/invoices/{account.invoices['ina']}/void")
    post(f"/v1/invoices/{account.invoices['bo']}/pay")  # a draft at the cut


def opening(account: Account) -> dict[str, Decimal]:
    """The opening entries that are not of invoices, by account and customer."""
    names = {stripe_id: name for name, stripe_id in account.ids.items()}
    rows = OpeningEntry.objects.all()
    return {
        ":".join(filter(None, (row.account_kind, names.get(row.stripe_id, "")))): Decimal(row.debit_minor) / 100
        for row in rows
    }


def terms(customer_key: str) -> tuple[str, int, str]:
    row = Subscription.objects.select_related("plan_version__plan").get(customer__customer_key=customer_key)
    return row.plan_version.plan.code, row.seats, row.status


def ledger_size() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ledger_posting")
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("price: {}", "price is not known here"),
        ("currency: usd", "ISO 4217"),
        ("prices: {price_1: pro}", "prices.price_1 must name a version"),
        ("leave_out: {cus_1: ''}", "leave_out.cus_1 must say why"),
        ("prices: [price_1]", "prices must be a mapping"),
    ],
)
def test_a_map_that_cannot_be_used_names_the_field(text: str, why: str) -> None:
    with pytest.raises(MapInvalid, match=why):
        read_map(text)


@pytest.mark.django_db
@pytest.mark.parametrize("arguments", [["--map", "/nowhere/map.yaml"], ["--as-of", "2999-01-01"]])
def test_the_command_refuses_bad_input_in_one_line(arguments: list[str]) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("stripe_takeover", "plan", *arguments)
    assert (refused.value.returncode, "\n" in str(refused.value)) == (2, False)
