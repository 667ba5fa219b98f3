"""Stories of money told at the sandbox: what somebody does there, and what the books then say."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from billing.customers.models import Customer
from billing.invoicing.models import Invoice
from billing.payments.models import Payment
from billing.reconciliation.operations import reconcile
from billing.stripe import gateway
from tests.billing.accounting.documents import balances
from tests.billing.thread import SECOND_MONTH, Thread

__all__ = ["amounts_of", "balances", "post"]
StripeDict = dict[str, Any]
HAND_DECLINED = "pm_card_chargeCustomerFail"


def post(path: str, **params: Any) -> StripeDict:
    """Somebody does this at Stripe."""
    return gateway.request("post", path, params).data


def amounts_of(text: str) -> dict[str, Decimal]:
    """Balances written as a table: one account and its amount on a line."""
    rows = (line.split() for line in text.strip().splitlines())
    return {account: Decimal(amount.replace(",", "")).normalize() for account, amount in rows}


def subscribed(thread: Thread, card: str = "pm_card_visa") -> Payment:
    """Ada pays her first month, 20.00: Stripe keeps 0.88."""
    thread.subscribe(card=card)
    thread.settle()
    return Payment.objects.get()


def invoice_left_open(thread: Thread) -> Invoice:
    """Ada's first month is paid; her card is declined for the second: an open invoice of 20.00."""
    subscribed(thread)
    thread.use_card("ada", HAND_DECLINED)
    thread.sandbox.advance(SECOND_MONTH + timedelta(hours=2))
    thread.settle()
    return Invoice.objects.get(status=Invoice.Status.OPEN)


def payment_of(customer: Customer, amount_minor: int, *, currency: str = "usd", card: str = "pm_card_visa") -> str:
    """A payment that no invoice asks for; Stripe's id of the payment intent."""
    made = post(
        "/v1/payment_intents",
        amount=amount_minor,
        currency=currency,
        customer=customer.stripe_customer_id,
        payment_method=card,
        confirm=True,
        payment_method_types=["card"],
    )
    return str(made["id"])


def days_pass(thread: Thread, days: int) -> None:
    thread.sandbox.advance(datetime.fromtimestamp(thread.sandbox.now(), tz=UTC) + timedelta(days=days))
    thread.settle()


def discrepancies(thread: Thread, *, days_later: int = 0) -> list[tuple[str, str, str, str]]:
    """What reconciliation finds over all the time of the story, seen so many days after the sandbox's present."""
    until = datetime.fromtimestamp(thread.sandbox.now(), tz=UTC) + timedelta(days=days_later, seconds=1)
    run = reconcile(
        range_start=datetime(2026, 9, 1, tzinfo=UTC), range_end=until, now=max(thread.now, until), actor="user:tester"
    )
    found = run.discrepancies.order_by("id")
    return [(one.check_code, one.subject, one.left_value, one.right_value) for one in found]
