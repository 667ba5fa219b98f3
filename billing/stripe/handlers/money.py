"""Events of money at Stripe: payments with their refunds and disputes, payouts, other movements on our balance."""

from datetime import datetime

from billing.customers.models import Customer
from billing.invoicing.models import Invoice
from billing.payments import queries as payments_queries
from billing.payments.bank.composition import is_composition_known, record_composition
from billing.payments.disputes import project_disputes
from billing.payments.models import Payment
from billing.payments.operations import project_payment, record_balance_transactions
from billing.payments.payouts import project_payout
from billing.payments.recovery.cards import project_card
from billing.payments.recovery.operations import follow_payment
from billing.payments.refunds import cover_refunds, project_refunds
from billing.stripe import gateway, readers
from billing.stripe.errors import NotYetKnown
from billing.stripe.gateway import StripeDict
from billing.stripe.handlers import Work, nothing
from billing.stripe.inbox import Claim, is_thin
from billing.stripe.readers import id_of

MOVEMENTS = ("balance_transaction", "failure_balance_transaction")
# Where an object is found that belongs to no payment intent.
_PATHS = {"charge": "/v1/charges/{id}", "refund": "/v1/refunds/{id}", "dispute": "/v1/disputes/{id}"}


def payment(claim: Claim, now: datetime) -> Work:
    """
    All that happens around one payment intent: its own events, its charges', refunds' and disputes', and its part of an
    invoice. They queue up behind its id (inbox.subject_of), so their order among each other does not matter.
    """
    if not claim.object_id.startswith("pi_"):
        return _movements_only(claim, now)
    known = payments_queries.payment_of(claim.object_id)
    if known is not None and not claim.must_fetch and _is_settled(known, claim):
        return nothing
    fetched = readers.payment_intent_with_charge(claim.object_id)
    invoice_id = _invoice_paid_by(claim, known)
    invoice = Invoice.objects.select_related("customer").filter(stripe_invoice_id=invoice_id or None).first()
    customer = Customer.objects.filter(stripe_customer_id=id_of(fetched.get("customer")) or None).first()
    customer = customer or (invoice.customer if invoice is not None else None)
    if customer is None or (invoice_id and invoice is None):
        theirs = id_of(fetched.get("customer"))
        raise NotYetKnown(f"customer {theirs or None} or invoice {invoice_id} is not known here", customer=theirs)
    refunds = _refunds(fetched["id"]) if _may_have(claim, "refund", known, fetched) else []
    notes = list(gateway.listed("/v1/credit_notes", invoice=invoice_id)) if refunds and invoice_id else []
    is_disputed = _may_have(claim, "dispute", known, fetched)
    disputes = list(gateway.listed("/v1/disputes", payment_intent=fetched["id"])) if is_disputed else []
    closed_at = _closed_at(claim)

    def work() -> None:
        projected = project_payment(fetched, customer=customer, invoice=invoice, now=now)
        for note in notes:
            cover_refunds(note["refunds"], credit_note_id=note["id"], now=now)
        if projected is not None and refunds:
            project_refunds(refunds, payment=projected, now=now)
        if projected is not None and disputes:
            project_disputes(disputes, payment=projected, closed_at=closed_at, now=now)
        if projected is not None:
            follow_payment(projected, now=now)

    return work


def payment_method(claim: Claim, now: datetime) -> Work:
    """A customer's card, for its expiry. What else there is about a way to pay is Stripe's."""
    fetched = gateway.retrieve(f"/v1/payment_methods/{claim.object_id}")
    customer = Customer.objects.filter(stripe_customer_id=id_of(fetched.get("customer")) or None).first()

    def work() -> None:
        project_card(fetched, customer=customer, now=now)

    return work


