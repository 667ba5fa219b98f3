"""
What may be adjusted by hand: one reason code for each case, and what can never be adjusted here, with the remedy. Pure.

A code fixes both accounts and the direction, so that a person chooses a reason and never an account. Both accounts are
the house's, or one is a customer's; no code moves value from one customer to another. An account whose figure is told
by somebody else (Stripe, the usage events, a grant) is in NEVER_BY_HAND, and no code touches it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from billing.accounting.chart import CUSTOMER_ACCOUNTS
from billing.accounting.lines import noun_of

REQUEST_ADJUSTMENT = "billing.request_adjustment"
REQUEST_CUSTOMER_ADJUSTMENT = "billing.request_customer_adjustment"


_CHARGE, _REFUND, _MOVEMENT = r"(ch|py)_\w+", r"(re|pyr)_\w+", r"txn_\w+"


class Reference(Enum):
    """
    What an adjustment leans on: what it is called on the form, how it looks, and where it is found.

    Stripe's ids in it become causes of the entry. So the entry joins the story of that charge, refund or payout, and
    reconciliation sees that the story ends.
    """

    PROMISE = ("Charge or ticket", r"\S.{2,}", "Stripe's id of the charge it is about, ch_…; without one, the ticket.")
    BANK_LINE = ("Bank line", r"\S.{2,}", "The line of the bank statement: account, date and the bank's own reference.")
    TAX_RETURN = ("Tax return", r"\S.{2,}", "The return or notice that states the figure.")
    MOVEMENT = ("Balance transaction", _MOVEMENT, "Stripe's id of the movement, txn_…")
    MOVEMENT_OF_CHARGE = (
        "Balance transaction and charge",
        f"{_MOVEMENT} {_CHARGE}",
        "Stripe's ids of both with a space between, txn_… ch_…",
    )
    MOVEMENT_OF_REFUND = (
        "Balance transaction and refund",
        f"{_MOVEMENT} {_REFUND}",
        "Stripe's ids of both with a space between, txn_… re_…",
    )
    CHARGE_OR_REFUND = ("Charge or refund", f"{_CHARGE}|{_REFUND}", "Stripe's id of it, ch_… or re_…")
    PAYOUT = ("Payout", r"po_\w+", "Stripe's id of the payout, po_…")
    GRANT = ("Grant", r"\d+", "The number of the grant that was issued instead, as its page shows it.")

    def __init__(self, label: str, pattern: str, found: str) -> None:
        self.label = label
        self.found = found
        self._pattern = re.compile(pattern)

    def fits(self, text: str) -> bool:
        return self._pattern.fullmatch(text) is not None


def causes_in(reference: str) -> dict[str, str]:
    """The objects at Stripe that a reference names, as causes of an entry: {"charge": "ch_1"}."""
    named = ((noun_of(word), word) for word in reference.split())
    return {noun: word for noun, word in named if noun is not None}


class Side(StrEnum):
    DEBIT = "debit"
    CREDIT = "credit"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCode:
    """
    One reason to adjust the books by hand.

    `debit` and `credit` are names of the chart. `clears` is the side whose account is emptied by it, so that the amount
    may not pass what the account holds; None where it is built up. `permission` says who may ask for it.
    """

    code: str
    group: str
    name: str
    purpose: str
    debit: str
    credit: str
    reference: Reference
    clears: Side | None = None
    permission: str = REQUEST_ADJUSTMENT

    @property
    def is_of_customer(self) -> bool:
        """Whether one of its accounts is a customer's, who then has to be named."""
        return self.debit in CUSTOMER_ACCOUNTS or self.credit in CUSTOMER_ACCOUNTS


_REFUNDS, _CREDIT, _BANK, _TAX = "Refunds", "Prepaid credit", "Bank", "Tax"
_SUSPENSE, _TRANSIT = "Suspense", "Money under way"

