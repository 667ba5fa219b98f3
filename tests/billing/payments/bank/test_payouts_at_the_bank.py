"""From a line of the bank down to the customers' charges: sandbox payouts through the ordinary projection."""

import base64
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.test import Client
from django.urls import reverse

from billing.admin_links import list_url, page_url
from billing.payments.bank.composition import composition_of
from billing.payments.bank.matches import match_by_rule
from billing.payments.bank.models import BankLine, BankMatch, PayoutMovement
from billing.payments.bank.showing import comparison_of
from billing.payments.models import Payout
from billing.payments.payouts import project_payout
from billing.stripe import gateway
from tests.billing.accounting.people import FIONA, SAM, hire, user_of
from tests.billing.accounting.stripe_story import days_pass, discrepancies, post, subscribed
from tests.billing.payments.bank.importing import content, take
from tests.billing.thread import Thread

AVAILABLE = "pm_card_bypassPending"
RULES = {
    "account": "Main",
    "columns": "booked=Date\namount=Amount\nreference=Text",
    "date_format": "YYYY-MM-DD",
    "decimal": "point",
    "delimiter": "comma",
    "encoding": "utf-8",
    "header_line": "1",
}


def client_of(actor: str) -> Client:
    client = Client()
    client.force_login(user_of(actor))
    return client


def bank_says(found: list[tuple[str, str, str, str]]) -> list[tuple[str, str, str]]:
    return [(subject, left, right) for check, subject, left, right in found if check == "bank_lines"]


def test_a_line_leads_to_the_charge_it_is_made_of(thread: Thread) -> None:
    hire()
    post("/v1/balance_settings", payments={"payouts": {"schedule": {"interval": "daily"}}})
    subscribed(thread, AVAILABLE)
    for _ in range(4):
        days_pass(thread, 1)
    payout = Payout.objects.get()
    composed = composition_of(payout)
    [part] = composed.parts
    assert (payout.status, composed.net_minor, payout.trace_id != "") == ("paid", payout.amount_minor, True)
    assert part.payment is not None
    assert (part.payment.customer.customer_key, part.movement.fee_minor) == ("ada", 88)
    thread.redeliver_everything()
    assert PayoutMovement.objects.count() == 1

    # Not asked of a bank whose statements begin later, nor before some days have passed.
    day = payout.expected_at.date()
    assert bank_says(discrepancies(thread, days_later=30)) == []
    take(f"{day - timedelta(days=1)},7.00,rent")
    assert bank_says(discrepancies(thread)) == []
    [late] = bank_says(discrepancies(thread, days_later=30))
    assert late == (f"payout {payout} arrived {day}", "19.12", "none")

    _import_by_page(payout, f"{day},19.12,STRIPE {payout.trace_id}\n{day},3.00,STRIPE what is this\n")
    match = BankMatch.objects.get()
    assert (match.kind, match.payouts.get().payout) == ("exact", payout)
    stray = BankLine.objects.get(amount_minor=300)
    assert bank_says(discrepancies(thread, days_later=30)) == [(f"{stray} of Main, {day}", "3", "none")]
    compared = comparison_of("USD", since=day - timedelta(days=1))
    assert (compared.lines_minor, compared.ledger, compared.difference) == (1912, Decimal("19.12"), 0)
    _pages(payout, stray, match)
    assert bank_says(discrepancies(thread, days_later=30)) == []


def _import_by_page(payout: Payout, lines: str) -> None:
    """A look first; what is confirmed is what was seen."""
    finance, address = client_of(FIONA), reverse("admin:billing_bankstatement_import")
    assert client_of(SAM).get(address).status_code == 403
    assert finance.get(address).status_code == 200
    file = content(*lines.split())  # every word a line: wrong
    wrong = finance.post(address, {**RULES, "content": base64.b64encode(file).decode()})
    assert (wrong.status_code, "line 3: " in wrong.content.decode()) == (422, True)
    good = base64.b64encode(content(*lines.splitlines())).decode()
    looked = finance.post(address, {**RULES, "content": good, "file_name": "october.csv"})
    assert "Keep 2 new lines" in looked.content.decode()
    assert "imported before" not in looked.content.decode()
    assert BankLine.objects.count() == 1
    finance.post(address, {**RULES, "content": good, "file_name": "october.csv", "confirmed": "yes"})
    assert BankLine.objects.count() == 3


