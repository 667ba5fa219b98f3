"""Events of money at Stripe: payments with their refunds and disputes, payouts, other movements on our balance."""

from datetime import datetime

from billing.customers.models import Customer
from billing.invoicing.models import Invoice
from billing.payments import queries as payments_queries
from billing.payments.bank.composition import is_composition_known, record_composition
from billing.payments.disputes import project_disputes
from billing.payments.models import Payment
from billing.payments.old_charges import (
    enter_disputes_of_nobody,
    enter_payment_of_nobody,
    enter_refunds_of_nobody,
)
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
from billing.takeover.cut import cut, is_second_before, left_out

MOVEMENTS = ("balance_transaction", "failure_balance_transaction")
# Where an object is found that belongs to no payment intent.
CHARGES = ("ch_", "py_")
_PATHS = {"charge": "/v1/charges/{id}", "refund": "/v1/refunds/{id}", "dispute": "/v1/disputes/{id}"}


def payment(claim: Claim, now: datetime) -> Work:
    """
    All that happens around one payment intent: its own events, its charges', refunds' and disputes', and its part of an
    invoice. They queue up behind its id (inbox.subject_of), so their order among each other does not matter.
    """
    if not claim.object_id.startswith("pi_"):
        return _without_intent(claim, now)
    known = payments_queries.payment_of(claim.object_id)
    if known is not None and not claim.must_fetch and _is_settled(known, claim):
        return nothing
    fetched = readers.payment_intent_with_charge(claim.object_id)
    return _work_of(claim, fetched, known, invoice_id=_invoice_paid_by(claim, known), now=now)


def _work_of(claim: Claim, fetched: StripeDict, known: Payment | None, *, invoice_id: str, now: datetime) -> Work:
    """All that is to be done about a payment that was just fetched. Raises NotYetKnown."""
    invoice = Invoice.objects.select_related("customer").filter(stripe_invoice_id=invoice_id or None).first()
    theirs = id_of(fetched.get("customer"))
    customer = Customer.objects.filter(stripe_customer_id=theirs or None).first()
    customer = customer or (invoice.customer if invoice is not None else None)
    cut_at = cut()
    if not theirs and not invoice_id and is_second_before(_made_at(fetched), cut_at):
        return _work_of_nobody(claim, fetched, now)
    if customer is None or (invoice_id and invoice is None):
        raise NotYetKnown(f"customer {theirs or None} or invoice {invoice_id} is not known here", customer=theirs)
    refunds = _refunds(fetched["id"]) if _may_have(claim, "refund", known, fetched) else []
    notes = list(gateway.listed("/v1/credit_notes", invoice=invoice_id)) if refunds and invoice_id else []
    disputes = _disputes(fetched["id"]) if _may_have(claim, "dispute", known, fetched) else []
    closed_at = _closed_at(claim)

    def work() -> None:
        projected = project_payment(fetched, customer=customer, invoice=invoice, now=now)
        for note in notes:
            cover_refunds(readers.refunds_at_stripe(note), credit_note_id=note["id"], now=now)
        if projected is not None and refunds:
            project_refunds(refunds, payment=projected, now=now)
        if projected is not None and disputes:
            project_disputes(disputes, payment=projected, closed_at=closed_at, now=now)
        if projected is not None:
            follow_payment(projected, now=now)

    return work


def _without_intent(claim: Claim, now: datetime) -> Work:
    """
    A charge that belongs to no payment intent. One of before a takeover is a payment of its customer's: its money is in
    the opening, and what is given back or contested of it after the cut has to meet it.
    """
    cut_at, charge_id = cut(), _charge_of(claim)
    if cut_at is None or not charge_id.startswith(CHARGES):
        return _movements_only(claim, now)
    fetched = readers.payment_of_charge(charge_id)
    # Whom the run has not brought in yet is waited for.
    if not is_second_before(_made_at(fetched), cut_at) or left_out([id_of(fetched["customer"])]):
        return _movements_only(claim, now)
    known = payments_queries.payment_of(charge_id)
    invoice_id = _invoice_told(claim, known)
    if not invoice_id and known is None:
        invoice_id = readers.invoice_of_old_charge(fetched["latest_charge"])
    return _work_of(claim, fetched, known, invoice_id=invoice_id, now=now)


def _charge_of(claim: Claim) -> str:
    """The charge. Events stored before they queued up behind it have the id of a refund or dispute of its."""
    named = (id_of(snapshot.get("charge")) for snapshot in claim.snapshots)
    return claim.object_id if claim.object_id.startswith(CHARGES) else next(filter(None, named), claim.object_id)


def _work_of_nobody(claim: Claim, fetched: StripeDict, now: datetime) -> Work:
    """Of a charge of before a takeover that names no customer: what moves of it after the cut."""
    refunds, disputes, closed_at = _refunds(fetched["id"]), _disputes(fetched["id"]), _closed_at(claim)

    def work() -> None:
        enter_payment_of_nobody(fetched, now=now)
        enter_refunds_of_nobody(refunds, now=now)
        enter_disputes_of_nobody(disputes, closed_at=closed_at, now=now)

    return work


def _made_at(fetched: StripeDict) -> int:
    """The second in which the latest charge of a payment was made, or the payment where nobody tried it."""
    return int((fetched.get("latest_charge") or fetched)["created"])


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
    return _invoice_told(claim, known) or readers.invoice_of_payment_intent(claim.object_id)


def _invoice_told(claim: Claim, known: Payment | None) -> str:
    """The invoice that is paid, as our row or an event tells it: the link never changes."""
    if known is not None and known.invoice is not None:
        return known.invoice.stripe_invoice_id
    told = (id_of(one["invoice"]) for one in claim.snapshots if one.get("object") == "invoice_payment")
    return next(told, "")


def _may_have(claim: Claim, noun: str, known: Payment | None, payment_intent: StripeDict) -> bool:
    """Whether to ask for its refunds or disputes. A charge tells neither of a failed refund nor of an inquiry."""
    if claim.must_fetch or any(snapshot.get("object") == noun for snapshot in claim.snapshots):
        return True
    charge = payment_intent.get("latest_charge") or {}
    if noun == "refund":
        return bool(charge.get("amount_refunded")) or (known is not None and known.refunds.exists())
    return bool(charge.get("disputed")) or (known is not None and known.disputes.exists())


def _refunds(payment_id: str) -> list[StripeDict]:
    expand = [f"data.{name}" for name in MOVEMENTS]
    return list(gateway.listed("/v1/refunds", **readers.named_by(payment_id), expand=expand))


def _disputes(payment_id: str) -> list[StripeDict]:
    return list(gateway.listed("/v1/disputes", **readers.named_by(payment_id)))


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