REASON_CODES = (
    ReasonCode(
        code="refund_promised",
        group=_REFUNDS,
        name="Refund promised",
        purpose="We promised a customer money back and have not sent it: this says that we owe it. Name the charge: "
        "then a refund of it at Stripe sends what is promised here. With only a ticket, that refund enters a promise "
        "of its own; end this one then.",
        debit="contra:refunds",
        credit="refund_due",
        reference=Reference.PROMISE,
        permission=REQUEST_CUSTOMER_ADJUSTMENT,
    ),
    ReasonCode(
        code="refund_promise_ended",
        group=_REFUNDS,
        name="Refund promise ended",
        purpose="A promised refund is not owed any more: the customer took something else instead, or it was sent and "
        "entered on its own.",
        debit="refund_due",
        credit="contra:refunds",
        reference=Reference.PROMISE,
        clears=Side.DEBIT,
        permission=REQUEST_CUSTOMER_ADJUSTMENT,
    ),
    ReasonCode(
        code="refund_paid_by_bank",
        group=_REFUNDS,
        name="Refund paid from the bank",
        purpose="A promised refund was sent from our bank account, because Stripe could not return it to the card.",
        debit="refund_due",
        credit="bank",
        reference=Reference.PROMISE,
        clears=Side.DEBIT,
    ),
    ReasonCode(
        code="expired_credit_refunded",
        group=_CREDIT,
        name="Expired credit refunded",
        purpose="Prepaid credit that had expired unused is to be paid back after all: it is no breakage, we owe it.",
        debit="breakage",
        credit="refund_due",
        reference=Reference.PROMISE,
        clears=Side.DEBIT,
    ),
    ReasonCode(
        code="expired_credit_restored",
        group=_CREDIT,
        name="Expired credit given again",
        purpose="Prepaid credit that had expired unused was given again as a goodwill grant. Issue the grant first; "
        "this says that it was paid for, and not given away.",
        debit="breakage",
        credit="contra:promotions",
        reference=Reference.GRANT,
        clears=Side.DEBIT,
    ),
    ReasonCode(
        code="debt_recovered",
        group=_BANK,
        name="Bad debt recovered at the bank",
        purpose="A debt that was written off was paid to our bank account. If its invoice is still at Stripe, mark "
        "it paid there instead: it is then entered by itself.",
        debit="bank",
        credit="bad_debt",
        reference=Reference.BANK_LINE,
        clears=Side.CREDIT,
    ),
    ReasonCode(
        code="bank_holds_less",
        group=_BANK,
        name="The bank holds less",
        purpose="The bank's statement shows less than our books: a charge of the bank's, or a loss on the way.",
        debit="contra:adjustments",
        credit="bank",
        reference=Reference.BANK_LINE,
        clears=Side.CREDIT,
    ),
    ReasonCode(
        code="bank_holds_more",
        group=_BANK,
        name="The bank holds more",
        purpose="The bank's statement shows more than our books, nobody claims it, and it belongs to no customer.",
        debit="bank",
        credit="contra:adjustments",
        reference=Reference.BANK_LINE,
    ),
    ReasonCode(
        code="tax_paid",
        group=_TAX,
        name="Tax paid to the authority",
        purpose="Tax that we had collected on invoices was paid to the authority from our bank account.",
        debit="tax:payable",
        credit="bank",
        reference=Reference.BANK_LINE,
        clears=Side.DEBIT,
    ),
    ReasonCode(
        code="tax_overstated",
        group=_TAX,
        name="Less tax owed than booked",
        purpose="The return states less tax than our invoices did, and no customer is to get it back.",
        debit="tax:payable",
        credit="contra:adjustments",
        reference=Reference.TAX_RETURN,
        clears=Side.DEBIT,
    ),
    ReasonCode(
        code="tax_understated",
        group=_TAX,
        name="More tax owed than booked",
        purpose="The return states more tax than our invoices did; we bear the difference.",
        debit="contra:adjustments",
        credit="tax:payable",
        reference=Reference.TAX_RETURN,
    ),
    ReasonCode(
        code="tax_refund_promised",
        group=_TAX,
        name="Tax to be given back",
        purpose="A customer paid tax that was not due, and the invoice is too old for a credit note at Stripe: we "
        "owe it back.",
        debit="tax:payable",
        credit="refund_due",
        reference=Reference.PROMISE,
        clears=Side.DEBIT,
    ),
    ReasonCode(
        code="suspense_was_fee",
        group=_SUSPENSE,
        name="Suspense was a fee",
        purpose="A movement of a kind not known here, in suspense, was a charge of Stripe's.",
        debit="fees:stripe",
        credit="suspense",
        reference=Reference.MOVEMENT,
        clears=Side.CREDIT,
    ),
    ReasonCode(
        code="suspense_was_fee_returned",
        group=_SUSPENSE,
        name="Suspense was a fee given back",
        purpose="A movement of a kind not known here, in suspense, was Stripe giving a charge of its own back.",
        debit="suspense",
        credit="fees:stripe",
        reference=Reference.MOVEMENT,
        clears=Side.DEBIT,
    ),
    ReasonCode(
        code="suspense_was_revenue",
        group=_SUSPENSE,
        name="Suspense was other revenue",
        purpose="A movement of a kind not known here, in suspense, was earned, and no invoice of ours asks for it.",
        debit="suspense",
        credit="revenue:other",
        reference=Reference.MOVEMENT,
        clears=Side.DEBIT,
    ),
    ReasonCode(
        code="suspense_was_payment",
        group=_SUSPENSE,
        name="Suspense was a payment arriving",
        purpose="A movement of a kind not known here, in suspense, was a customer's payment arriving on our balance "
        "at Stripe.",
        debit="suspense",
        credit="stripe:in_transit",
        reference=Reference.MOVEMENT_OF_CHARGE,
        clears=Side.DEBIT,
    ),
    ReasonCode(
        code="suspense_was_refund",
        group=_SUSPENSE,
        name="Suspense was a refund leaving",
        purpose="A movement of a kind not known here, in suspense, was a refund leaving our balance at Stripe.",
        debit="stripe:in_transit",
        credit="suspense",
        reference=Reference.MOVEMENT_OF_REFUND,
        clears=Side.CREDIT,
    ),
    ReasonCode(
        code="suspense_was_top_up",
        group=_SUSPENSE,
        name="Suspense was a top-up",
        purpose="A movement of a kind not known here, in suspense, was money that we had sent to Stripe from our "
        "bank account.",
        debit="suspense",
        credit="bank",
        reference=Reference.MOVEMENT,
        clears=Side.DEBIT,
    ),
    ReasonCode(
        code="suspense_was_withdrawal",
        group=_SUSPENSE,
        name="Suspense went to the bank",
        purpose="A movement of a kind not known here, in suspense, was money that reached our bank account otherwise "
        "than by a payout.",
        debit="bank",
        credit="suspense",
        reference=Reference.MOVEMENT,
        clears=Side.CREDIT,
    ),
    ReasonCode(
        code="in_transit_given_up",
        group=_TRANSIT,
        name="Payment under way given up",
        purpose="A payment that Stripe called successful never arrived on our balance there, and Stripe says it will "
        "not.",
        debit="contra:adjustments",
        credit="stripe:in_transit",
        reference=Reference.CHARGE_OR_REFUND,
        clears=Side.CREDIT,
    ),
    ReasonCode(
        code="in_transit_surplus",
        group=_TRANSIT,
        name="More arrived than was under way",
        purpose="More arrived on our balance at Stripe than payments we were told of, nobody claims it, and Stripe "
        "says it is ours.",
        debit="stripe:in_transit",
        credit="contra:adjustments",
        reference=Reference.CHARGE_OR_REFUND,
        clears=Side.DEBIT,
    ),
    ReasonCode(
        code="payout_given_up",
        group=_TRANSIT,
        name="Payout under way given up",
        purpose="A payout that Stripe sent never reached our bank account, and neither Stripe nor the bank will "
        "return it.",
        debit="contra:adjustments",
        credit="payout:in_transit",
        reference=Reference.PAYOUT,
        clears=Side.CREDIT,
    ),
)

