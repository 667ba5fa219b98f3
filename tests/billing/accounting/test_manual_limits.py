"""How much one person may move alone: exactly the limit, a cent above it, in parts, elsewhere, and on the next day."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.accounting.models import ManualEntry, ManualEntryDecision
from billing.accounting.operations import InvalidManualEntry, ManualEntryConflict, NotPermitted, reject
from ledger import queries as ledger
from ledger.periods import close_periods
from tests.billing.accounting.people import (
    EMRE,
    FRED,
    MORNING,
    NOON,
    SAM,
    adjust,
    approve,
    posted_entry_id,
    reverse,
    user_of,
)
from tests.factories import CustomerFactory

pytestmark = pytest.mark.usefixtures("books")
BEFORE_MIDNIGHT = datetime(2026, 11, 10, 23, 59, 59, 999_999, tzinfo=UTC)


def waits(asked: ManualEntry) -> bool:
    return asked.needs_second_person and not ManualEntryDecision.objects.filter(manual_entry=asked).exists()


class TestTheLimit:
    def test_of_exactly_the_limit_is_posted_at_once(self) -> None:
        asked = adjust("refund_promised", "250.00")

        assert not waits(asked)
        assert ledger.balance_of("refund_due:acme:USD") == 250

    def test_of_a_cent_above_it_waits_and_nothing_is_posted(self) -> None:
        asked = adjust("refund_promised", "250.01")

        assert waits(asked)
        assert (asked.limit_amount, asked.alone_total) == (Decimal(250), Decimal("250.01"))
        assert ledger.count_entries() == 0

    def test_cannot_be_dodged_by_asking_in_parts(self) -> None:
        alone = [adjust("refund_promised", "100"), adjust("refund_promised", "100")]

        third = adjust("refund_promised", "50.01")

        assert [waits(asked) for asked in (*alone, third)] == [False, False, True]
        assert third.alone_total == Decimal("250.01")

    def test_is_used_up_by_every_reason_and_by_reversals(self) -> None:
        first = adjust("refund_promised", "150")
        ended = adjust("refund_promise_ended", "60")

        undone = reverse(posted_entry_id(ended))

        assert [waits(asked) for asked in (first, ended, undone)] == [False, False, True]
        assert undone.alone_total == Decimal(270)

    def test_counts_each_customer_and_the_house_apart(self) -> None:
        asked = [
            adjust("refund_promised", "250"),
            adjust("refund_promised", "250", customer_key="zeta"),
            adjust("bank_holds_more", "250"),
        ]

        assert [waits(each) for each in asked] == [False] * 3
        assert waits(adjust("tax_understated", "0.01"))

    def test_counts_each_person_apart(self) -> None:
        adjust("refund_promised", "250")

        assert not waits(adjust("refund_promised", "250", actor=SAM))
        assert waits(adjust("refund_promised", "0.01"))

    def test_counts_each_currency_apart(self) -> None:
        CustomerFactory(customer_key="kyoto", currency="JPY")
        adjust("bank_holds_more", "250")

        assert not waits(adjust("bank_holds_more", "40000", currency="JPY"))
        assert waits(adjust("bank_holds_more", "1", currency="JPY"))

    def test_begins_anew_at_midnight_utc(self) -> None:
        adjust("refund_promised", "250", now=BEFORE_MIDNIGHT)
        too_early = adjust("refund_promised", "1", now=BEFORE_MIDNIGHT)

        next_day = adjust("refund_promised", "250", now=BEFORE_MIDNIGHT + timedelta(microseconds=1))

        assert (waits(too_early), waits(next_day)) == (True, False)

    def test_does_not_count_what_a_second_person_saw_or_refused(self) -> None:
        approve(adjust("refund_promised", "1000"))
        reject(manual_entry_id=adjust("refund_promised", "900").pk, words="no", actor=FRED, now=NOON)

        assert not waits(adjust("refund_promised", "250"))

    def test_of_a_currency_without_one_is_nothing(self) -> None:
        CustomerFactory(customer_key="oslo", currency="NOK")

        asked = adjust("refund_promised", "0.01", customer_key="oslo", currency="NOK")

        assert waits(asked)
        assert asked.limit_amount is None


def test_worked_example_of_a_promise_sent_in_part() -> None:
    adjust("refund_promised", "40")
    adjust("refund_paid_by_bank", "30")
    with pytest.raises(InvalidManualEntry, match=r"holds \$10.00"):
        adjust("refund_promise_ended", "10.01")
    adjust("refund_promise_ended", "10")

    codes = ("contra:refunds:USD", "bank:USD", "refund_due:acme:USD")
    assert [ledger.balance_of(code) for code in codes] == [Decimal(30), Decimal(-30), Decimal(0)]
    assert waits(adjust("refund_promised", "170.01"))
    assert not waits(adjust("refund_promised", "170"))


class TestSaidTwice:
    def test_posts_once(self) -> None:
        first, again = adjust("refund_promised", "5", key="k"), adjust("refund_promised", "5.00", key="k")

        assert first.pk == again.pk
        assert ledger.count_entries() == 1

    def test_returns_the_first_also_after_it_used_up_what_it_clears(self) -> None:
        adjust("refund_promised", "5")

        first, again = (adjust("refund_promise_ended", "5", key="k") for _ in range(2))

        assert first.pk == again.pk

    @pytest.mark.parametrize(
        "other",
        [
            {"amount": Decimal(6)},
            {"customer_key": "zeta"},
            {"reason": "another reason"},
            {"reference": "SUP-2"},
            {"effective_at": NOON},
            {"actor": SAM},
            {"reason_code": "refund_promise_ended"},
        ],
        ids=lambda other: next(iter(other)),
    )
    def test_with_other_terms_is_refused(self, other: dict[str, Any]) -> None:
        adjust("refund_promised", "5", key="k")

        with pytest.raises(ManualEntryConflict):
            adjust("refund_promised", "5", key="k", **other)

        assert ledger.count_entries() == 1


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"amount": Decimal(0)}, "amount", "above zero"),
        ({"amount": Decimal(-1)}, "amount", "above zero"),
        ({"amount": Decimal("NaN")}, "amount", "above zero"),
        ({"amount": Decimal("1e26")}, "amount", "above zero"),
        ({"amount": Decimal("0.001")}, "amount", "At most 2 decimal places"),
        ({"customer_key": "nobody"}, "customer_key", "no customer with the key 'nobody'"),
        ({"customer_key": ""}, "customer_key", "no customer"),
        ({"currency": "EUR"}, "currency", "this customer's money is in USD"),
        ({"reason": "  "}, "reason", "Say why"),
        ({"reason": "x" * 501}, "reason", "At most 500"),
        ({"reference": ""}, "reference", "Charge or ticket needed"),
        ({"reference": "x" * 201}, "reference", "At most 200"),
        ({"effective_at": NOON + timedelta(seconds=1)}, "effective_at", "before that instant has come"),
        ({"effective_at": NOON.replace(tzinfo=None)}, "effective_at", "time zone"),
        ({"reason_code": "anything"}, "reason_code", "Choose one of the reasons"),
    ],
    ids=str,
)
def test_a_wrong_term_is_named_with_its_remedy(wrong: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InvalidManualEntry, match=said) as refusal:
        adjust("refund_promised", "5", **wrong)

    assert refusal.value.field == field
    assert not ManualEntry.objects.exists()
    assert ledger.count_entries() == 0


def test_the_house_has_accounts_only_in_currencies_of_customers() -> None:
    with pytest.raises(InvalidManualEntry, match="no accounts in 'CHF'") as refusal:
        adjust("bank_holds_more", "1", currency="CHF")

    assert refusal.value.field == "currency"


def test_a_customer_is_not_named_where_none_is_concerned() -> None:
    with pytest.raises(InvalidManualEntry, match="leave the customer out"):
        adjust("bank_holds_more", "1", customer_key="acme")


@pytest.mark.parametrize("reference", ["ch_1", "txn 1", "txn_", ""])
def test_a_reference_has_to_look_like_what_it_is(reference: str) -> None:
    with pytest.raises(InvalidManualEntry, match="Balance transaction needed"):
        adjust("suspense_was_fee", "1", reference=reference)


def test_a_date_in_a_closed_period_is_refused_and_the_open_one_named() -> None:
    close_periods(before=NOON - timedelta(hours=1), decided_at=NOON, actor="user:fiona", reason="October is out")

    with pytest.raises(InvalidManualEntry, match=r"closed before 10 Nov 2026 11:00 UTC") as refusal:
        adjust("refund_promised", "5", effective_at=MORNING)

    assert refusal.value.field == "effective_at"
    assert adjust("refund_promised", "5", effective_at=NOON - timedelta(hours=1)).pk


class TestWhoMayAsk:
    def test_customer_success_asks_for_what_customers_were_promised_and_nothing_else(self) -> None:
        assert adjust("refund_promised", "5", actor=SAM).decision.decided_by == SAM
        for code in ("debt_recovered", "suspense_was_fee", "tax_paid", "refund_paid_by_bank"):
            with pytest.raises(NotPermitted):
                adjust(code, "5", actor=SAM)
        with pytest.raises(NotPermitted):
            reverse(1, actor=SAM)

    @pytest.mark.parametrize("actor", [EMRE, "user:nobody", "service:stripe", "task:accrue", "fiona"])
    def test_others_ask_for_nothing(self, actor: str) -> None:
        with pytest.raises(NotPermitted, match="Ask somebody of finance"):
            adjust("refund_promised", "5", actor=actor)

        assert not ManualEntry.objects.exists()

    def test_who_was_deactivated_asks_for_nothing(self) -> None:
        user = user_of(SAM)
        user.is_active = False
        user.save()

        with pytest.raises(NotPermitted):
            adjust("refund_promised", "5", actor=SAM)
