"""What the page of one write to Stripe shows: its story, what was asked for, what it belongs to."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from billing.admin_links import page_url
from billing.customers.models import Customer
from billing.invoicing.models import CreditNote, Invoice, InvoiceClose
from billing.stripe import redriving
from billing.stripe.dashboard import object_url
from billing.stripe.models import OutboxAttempt, OutboxIntent
from billing.stripe.redriving import Way
from billing.subscriptions.models import Subscription

Outcome = OutboxAttempt.Outcome
State = OutboxIntent.State
_TONES = {
    Outcome.SUCCEEDED: "good",
    Outcome.FOUND: "good",
    Outcome.COMPARED: "good",
    Outcome.REFUSED: "bad",
    Outcome.FORBIDDEN: "bad",
    Outcome.UNAVAILABLE: "waiting",
    Outcome.DIFFERS: "waiting",
}
_SENT = frozenset({Outcome.SUCCEEDED, Outcome.REFUSED, Outcome.UNAVAILABLE, Outcome.FORBIDDEN})
# Names whose values are nobody's business: card data, bank accounts, secrets, how to log in.
_NEVER_SHOWN = frozenset({"account_number", "card", "cvc", "iban", "password", "routing_number", "secret", "token"})
_NEVER_SHOWN_ENDINGS = ("_password", "_secret", "_token")
HIDDEN = "(not shown)"
# Where an object of each kind is in Stripe's dashboard.
_SECTIONS = {
    "cn_": "credit_notes",
    "cus_": "customers",
    "in_": "invoices",
    "pi_": "payments",
    "po_": "payouts",
    "price_": "prices",
    "prod_": "products",
    "re_": "refunds",
    "sub_": "subscriptions",
}
_LABELS = {
    Way.SAME_KEY: "Send again",
    Way.LOOK_THEN_SEND: "Look, then send again",
    Way.LOOK_THEN_NEW_KEY: "Look, then send again",
    Way.OVERWRITE: "Compare, then send again",
    Way.COMPARE: "Compare with Stripe",
}


@dataclass(frozen=True, slots=True)
class Told:
    """One step of an intent's story. `tone` is the colour of its dot: good, waiting, bad or plain."""

    at: datetime
    what: str
    details: tuple[str, ...]
    request_id: str = ""
    request_url: str = ""
    tone: str = "plain"


@dataclass(frozen=True, slots=True)
class Belongs:
    """A row of ours that the write is about, and where it is shown."""

    what: str
    name: str
    url: str


def story(intent: OutboxIntent) -> list[Told]:
    """What happened with the intent, newest first."""
    tries = list(intent.tries.all())
    told = [Told(intent.created_at, "Intended", ("Committed before anything was sent.",))]
    told += [_told(one) for one in tries]
    unanswered = intent.attempts - sum(one.outcome in _SENT for one in tries)
    if intent.sending_since is not None and unanswered > 0 and intent.state == State.INTENDED:
        told.append(Told(intent.sending_since, "Sent; no outcome recorded yet", (), tone="waiting"))
    return told[::-1]


def _told(one: OutboxAttempt) -> Told:
    details = [one.error] if one.error else []
    if one.reason:
        details.append(f"Because: {one.reason}")
    how = [f"by {one.actor.partition(':')[2]}"]
    if one.http_status:
        how.append(f"HTTP {one.http_status}")
    if one.milliseconds:
        how.append(f"{one.milliseconds:,} ms")
    if one.generation:
        how.append(f"key no. {one.generation + 1}")
    return Told(
        at=one.at,
        what=one.get_outcome_display(),
        details=(*details, ", ".join(how)),
        request_id=one.request_id,
        request_url=object_url("logs", one.request_id),
        tone=_TONES.get(Outcome(one.outcome), "plain"),
    )


def request_text(intent: OutboxIntent) -> str:
    """What was asked for as a JSON text, without what is nobody's business."""
    return json.dumps(without_secrets(intent.params), indent=2, sort_keys=True, ensure_ascii=False)


def without_secrets(value: Any) -> Any:
    """The same document with secrets and with card and bank data replaced, whole groups of them at once."""
    if isinstance(value, dict):
        return {name: HIDDEN if _is_secret(name) else without_secrets(part) for name, part in value.items()}
    return [without_secrets(part) for part in value] if isinstance(value, list) else value


def _is_secret(name: str) -> bool:
    return name.lower() in _NEVER_SHOWN or name.lower().endswith(_NEVER_SHOWN_ENDINGS)


def object_at_stripe(stripe_id: str) -> str:
    """Address of the object in Stripe's dashboard; nothing where it has none."""
    section = next((section for prefix, section in _SECTIONS.items() if stripe_id.startswith(prefix)), None)
    return object_url(section, stripe_id) if section else ""


def belongs_to(intent: OutboxIntent) -> list[Belongs]:
    """Our rows that the intent names: by its purpose, and by the ids of Stripe's in it."""
    found: list[Belongs] = []
    parts = intent.purpose.split(":")
    if parts[0] == "close" and len(parts) > 1 and parts[1].isdecimal():
        close = InvoiceClose.objects.select_related("invoice").filter(pk=int(parts[1])).first()
        if close is not None:
            found.append(Belongs("Close", str(close), page_url("billing.invoiceclose", close.pk)))
    ids = {intent.target, intent.stripe_object_id}
    ids |= {str(intent.params.get(name) or "") for name in ("customer", "invoice", "subscription")}
    ids.discard("")
    rows: tuple[tuple[str, str, QuerySet[Any]], ...] = (
        ("Invoice", "billing.invoice", Invoice.objects.filter(stripe_invoice_id__in=ids)),
        ("Credit note", "billing.creditnote", CreditNote.objects.filter(stripe_credit_note_id__in=ids)),
        ("Subscription", "billing.subscription", Subscription.objects.filter(stripe_subscription_id__in=ids)),
        ("Customer", "billing.customer", Customer.objects.filter(stripe_customer_id__in=ids)),
    )
    found += [Belongs(what, str(row), page_url(model, row.pk)) for what, model, named in rows for row in named]
    return found


def buttons(intent: OutboxIntent, *, now: datetime) -> list[tuple[str, str, str]]:
    """What a person may do with it: the verb, what the button says, and its tone."""
    way = redriving.way_of(intent, now=now)
    found = []
    if way is not Way.NOTHING:
        tone = "bb-danger" if way is Way.OVERWRITE else "" if way is Way.COMPARE else "bb-primary"
        found.append(("redrive", _LABELS[way], tone))
    if intent.state in (State.INTENDED, State.REFUSED):
        found.append(("abandon", "Abandon", ""))
    return found


def sections(intent: OutboxIntent, *, may_redrive: bool, now: datetime) -> dict[str, Any]:
    """What the template of one intent's page shows."""
    way = redriving.way_of(intent, now=now)
    return {
        "intent": intent,
        "story": story(intent),
        "request_text": request_text(intent),
        "object_url": object_at_stripe(intent.stripe_object_id),
        "target_url": object_at_stripe(intent.target),
        "belongs_to": belongs_to(intent),
        "buttons": buttons(intent, now=now) if may_redrive else [],
        "needs_person": way is Way.OVERWRITE and intent.state == State.INTENDED,
    }