BY_CODE: Mapping[str, ReasonCode] = {reason.code: reason for reason in REASON_CODES}

# Account of the chart (and "grant") -> who tells its figure, and so what to do instead.
NEVER_BY_HAND: Mapping[str, str] = {
    "receivable": "It is what Stripe's open invoices ask for. Void, credit or mark the invoice at Stripe; it is "
    "entered here as soon as Stripe says so.",
    "balance": "It is the customer's balance at Stripe. Add a customer balance transaction at Stripe; it is entered "
    "here as soon as Stripe says so.",
    "grant": "Issue credit on the customer's page, or void the grant on its own.",
    "prepaid_pending": "It is prepaid credit that an invoice asks for. Void or credit that invoice at Stripe.",
    "unbilled": "It is usage that no invoice asks for yet. Correct the usage events, or absorb what a closed period "
    "has left.",
    "revenue:usage": "It is what the usage events cost. Correct the events; the next accrual enters the difference.",
    "contra:included": "It is usage that plans included. Correct the events; the next accrual enters the difference.",
    "revenue:subscription": "It is what invoices charged. Make a credit note at Stripe.",
    "rounding": "It is exactly what rounding added to invoice lines, and nothing else. A difference has a cause: "
    "find it by reconciling.",
    "stripe:reserve": "It is what Stripe holds back of our balance, movement by movement.",
    "stripe:clearing": "It is our balance at Stripe, movement by movement. A movement of an unknown kind is in "
    "suspense, and that can be cleared.",
    "disputes": "It is what banks hold back. Answer or accept the dispute at Stripe.",
    "opening": "It is what stood at Stripe when the account was taken over, fact by fact. A later change there has an "
    "entry of its own.",
    "fx": "It is both sides of Stripe's conversions between currencies, movement by movement.",
}
