"""Disputes of charges: the money leaves at once, evidence decides by the clock, a win brings it back without the fee.

Which card is disputed, and which words in `uncategorized_text` win or lose, is Stripe's (docs.stripe.com/testing). How
long the bank takes is not published: see the waiting times below.
"""

from typing import Any, Literal

from tests.sandbox.billing.payments.balance_transactions import new_balance_transaction
from tests.sandbox.billing.payments.cards import Card, DisputeKind
from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

DISPUTE_FEE = 1500  # minor units of the charge's currency; a win does not return it
# Assumptions: time to answer, and how long the bank then thinks.
ANSWER_DAYS = 9
BANK_DECIDES_DAYS = 3
WINNING, ESCALATING = "winning_evidence", "escalate_inquiry_evidence"
OPEN = ("needs_response", "warning_needs_response")
UNDER_REVIEW = ("under_review", "warning_under_review")
REASONS: dict[str, str] = {
    "product_not_received": "product_not_received",
    "visa_compliance": "noncompliant",
    "mastercard_compliance": "noncompliant",
}
CASE_TYPES: dict[str, str] = {
    "inquiry": "inquiry",
    "visa_compliance": "compliance",
    "mastercard_compliance": "compliance",
}
NETWORK_REASON_CODES = {"fraudulent": "10.4", "product_not_received": "13.1", "noncompliant": "98"}


def dispute_soon(world: World, charge: StripeObject, card: Card) -> None:
    """What a test card brings after its charge, right after the request that charged it is answered."""
    if card.dispute is None and not card.fraud_warning:
        return

    def due() -> None:
        if card.fraud_warning:
            _warn(world, charge)
        elif card.dispute == "multiple":  # assumption: two, of half the amount each
            half = charge["amount_captured"] // 2
            _open(world, charge, card, "fraudulent", half)
            _open(world, charge, card, "product_not_received", charge["amount_captured"] - half)
        elif card.dispute is not None:
            _open(world, charge, card, card.dispute, charge["amount_captured"])

    world.clock.at(world.now, due, f"dispute of {charge['id']}")


def dispute_debit(world: World, charge: StripeObject) -> None:
    """A debit from a bank account that its owner disputes at once: lost from the start, as SEPA has no appeal."""

    def due() -> None:
        dispute = _new_dispute(world, charge, "debit_not_authorized", charge["amount_captured"], status="lost")
        _withdraw(world, dispute)
        world.update(charge, "charge.updated", disputed=True)
        world.emit("charge.dispute.created", dispute)
        world.emit("charge.dispute.funds_withdrawn", dispute)
        world.emit("charge.dispute.closed", dispute)

    world.clock.at(world.now, due, f"dispute of {charge['id']}")


def disputes_of(world: World, charge: StripeObject) -> list[StripeObject]:
    return world.store.where("dispute", "charge", charge["id"])


def submit_evidence(world: World, dispute: StripeObject, changes: dict[str, Any], *, submit: bool) -> None:
    """Keep evidence, and with `submit` hand it to the bank. Raises `StripeError` when it is too late for that."""
    if dispute["status"] not in OPEN:
        raise StripeError("This dispute is already closed, or its evidence was already submitted.")
    details = {**dispute["evidence_details"], "has_evidence": True}
    if submit:
        details["submission_count"] += 1
        changes["status"] = "under_review" if dispute["status"] == "needs_response" else "warning_under_review"
        _decide_later(world, dispute)
    world.update(dispute, "charge.dispute.updated", **changes, evidence_details=details)


def close(world: World, dispute: StripeObject) -> None:
    """Give in: a chargeback is lost, an inquiry ends without one. Raises `StripeError` once evidence is submitted."""
    if dispute["status"] not in OPEN:
        raise StripeError("This dispute is already closed.")
    _close(world, dispute, "warning_closed" if is_inquiry(dispute) else "lost")


def is_inquiry(dispute: StripeObject) -> bool:
    return str(dispute["status"]).startswith("warning")


def after_refund(world: World, charge: StripeObject) -> None:
    """An inquiry into a charge that was refunded whole has nothing left to ask for."""
    if not charge["refunded"]:
        return
    for dispute in disputes_of(world, charge):
        if dispute["status"] in ("warning_needs_response", "warning_under_review"):
            _close(world, dispute, "warning_closed")


def _open(world: World, charge: StripeObject, card: Card, kind: DisputeKind, amount: int) -> None:
    inquiry = kind == "inquiry"
    reason = REASONS.get(kind, "fraudulent")
    dispute = _new_dispute(
        world, charge, reason, amount, status="warning_needs_response" if inquiry else "needs_response"
    )
    dispute["payment_method_details"] = {
        "card": {
            "brand": card.brand,
            "case_type": CASE_TYPES.get(kind, "chargeback"),
            "network": card.brand,
            "network_reason_code": NETWORK_REASON_CODES[reason],
        },
        "type": "card",
    }
    _make_eligible(dispute, kind)
    if not inquiry:
        _withdraw(world, dispute)
        world.update(charge, "charge.updated", disputed=True)
    world.emit("charge.dispute.created", dispute)
    if not inquiry:
        world.emit("charge.dispute.funds_withdrawn", dispute)
    _end_unanswered(world, dispute)


