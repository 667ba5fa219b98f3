"""
The entry of every movement on our balance at Stripe, once, by its id, in its own currency.

`stripe:clearing` is that balance. On the other side stands what the movement's own fact (a payment that succeeded, a
refund sent, a payout) is expected to meet, so that each of those accounts ends at zero when the story does.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, system
from billing.accounting.lines import ACTOR, noun_of, signed_lines
from ledger.operations import JournalEntryDraft

_IN_TRANSIT, _PAYOUT, _FEES = "stripe:in_transit", "payout:in_transit", "fees:stripe"
_UNKNOWN = ("suspense", Entry.STRIPE_UNKNOWN)

# Every type of Stripe's OpenAPI document of 2026-08-26.dahlia that has an account here. The others belong to products
# that this company does not use (Connect, Issuing, Capital, Climate): they go to suspense, where finance sees them.
PLACES: dict[str, tuple[str, Entry]] = {
    "charge": (_IN_TRANSIT, Entry.STRIPE_CHARGE),
    "payment": (_IN_TRANSIT, Entry.STRIPE_CHARGE),
    "payment_failure_refund": (_IN_TRANSIT, Entry.STRIPE_CHARGE),  # a debit that was counted while pending, and failed
    "payment_reversal": (_IN_TRANSIT, Entry.STRIPE_CHARGE),
    "refund": (_IN_TRANSIT, Entry.STRIPE_REFUND),
    "payment_refund": (_IN_TRANSIT, Entry.STRIPE_REFUND),
    "refund_failure": (_IN_TRANSIT, Entry.STRIPE_REFUND),
    "stripe_fee": (_FEES, Entry.STRIPE_FEE),
    "stripe_fx_fee": (_FEES, Entry.STRIPE_FEE),
    "tax_fee": (_FEES, Entry.STRIPE_FEE),  # the tax on Stripe's own fees
    "fee_credit_funding": (_FEES, Entry.STRIPE_FEE),
    "payout": (_PAYOUT, Entry.STRIPE_PAYOUT),
    "payout_cancel": (_PAYOUT, Entry.STRIPE_PAYOUT),
    "payout_failure": (_PAYOUT, Entry.STRIPE_PAYOUT),
    "topup": ("bank", Entry.STRIPE_TOPUP),
    "topup_reversal": ("bank", Entry.STRIPE_TOPUP),
    "payment_network_reserve_hold": ("stripe:reserve", Entry.STRIPE_RESERVE),
    "payment_network_reserve_release": ("stripe:reserve", Entry.STRIPE_RESERVE),
    "payout_minimum_balance_hold": ("stripe:reserve", Entry.STRIPE_RESERVE),
    "payout_minimum_balance_release": ("stripe:reserve", Entry.STRIPE_RESERVE),
    "reserve_hold": ("stripe:reserve", Entry.STRIPE_RESERVE),
    "reserve_release": ("stripe:reserve", Entry.STRIPE_RESERVE),
    "reserve_transaction": ("stripe:reserve", Entry.STRIPE_RESERVE),
    "reserved_funds": ("stripe:reserve", Entry.STRIPE_RESERVE),
}
SUSPENDED = frozenset(
    (
        # Connect
        "application_fee", "application_fee_refund", "connect_collection_transfer", "transfer", "transfer_cancel",
        "transfer_failure", "transfer_refund", "stripe_balance_payment_debit", "stripe_balance_payment_debit_reversal",
        "obligation_outbound", "obligation_reversal_inbound",
        # Issuing, Treasury
        "issuing_authorization_hold", "issuing_authorization_release", "issuing_dispute", "issuing_transaction",
        "inbound_transfer", "inbound_transfer_reversal",
        # Capital, Climate
        "advance", "advance_funding", "anticipation_repayment", "climate_order_purchase", "climate_order_refund",
        "contribution",
        # Nobody can tell without looking what is behind them.
        "payment_unreconciled", "tax_fund",
    )
)  # fmt: skip
# What Stripe only calls an adjustment, by its reporting category.
ADJUSTMENTS: dict[str, tuple[str, Entry]] = {
    "dispute": ("disputes", Entry.STRIPE_DISPUTE),
    "dispute_reversal": ("disputes", Entry.STRIPE_DISPUTE),
    "charge_failure": (_IN_TRANSIT, Entry.STRIPE_CHARGE),
    "refund": (_IN_TRANSIT, Entry.STRIPE_REFUND),
    "refund_failure": (_IN_TRANSIT, Entry.STRIPE_REFUND),
    "partial_capture_reversal": (_IN_TRANSIT, Entry.STRIPE_REFUND),
    "payout_reversal": (_PAYOUT, Entry.STRIPE_PAYOUT),
    "fee": (_FEES, Entry.STRIPE_FEE),
    "network_cost": (_FEES, Entry.STRIPE_FEE),
    "risk_reserved_funds": ("stripe:reserve", Entry.STRIPE_RESERVE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """
    One balance transaction, in currency units: `amount` came in (below zero: went out), of which Stripe kept `fee`.

    Where Stripe converted, `source_amount` of `source_currency` is what the source itself moved, signed like `amount`.
    """

    stripe_id: str
    type: str
    reporting_category: str
    amount: Decimal
    fee: Decimal
    currency: str
    source_id: str
    source_amount: Decimal | None = None
    source_currency: str = ""
    occurred_at: datetime


def balance_transaction_draft(movement: Movement) -> JournalEntryDraft:
    """
    The entry of one movement: stripe:clearing and fees:stripe on one side, what it was for on the other.

    A converted one is one entry in two currencies, exact in each because both amounts are Stripe's own integers: `fx`
    takes what came in of the one and what went out of the other. Stripe's rate is never multiplied.
    """
    account, kind = place_of(movement.type, movement.reporting_category)
    cause = {"balance_transaction": movement.stripe_id}
    noun = noun_of(movement.source_id)
    if noun is not None:
        cause[noun] = movement.source_id
    own = movement.currency
    held = [(system("stripe:clearing", own), movement.amount - movement.fee), (system(_FEES, own), movement.fee)]
    if movement.source_amount is None:
        lines = signed_lines(*held, (system(account, own), -movement.amount))
    else:
        kind = Entry.STRIPE_CONVERTED
        other = movement.source_currency
        lines = signed_lines(
            *held,
            (system("fx", own), -movement.amount),
            (system("fx", other), movement.source_amount),
            (system(account, other), -movement.source_amount),
        )
    return JournalEntryDraft(
        idempotency_key=f"balance_transaction:{movement.stripe_id}",
        kind=kind,
        lines=lines,
        effective_at=movement.occurred_at,
        actor=ACTOR,
        cause=cause,
        memo=f"Stripe: {_name_of(movement)}",
        moves_to_open_period=True,
    )


def place_of(movement_type: str, reporting_category: str) -> tuple[str, Entry]:
    """The account on the other side of a movement and the kind of its entry; suspense for what is not known here."""
    if movement_type == "adjustment":
        return ADJUSTMENTS.get(reporting_category, _UNKNOWN)
    return PLACES.get(movement_type, _UNKNOWN)


def _name_of(movement: Movement) -> str:
    name = movement.reporting_category if movement.type == "adjustment" else movement.type
    return (name or movement.type).replace("_", " ")
