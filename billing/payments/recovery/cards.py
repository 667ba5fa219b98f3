"""
Customers' cards as far as they concern us: which one is charged, and until when it is valid. No number is kept.

A payment method's own events bring its data, a customer's events which one pays: each fact has one writer, so the
order in which both arrive does not matter.
"""

from datetime import UTC, date, datetime
from typing import Any

from django.db import transaction
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import ExtractMonth, ExtractYear

from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.payments.recovery import messages
from billing.payments.recovery.models import Message, PaymentCard
from billing.subscriptions.models import BillingPeriod, Subscription

StripeDict = dict[str, Any]
CHARGED = (Subscription.Status.ACTIVE, Subscription.Status.TRIALING, Subscription.Status.PAST_DUE)


def project_card(payment_method: StripeDict, *, customer: Customer | None, now: datetime) -> PaymentCard | None:
    """
    Bring a card's row up to what Stripe says now. None for other ways to pay, and for cards of nobody here.

    A card that was taken off its customer names none any more: its row then says so. Needs a transaction.
    """
    card = payment_method.get("card")
    if customer is not None:
        # The card's own event and its customer's may be worked on at once, and the first of both makes the row.
        lock_customer(customer_id=customer.pk)
    known = PaymentCard.objects.select_for_update().filter(stripe_payment_method_id=payment_method["id"]).first()
    if not card or (known is None and customer is None):
        return None
    row = known or PaymentCard(stripe_payment_method_id=payment_method["id"], customer=customer)
    row.brand, row.last4 = str(card["brand"])[:40], str(card["last4"])
    row.exp_month, row.exp_year = card["exp_month"], card["exp_year"]
    row.projected_at = now
    is_theirs = customer is not None and customer.pk == row.customer_id
    row.detached_at = None if is_theirs else row.detached_at or now
    if not is_theirs:
        row.is_default = False
    row.save()
    return row


def project_default_card(customer: Customer, *, payment_method_id: str, now: datetime) -> None:
    """Which card pays what is charged automatically; "" for none. Needs a transaction."""
    lock_customer(customer_id=customer.pk)
    cards = PaymentCard.objects.filter(customer=customer)
    cards.filter(is_default=True).exclude(stripe_payment_method_id=payment_method_id).update(
        is_default=False, projected_at=now
    )
    cards.filter(stripe_payment_method_id=payment_method_id, detached_at=None, is_default=False).update(
        is_default=True, projected_at=now
    )


def valid_until(card: PaymentCard) -> datetime:
    """A card is good through the last day of its month (not included: the first instant after it, UTC)."""
    year, month = (card.exp_year + 1, 1) if card.exp_month == 12 else (card.exp_year, card.exp_month + 1)
    return datetime(year, month, 1, tzinfo=UTC)


def warn_of_expiry(*, now: datetime) -> int:
    """
    Tell those whose card ends before their next charge, once a month for each card; return how many were told now.

    The next charge is when the open period of a live subscription ends. A card that its bank renewed in between is
    not told of: the row then has the new date.
    """
    periods = BillingPeriod.objects.filter(state="open", ends_at__gt=now, subscription__status__in=CHARGED)
    of_customer = periods.filter(subscription__customer=OuterRef("customer")).order_by("ends_at")
    cards = PaymentCard.objects.filter(is_default=True, detached_at=None).annotate(
        charged_at=Subquery(of_customer.values("ends_at")[:1])
    )
    # As `valid_until` counts, in months; few cards end before their next charge, and only those are read.
    charged_in = ExtractYear("charged_at", tzinfo=UTC) * 12 + ExtractMonth("charged_at", tzinfo=UTC)
    ending = cards.alias(charged_in=charged_in).filter(charged_in__gt=F("exp_year") * 12 + F("exp_month"))
    told = 0
    for card in ending.select_related("customer").order_by("pk"):
        told += _tell(card, charged_at=card.charged_at, now=now)
    return told


def _tell(card: PaymentCard, *, charged_at: datetime, now: datetime) -> bool:
    month = date(now.year, now.month, 1)
    purpose = f"card:{card.pk}:{card.exp_year}-{card.exp_month:02}:{month:%Y-%m}"
    if Message.objects.filter(purpose=purpose).exists():
        return False
    with transaction.atomic():
        told = messages.tell(
            purpose=purpose,
            text="card_expires",
            customer=card.customer,
            context={
                "name": card.customer.name,
                "card": f"{card.brand} ending in {card.last4}",
                "expires": f"{card.exp_year}-{card.exp_month:02}",
                "charged_on": f"{charged_at:%Y-%m-%d}",
            },
            now=now,
        )
    return told is not None


def default_card_of(customer_id: int) -> str:
    """Stripe's id of the card that pays, as our row says; "" for none."""
    found = PaymentCard.objects.filter(customer_id=customer_id, is_default=True)
    return found.values_list("stripe_payment_method_id", flat=True).first() or ""