def payout(claim: Claim, now: datetime) -> Work:
    """A payout, from the balance at Stripe to the bank, or back."""
    fetched = gateway.retrieve(f"/v1/payouts/{claim.object_id}", expand=MOVEMENTS)
    # Stripe tells what it is made of of its own payouts only, and once it has sorted that out.
    is_listed = fetched["automatic"] and fetched.get("reconciliation_status") == "completed"
    paid_out: list[StripeDict] = []
    if is_listed and not is_composition_known(claim.object_id):
        listed = gateway.listed("/v1/balance_transactions", payout=claim.object_id, expand=["data.source"])
        paid_out = list(listed)

    def work() -> None:
        projected = project_payout(fetched, now=now)
        record_composition(paid_out, payout=projected, now=now)

    return work


def movement(claim: Claim, now: datetime) -> Work:
    """A movement on our balance that could not be entered when it was polled (billing.stripe.poll)."""
    fetched = readers.with_source(gateway.retrieve(f"/v1/balance_transactions/{claim.object_id}"))

    def work() -> None:
        record_balance_transactions([fetched], now=now)

    return work


def _is_settled(payment: Payment, claim: Claim) -> bool:
    """A payment that succeeded and whose movement on our balance is in the books has nothing left to say of itself."""
    kinds = {snapshot.get("object") for snapshot in claim.snapshots}
    has_news = bool(kinds & {"refund", "dispute"}) or (payment.invoice_id is None and "invoice_payment" in kinds)
    is_in_the_books = payment.status == Payment.Status.SUCCEEDED
    return is_in_the_books and not has_news and payments_queries.is_on_balance(payment.stripe_charge_id)


def _invoice_paid_by(claim: Claim, known: Payment | None) -> str:
    if known is not None and known.invoice is not None:
        return known.invoice.stripe_invoice_id
    for snapshot in claim.snapshots:
        if snapshot.get("object") == "invoice_payment":
            return id_of(snapshot["invoice"])  # the link never changes, so the event may tell it
    return readers.invoice_of_payment_intent(claim.object_id)


def _may_have(claim: Claim, noun: str, known: Payment | None, payment_intent: StripeDict) -> bool:
    """Whether to ask for its refunds or disputes. A charge tells neither of a failed refund nor of an inquiry."""
    if claim.must_fetch or any(snapshot.get("object") == noun for snapshot in claim.snapshots):
        return True
    charge = payment_intent.get("latest_charge") or {}
    if noun == "refund":
        return bool(charge.get("amount_refunded")) or (known is not None and known.refunds.exists())
    return bool(charge.get("disputed")) or (known is not None and known.disputes.exists())


def _refunds(payment_intent_id: str) -> list[StripeDict]:
    expand = [f"data.{name}" for name in MOVEMENTS]
    return list(gateway.listed("/v1/refunds", payment_intent=payment_intent_id, expand=expand))


def _closed_at(claim: Claim) -> dict[str, datetime]:
    """When disputes were decided, by their ids. The object does not say."""
    closed = (event for event in claim.events if event.type.removeprefix("v1.") == "charge.dispute.closed")
    return {_object_of(event.said)["id"]: event.stripe_created_at for event in closed}


def _object_of(event: StripeDict) -> StripeDict:
    """What an event is about: the object as it was, or of a thin event its type and id."""
    if is_thin(event):
        return {"object": event["related_object"]["type"], "id": event["related_object"]["id"]}
    found: StripeDict = event["data"]["object"]
    return found


def _movements_only(claim: Claim, now: datetime) -> Work:
    """What belongs to no payment intent is nobody's payment here; its movements on our balance are ours still."""
    movements: list[StripeDict] = []
    heard_of = {
        (str(_object_of(event.said).get("object")), str(_object_of(event.said)["id"])) for event in claim.events
    }
    for kind, object_id in sorted(one for one in heard_of if one[0] in _PATHS):
        expand = MOVEMENTS[:1] if kind == "charge" else MOVEMENTS
        fetched = gateway.retrieve(_PATHS[kind].format(id=object_id), expand=() if kind == "dispute" else expand)
        found = [fetched.get(name) for name in MOVEMENTS] + list(fetched.get("balance_transactions") or [])
        movements += [{**movement, "source": fetched} for movement in found if isinstance(movement, dict)]

    def work() -> None:
        record_balance_transactions(movements, now=now)

    return work
