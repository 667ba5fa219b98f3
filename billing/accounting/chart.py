"""
The chart of accounts (DESIGN §5): which accounts exist, what each means, and on which side it normally stands.

A customer's accounts are exact at once and keep their balance; system accounts do not, because every posting would
queue for that one row.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from ledger.operations import AccountSpec

DEBIT, CREDIT = "D", "C"


class Entry(StrEnum):
    """The kinds of journal entry billing writes: one for each business fact."""

    USAGE_ACCRUED = "usage_accrued"
    USAGE_ABSORBED = "usage_absorbed"
    INVOICE_FINALIZED = "invoice_finalized"
    CREDIT_NOTE_ISSUED = "credit_note_issued"
    CUSTOMER_BALANCE = "customer_balance"
    PAYMENT_SUCCEEDED = "payment_succeeded"
    PAYMENT_APPLIED = "payment_applied"
    PAID_OUT_OF_BAND = "paid_out_of_band"
    WRITTEN_OFF = "written_off"
    RECOVERED = "recovered"
    REFUND_PROMISED = "refund_promised"
    REFUND_SENT = "refund_sent"
    DISPUTE_LOST = "dispute_lost"
    PAYOUT_ARRIVED = "payout_arrived"
    STRIPE_CHARGE = "stripe_charge"
    STRIPE_FEE = "stripe_fee"
    STRIPE_REFUND = "stripe_refund"
    STRIPE_DISPUTE = "stripe_dispute"
    STRIPE_PAYOUT = "stripe_payout"
    STRIPE_TOPUP = "stripe_topup"
    STRIPE_RESERVE = "stripe_reserve"
    STRIPE_CONVERTED = "fx_stripe"
    STRIPE_UNKNOWN = "stripe_unknown"
    MANUAL_ADJUSTMENT = "manual_adjustment"
    OPENING = "opening"


@dataclass(frozen=True, slots=True)
class SystemAccount:
    """One account of the house, kept once per currency."""

    name: str
    normal_side: str
    meaning: str


SYSTEM_ACCOUNTS = (
    SystemAccount("revenue:usage", CREDIT, "Price of all usage, before allowance and grants."),
    SystemAccount("revenue:subscription", CREDIT, "Recurring fees."),
    SystemAccount("revenue:other", CREDIT, "One-off charges."),
    SystemAccount("contra:included", DEBIT, "Usage covered by a plan's allowance."),
    SystemAccount("contra:promotions", DEBIT, "Value given away as grants and discounts."),
    SystemAccount("contra:refunds", DEBIT, "Revenue given back."),
    SystemAccount("contra:adjustments", DEBIT, "Usage absorbed, and other corrections with a reason."),
    SystemAccount("breakage", CREDIT, "Prepaid value that expired unused."),
    SystemAccount("tax:payable", CREDIT, "Tax on invoices, owed to the authorities."),
    SystemAccount("rounding", CREDIT, "Sum of (line as charged minus line exact)."),
    SystemAccount("bad_debt", DEBIT, "Receivables given up."),
    SystemAccount("disputes", DEBIT, "Charges a bank is holding back."),
    SystemAccount("stripe:in_transit", DEBIT, "Paid by the customer, not yet on our balance at Stripe."),
    SystemAccount("stripe:clearing", DEBIT, "Our balance at Stripe."),
    SystemAccount("stripe:reserve", DEBIT, "Held back by Stripe out of our balance."),
    SystemAccount("payout:in_transit", DEBIT, "Sent by Stripe, not yet at the bank."),
    SystemAccount("bank", DEBIT, "Arrived at the bank."),
    SystemAccount("fees:stripe", DEBIT, "What Stripe charges."),
    SystemAccount("fx", DEBIT, "Both sides of conversions between currencies."),
    SystemAccount("opening", CREDIT, "What a Stripe account held when it was taken over, and history that came later."),
    SystemAccount("suspense", DEBIT, "Movements at Stripe of a kind not known here: to be looked at, must be zero."),
)

CUSTOMER_ACCOUNTS = {
    "unbilled": (DEBIT, "Usage accrued and not yet on an invoice; exact, either sign."),
    "receivable": (DEBIT, "Open invoices: the sum of Stripe's amount_remaining."),
    "balance": (CREDIT, "The customer's balance: minus Stripe's customer.balance; either sign."),
    "refund_due": (CREDIT, "Owed back: refunds promised and not yet sent, payments nobody asked for."),
    "prepaid_pending": (CREDIT, "Prepaid credit invoiced and not yet paid."),
}


def system(name: str, currency: str) -> str:
    """The code of a system account, such as revenue:usage:USD."""
    return f"{name}:{currency}"


def unbilled(customer_key: str, currency: str) -> str:
    return f"unbilled:{customer_key}:{currency}"


def receivable(customer_key: str, currency: str) -> str:
    return f"receivable:{customer_key}:{currency}"


def balance(customer_key: str, currency: str) -> str:
    return f"balance:{customer_key}:{currency}"


def refund_due(customer_key: str, currency: str) -> str:
    return f"refund_due:{customer_key}:{currency}"


def prepaid_pending(customer_key: str, currency: str) -> str:
    return f"prepaid_pending:{customer_key}:{currency}"


def system_account_specs(currency: str) -> list[AccountSpec]:
    """Every system account in one currency."""
    return [
        AccountSpec(
            code=system(account.name, currency),
            kind=account.name,
            currency=currency,
            normal_side=account.normal_side,
            keeps_balance=False,
        )
        for account in SYSTEM_ACCOUNTS
    ]


def customer_account_specs(customer_key: str, currency: str) -> list[AccountSpec]:
    """The accounts every customer has, without grants."""
    return [
        AccountSpec(
            code=f"{kind}:{customer_key}:{currency}",
            kind=kind,
            currency=currency,
            normal_side=side,
            customer_key=customer_key,
        )
        for kind, (side, _) in CUSTOMER_ACCOUNTS.items()
    ]


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Sum that is a Decimal also when there is nothing to add."""
    return sum(amounts, Decimal(0))