def _pages(payout: Payout, stray: BankLine, match: BankMatch) -> None:
    finance = client_of(FIONA)

    def shown(address: str, *words: str) -> None:
        text = finance.get(address).content.decode()
        assert [word for word in words if word not in text] == [], address

    shown(page_url("billing.payout", payout.pk), "Ada", "What it is made of", "Σ, the payout", payout.trace_id)
    shown(page_url("billing.bankaccount", stray.account_id), "Every payout that arrived has its line", "$19.12")
    shown(page_url("billing.bankline", stray.pk), "Stripe's, and waits", "Match with payouts")
    shown(page_url("billing.bankstatement", stray.statement_id), "booked from Date")
    shown(page_url("billing.bankmatch", match.pk), "Undo", "trace id")
    for state, reference in (("matched", payout.trace_id), ("waiting", "what is this"), ("other", "rent")):
        listed = finance.get(list_url("billing.bankline", state=state)).context["cl"].result_list
        assert [reference in line.reference for line in listed] == [True], state
    undone = finance.post(reverse("admin:billing_bankmatch_undo", args=[match.pk]), {"reason": "not sure"})
    assert undone.status_code == 302
    shown(list_url("billing.payout", at_bank="missing"), str(payout))
    shown(page_url("billing.payout", payout.pk), f"arrived {payout.expected_at:%d %b %Y}: no line so far")
    by_hand = reverse("admin:billing_bankmatch_payout", args=[payout.pk, "arrived"])
    line = str(match.lines.get().line_id)
    given: dict[str, Any] = {"chosen": line, "reason": "it is"}
    assert "Match them" in finance.post(by_hand, given).content.decode()
    assert finance.post(by_hand, {**given, "difference": "0", "confirmed": "yes"}).status_code == 302
    assert BankMatch.objects.filter(kind="by_hand", undoing=None).count() == 1
    shown(page_url("billing.bankline", int(line)), "A payout", "not sure")
    finance.post(reverse("admin:billing_bankline_not_ours", args=[stray.pk]), {"reason": "a gift card"})
    shown(page_url("billing.bankline", stray.pk), "It is not Stripe's", "a gift card")
    shown(reverse("admin:billing_bankmatch_line", args=[stray.pk]), "there is no payout without a line")
    told = {"amount_minor": 700, "currency": "USD", "is_automatic": True, "expected_at": payout.expected_at}
    told |= {"occurred_at": payout.occurred_at, "projected_at": payout.projected_at}
    coming = Payout.objects.create(stripe_payout_id="po_coming", status="in_transit", **told)
    shown(page_url("billing.payout", coming.pk), f"expected {payout.expected_at:%d %b %Y}: no line so far")


def test_one_that_failed_after_it_arrived_needs_a_line_in_and_a_line_out(thread: Thread) -> None:
    hire()
    subscribed(thread, AVAILABLE)
    payout_id = post("/v1/payouts", amount=1912, currency="usd", statement_descriptor="BORING BILLING")["id"]
    thread.settle()
    days_pass(thread, 2)
    paid = gateway.retrieve(f"/v1/payouts/{payout_id}", expand=("balance_transaction",))
    back = {**paid["balance_transaction"], "id": "txn_back", "type": "payout_failure", "amount": 1912, "net": 1912}
    back |= {"reporting_category": "payout_reversal", "source": payout_id}
    failed = {**paid, "status": "failed", "failure_balance_transaction": back, "failure_code": "account_closed"}
    with transaction.atomic():
        payout = project_payout(failed, now=thread.now)
    assert payout.returned_at is not None
    there, gone = payout.expected_at.date(), payout.returned_at.date()

    take(f"{there},19.12,boring billing 42")
    match_by_rule(currency="USD", now=thread.now)
    [missing] = bank_says(discrepancies(thread, days_later=30))
    assert missing == (f"payout {payout} went back {gone}", "-19.12", "none")

    take(f"{gone},-19.12,Boring Billing returned")
    match_by_rule(currency="USD", now=thread.now)
    assert bank_says(discrepancies(thread, days_later=30)) == []
    assert sorted(BankMatch.objects.values_list("payouts__leg", "lines__line__amount_minor")) == [
        ("arrived", 1912),
        ("returned", -1912),
    ]
    assert comparison_of("USD", since=there).difference == 0