def _new_dispute(world: World, charge: StripeObject, reason: str, amount: int, *, status: str) -> StripeObject:
    return world.new(
        "dispute",
        "du",
        amount=amount,
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        evidence=world.skeletons.new("dispute_evidence", enhanced_evidence={}),
        evidence_details={
            "due_by": world.now + ANSWER_DAYS * DAY_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        is_charge_refundable=status.startswith("warning"),
        metadata={},
        payment_intent=charge["payment_intent"],
        reason=reason,
        status=status,
    )


def _make_eligible(dispute: StripeObject, kind: DisputeKind) -> None:
    """What the networks' programs allow in answering this dispute."""
    eligibility: dict[str, Any] = {
        "visa_compelling_evidence_3": {
            "required_actions": ["missing_prior_undisputed_transactions"],
            "status": "requires_action",
        },
        "visa_compliance": {"status": "requires_fee_acknowledgement"},
        "mastercard_compliance": {"status": "requires_fee_acknowledgement"},
    }
    if kind in eligibility:
        dispute["enhanced_eligibility_types"] = [kind]
        dispute["evidence_details"]["enhanced_eligibility"] = {kind: eligibility[kind]}


def _withdraw(world: World, dispute: StripeObject) -> None:
    _move_money(world, dispute, -dispute["amount"], fee=DISPUTE_FEE, category="dispute")


def _move_money(
    world: World, dispute: StripeObject, amount: int, *, fee: int, category: Literal["dispute", "dispute_reversal"]
) -> None:
    transaction = new_balance_transaction(
        world,
        kind="adjustment",
        category=category,
        amount=amount,
        fee=fee,
        fee_description="Dispute fee",
        source=dispute,
        available_on=world.now,
        description=f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for {dispute['charge']}",
    )
    dispute["balance_transactions"] = [*dispute["balance_transactions"], copied(transaction)]


def _end_unanswered(world: World, dispute: StripeObject) -> None:
    """Who does not answer in time loses; an inquiry that nobody answers ends without a chargeback (assumption)."""

    def due() -> None:
        if dispute["status"] in OPEN and dispute["evidence_details"]["due_by"] == world.now:
            dispute["evidence_details"] = {**dispute["evidence_details"], "past_due": True}
            _close(world, dispute, "warning_closed" if is_inquiry(dispute) else "lost")

    world.clock.at(dispute["evidence_details"]["due_by"], due, f"end of the time to answer {dispute['id']}")


def _decide_later(world: World, dispute: StripeObject) -> None:
    def due() -> None:
        if dispute["status"] not in UNDER_REVIEW:
            return
        text = dispute["evidence"]["uncategorized_text"] or ""
        if not is_inquiry(dispute):
            _close(world, dispute, "won" if WINNING in text else "lost")
        elif ESCALATING in text:
            _escalate(world, dispute)
        else:
            _close(world, dispute, "warning_closed")

    world.clock.at(world.now + BANK_DECIDES_DAYS * DAY_SECONDS, due, f"decision on {dispute['id']}")


def _escalate(world: World, dispute: StripeObject) -> None:
    """An inquiry becomes a chargeback: now the money leaves, and there is new time to answer."""
    charge = world.store.get("charge", dispute["charge"])
    world.update(charge, "charge.updated", disputed=True)
    former = copied(dispute)
    _withdraw(world, dispute)
    card = {**dispute["payment_method_details"]["card"], "case_type": "chargeback"}
    dispute.update(
        evidence_details={**dispute["evidence_details"], "due_by": world.now + ANSWER_DAYS * DAY_SECONDS},
        is_charge_refundable=False,
        payment_method_details={**dispute["payment_method_details"], "card": card},
        status="needs_response",
    )
    previous = {name: value for name, value in former.items() if dispute[name] != value}
    world.emit("charge.dispute.updated", dispute, previous=previous)
    world.emit("charge.dispute.funds_withdrawn", dispute)
    _end_unanswered(world, dispute)


def _close(world: World, dispute: StripeObject, status: str) -> None:
    if status == "won":
        _move_money(world, dispute, dispute["amount"], fee=0, category="dispute_reversal")
    world.update(dispute, None, is_charge_refundable=status in ("won", "warning_closed"), status=status)
    world.emit("charge.dispute.closed", dispute)
    if status == "won":
        world.emit("charge.dispute.funds_reinstated", dispute)


def _warn(world: World, charge: StripeObject) -> None:
    warning = world.new(
        "radar.early_fraud_warning",
        "issfr",
        actionable=True,
        charge=charge["id"],
        fraud_type="made_with_stolen_card",
        payment_intent=charge["payment_intent"],
    )
    world.emit("radar.early_fraud_warning.created", warning)
