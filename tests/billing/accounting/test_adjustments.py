"""Every reason code, worked with numbers; and what none of them touches."""

from decimal import Decimal

import pytest

from billing.accounting import chart
from billing.accounting.adjustments import BY_CODE, NEVER_BY_HAND, REASON_CODES, ReasonCode, Side, causes_in
from billing.accounting.operations import InvalidManualEntry
from ledger import queries as ledger
from ledger.operations import JournalEntryDraft, credit, debit, post_journal_entry
from tests.billing.accounting.people import MORNING, NOON, adjust, posted_entry_id

# What the account that is cleared holds before: of Stripe's and the bank's making, so that an adjustment can follow.
HELD = Decimal(100)
# Code -> the balances that 40.00 leave: (account debited, account credited), each on its own side of the books.
ENDS_AT = {
    "refund_promised": ("40", "40"),
    "refund_promise_ended": ("60", "-40"),
    "refund_paid_by_bank": ("60", "-40"),
    "expired_credit_refunded": ("60", "40"),
    "expired_credit_restored": ("60", "-40"),
    "debt_recovered": ("40", "60"),
    "bank_holds_less": ("40", "60"),
    "bank_holds_more": ("40", "-40"),
    "tax_paid": ("60", "-40"),
    "tax_overstated": ("60", "-40"),
    "tax_understated": ("40", "40"),
    "tax_refund_promised": ("60", "40"),
    "suspense_was_fee": ("40", "60"),
    "suspense_was_fee_returned": ("-60", "-40"),
    "suspense_was_revenue": ("-60", "40"),
    "suspense_was_payment": ("-60", "-40"),
    "suspense_was_refund": ("40", "60"),
    "suspense_was_top_up": ("-60", "-40"),
    "suspense_was_withdrawal": ("40", "60"),
    "in_transit_given_up": ("40", "60"),
    "in_transit_surplus": ("-60", "-40"),
    "payout_given_up": ("40", "60"),
}
KNOWN_ACCOUNTS = {account.name for account in chart.SYSTEM_ACCOUNTS} | set(chart.CUSTOMER_ACCOUNTS)


def code_of(name: str) -> str:
    return f"{name}:acme:USD" if name in chart.CUSTOMER_ACCOUNTS else f"{name}:USD"


def fill(code: ReasonCode) -> None:
    """Let the account that is cleared hold 100.00 on the side that the adjustment takes from."""
    if code.clears is None:
        return
    other = code_of("fx")  # an account that no code touches
    lines = {
        Side.DEBIT: (debit(other, HELD), credit(code_of(code.debit), HELD)),
        Side.CREDIT: (debit(code_of(code.credit), HELD), credit(other, HELD)),
    }[code.clears]
    draft = JournalEntryDraft(
        idempotency_key="before", kind="test", lines=lines, effective_at=MORNING, actor="service:test"
    )
    post_journal_entry(draft, recorded_at=MORNING)


@pytest.mark.parametrize("code", REASON_CODES, ids=lambda code: code.code)
def test_moves_what_was_asked_between_the_two_accounts_it_names(books: None, code: ReasonCode) -> None:
    fill(code)

    asked = adjust(code.code, "40")

    entry = ledger.entry(posted_entry_id(asked))
    assert [(line.account, line.amount) for line in entry.lines] == [
        (code_of(code.debit), Decimal(40)),
        (code_of(code.credit), Decimal(-40)),
    ]
    assert (entry.kind, entry.effective_at, entry.recorded_at, entry.actor, dict(entry.cause)) == (
        "manual_adjustment",
        MORNING,
        NOON,
        "user:fiona",
        {"manual_entry": str(asked.pk), **causes_in(asked.reference)},
    )
    balances = (ledger.balance_of(code_of(code.debit)), ledger.balance_of(code_of(code.credit)))
    assert balances == tuple(Decimal(amount) for amount in ENDS_AT[code.code])


@pytest.mark.parametrize("code", [code for code in REASON_CODES if code.clears is not None], ids=lambda code: code.code)
def test_clears_no_more_than_the_account_holds(books: None, code: ReasonCode) -> None:
    fill(code)

    with pytest.raises(InvalidManualEntry, match=r"holds \$100.00: no more than that") as refusal:
        adjust(code.code, "100.01")

    assert refusal.value.field == "amount"
    assert adjust(code.code, "100").pk


def test_an_account_that_stands_on_the_other_side_cannot_be_cleared(books: None) -> None:
    fill(BY_CODE["suspense_was_fee"])

    with pytest.raises(InvalidManualEntry, match="nothing to be cleared this way"):
        adjust("suspense_was_revenue", "1")


class TestTheCodesThemselves:
    def test_each_is_worked_above(self) -> None:
        assert set(ENDS_AT) == set(BY_CODE)
        assert len(BY_CODE) == len(REASON_CODES)

    def test_none_touches_an_account_whose_figure_somebody_else_tells(self) -> None:
        touched = {name for code in REASON_CODES for name in (code.debit, code.credit)}

        assert touched & set(NEVER_BY_HAND) == set()
        assert touched <= KNOWN_ACCOUNTS
        assert set(NEVER_BY_HAND) - {"grant"} <= KNOWN_ACCOUNTS

    def test_every_account_of_the_chart_is_decided_on(self) -> None:
        touched = {name for code in REASON_CODES for name in (code.debit, code.credit)}

        assert KNOWN_ACCOUNTS - touched == set(NEVER_BY_HAND) - {"grant"}

    def test_each_says_what_it_is_for_and_moves_between_two_accounts(self) -> None:
        for code in REASON_CODES:
            assert code.debit != code.credit
            assert len(code.purpose) > 40
            assert code.purpose.endswith(".")


@pytest.mark.parametrize(
    ("reference", "causes"),
    [
        ("txn_1 ch_2", {"balance_transaction": "txn_1", "charge": "ch_2"}),
        ("txn_1 pyr_2", {"balance_transaction": "txn_1", "refund": "pyr_2"}),
        ("po_1", {"payout": "po_1"}),
        ("SUP-1042", {}),
        ("the ch is missing", {}),
        ("in_1", {}),
    ],
)
def test_what_a_reference_names_at_stripe_becomes_a_cause(reference: str, causes: dict[str, str]) -> None:
    assert causes_in(reference) == causes


@pytest.mark.parametrize("name", sorted(NEVER_BY_HAND))
def test_asking_for_such_an_account_says_what_to_do_instead(books: None, name: str) -> None:
    with pytest.raises(InvalidManualEntry) as refusal:
        adjust("refund_promised", "1", reason_code=name)

    assert NEVER_BY_HAND[name] in str(refusal.value)
    assert refusal.value.field == "reason_code"
