"""
E-mails: written down with the fact they tell, sent by a task, each at most once.

The same words make the plain text and the HTML (templates/email/<text>.txt: the subject, then paragraphs apart by an
empty line). Amounts and days are written alike for every country: 20.00 USD, 2026-11-15. No card number, no secret.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import transaction
from django.db.models import F
from django.template.loader import render_to_string

from billing.customers.models import Customer
from billing.invoicing.rounding import from_minor
from billing.payments.recovery.models import Message, RecoveryCase

logger = logging.getLogger(__name__)
State = Message.State
TRY_AGAIN_AFTER = timedelta(minutes=5)
TRY_AGAIN_MAX = timedelta(hours=6)
ATTEMPTS_MAX = 50
_PARAGRAPHS = re.compile(r"\n\s*\n")
# Every text there is, and what the preview in the admin fills in.
TEXTS = {
    "payment_failed": "A payment failed",
    "reminder": "Reminder",
    "last_reminder": "Last reminder before service is restricted",
    "action_required": "The payment has to be confirmed",
    "restricted": "Service is restricted",
    "card_expires": "A card expires before the next charge",
    "dispute_deadline": "To finance: a dispute waits for evidence",
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """`body` is what `html` holds, to be shown within a page."""

    subject: str
    text: str
    html: str
    body: str


def invoice_context(
    *, name: str, number: str, amount_minor: int, currency: str, link: str, restricts_at: datetime | None
) -> dict[str, Any]:
    """What the texts about an invoice name."""
    return {
        "name": name,
        "number": number,
        "amount": plain_amount(amount_minor, currency),
        "link": link,
        "restricts_on": None if restricts_at is None else f"{restricts_at:%Y-%m-%d}",
    }


def plain_amount(amount_minor: int, currency: str) -> str:
    return f"{from_minor(amount_minor, currency):f} {currency}"


def tell(
    *,
    purpose: str,
    text: str,
    customer: Customer | None,
    case: RecoveryCase | None = None,
    to: str = "",
    context: Mapping[str, Any],
    now: datetime,
) -> Message | None:
    """Write down an e-mail, once for its purpose, in the transaction of the fact it tells. None without an address."""
    address = to or (customer.email if customer is not None else "")
    if not address:
        logger.warning("%s has nobody to be sent to", purpose)
        return None
    message, _ = Message.objects.get_or_create(
        purpose=purpose,
        defaults={
            "text": text,
            "customer": customer,
            "case": case,
            "to": address,
            "context": dict(context),
            "created_at": now,
            "next_attempt_at": now,
        },
    )
    return message


def render(text: str, context: Mapping[str, Any]) -> Rendered:
    """The subject, and the same words as plain text and as HTML. Raises TemplateDoesNotExist for an unknown text."""
    words = render_to_string(f"email/{text}.txt", dict(context)).strip()
    subject, _, rest = words.partition("\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in _PARAGRAPHS.split(rest.strip())]
    shown = {**context, "paragraphs": paragraphs, "subject": " ".join(subject.split())}
    body = render_to_string("email/body.html", shown)
    return Rendered(
        subject=str(shown["subject"]),
        text=render_to_string("email/frame.txt", shown).strip() + "\n",
        html=render_to_string("email/frame.html", {**shown, "body": body}),
        body=body,
    )


def sample_of(text: str) -> dict[str, Any]:
    """What the preview shows a text with: nobody's data."""
    context = invoice_context(
        name="Ada Lovelace",
        number="ADA-0042",
        amount_minor=12_345,
        currency="USD",
        link="https://invoice.example.com/i/42",
        restricts_at=datetime.fromisoformat("2026-11-15T00:00:00+00:00"),
    )
    if text == "card_expires":
        context |= {"card": "visa ending in 4242", "expires": "2026-11", "link": "", "charged_on": "2026-12-01"}
    if text == "dispute_deadline":
        context |= {"dispute": "dp_42", "respond_by": "2026-11-15 00:00 UTC", "reason": "product not received"}
    return context


def send_due(*, now: datetime, limit: int) -> int:
    """
    Send what waits; return how many were sent. Not inside a transaction.

    The mail server is reached first: without it nothing was handed over, and all wait for a later try. Then each is
    claimed, committed, and handed over. A worker that dies in between leaves it as `sending`, which nobody sends again.
    """
    waiting = Message.objects.filter(state=State.WAITING, next_attempt_at__lte=now).order_by("next_attempt_at", "pk")
    due = list(waiting[:limit])
    if not due:
        return 0
    mail = get_connection(fail_silently=False)
    try:
        mail.open()
    except OSError as error:
        _wait(due, f"{type(error).__name__}: {error}", now=now)
        return 0
    try:
        return sum(_send(message, mail, now=now) for message in due)
    finally:
        mail.close()


def _wait(due: list[Message], error: str, *, now: datetime) -> None:
    for message in due:
        wait = min(TRY_AGAIN_AFTER * 2 ** min(message.attempts, 10), TRY_AGAIN_MAX)
        changes: dict[str, Any] = {"attempts": F("attempts") + 1, "next_attempt_at": now + wait, "error": error[:500]}
        if message.attempts + 1 >= ATTEMPTS_MAX:
            changes["state"] = State.FAILED
        Message.objects.filter(pk=message.pk, state=State.WAITING).update(**changes)


def _send(message: Message, mail: Any, *, now: datetime) -> bool:
    with transaction.atomic(durable=True):
        ours = Message.objects.filter(pk=message.pk, state=State.WAITING)
        if not ours.update(state=State.SENDING, attempts=F("attempts") + 1):
            return False
    outcome: dict[str, Any]
    try:
        written = render(message.text, message.context)
        email = EmailMultiAlternatives(
            written.subject, written.text, settings.DEFAULT_FROM_EMAIL, [message.to], connection=mail
        )
        email.attach_alternative(written.html, "text/html")
        email.send()
        outcome = {"state": State.SENT, "sent_at": now, "error": ""}
    except Exception as error:
        logger.exception("e-mail %s was not sent", message.pk)
        outcome = {"state": State.FAILED, "error": f"{type(error).__name__}: {error}"[:500]}
    Message.objects.filter(pk=message.pk, state=State.SENDING).update(**outcome)
    return bool(outcome["state"] == State.SENT)
