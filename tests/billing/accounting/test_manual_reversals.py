# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""Reversing an entry by hand: only where no other operation undoes it, once, and with the same limit."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.accounting import chart, manual_entries
from billing.accounting.models import ManualEntry
from billing.accounting.operations import InvalidManualEntry, ManualEntryConflict
from billing.accounting.reversals import REVERSIBLE_BY_HAND, UNDECIDED, UNDONE_BY, remedy_for
from ledger import queries as ledger
from ledger.operations import JournalEntryDraft, credit, debit, post_journal_entry, reverse_journal_entry
from promotions.accounting import Entry as GrantEntry
from tests.billing.accounting.people import FIONA, FRED, MORNING, NOON, adjust, approve, posted_entry_id, reverse

pytestmark = pytest.mark.usefixtures("books")


def an_entry_of(kind: str) -> int:
    lines = (debit("bank:USD", Decimal(7)), credit("suspense:USD", Decimal(7)))
    draft = JournalEntryDraft(idempotency_key=kind, kind=kind, lines=lines, effective_at=MORNING, actor=FIONA)
    return post_journal_entry(draft, recorded_at=MORNING).id


def test_an_adjustment_is_undone_by_its_mirror_image_linked_to_it() -> None:
    adjustment = adjust("refund_promised", "40")

    asked = reverse(posted_entry_id(adjustment))

    entry = ledger.entry(posted_entry_id(asked))
    assert [(line.account, line.amount) for line in entry.lines] == [
        ("contra:refunds:USD", -40),
        ("refund_due:acme:USD", 40),
    ]
    assert (entry.reverses, dict(entry.cause)) == (posted_entry_id(adjustment), {"manual_entry": str(asked.pk)})
    assert (asked.amount, asked.currency) == (Decimal(40), "USD")
    assert asked.customer is not None
    assert asked.customer.customer_key == "acme"
    assert ledger.balance_of("refund_due:acme:USD") == 0
    assert manual_entries.reversals_asked_of(entry.reverses or 0).get() == asked


def test_a_large_one_waits_for_a_second_person_and_is_asked_for_once() -> None:
    adjustment = approve(adjust("refund_promised", "300"))
    asked = reverse(posted_entry_id(adjustment))

    with pytest.raises(InvalidManualEntry, match="asked for already, by user:fiona"):
        reverse(posted_entry_id(adjustment), actor=FRED)
    approve(asked)

    assert ledger.balance_of("refund_due:acme:USD") == 0


def test_what_was_paid_out_meanwhile_is_not_taken_back() -> None:
    adjustment = adjust("refund_promised", "40")
    adjust("refund_paid_by_bank", "30")

    with pytest.raises(InvalidManualEntry, match=r"refund_due:acme:USD holds \$10.00"):
        reverse(posted_entry_id(adjustment))


def test_what_is_not_there_is_not_reversed() -> None:
    with pytest.raises(InvalidManualEntry, match="no journal entry 999"):
        reverse(999)


def test_it_is_reversed_once() -> None:
    entry_id = posted_entry_id(adjust("refund_promised", "40"))
    undone = reverse(entry_id, idempotency_key="first")

    with pytest.raises(InvalidManualEntry, match="reversed already, by entry"):
        reverse(entry_id, idempotency_key="second")
    with pytest.raises(ManualEntryConflict):
        reverse(posted_entry_id(undone), idempotency_key="first")
    assert reverse(entry_id, idempotency_key="first").pk == undone.pk


def test_somebody_else_reversed_it_before_the_approval() -> None:
    entry_id = posted_entry_id(approve(adjust("bank_holds_more", "300")))
    asked = reverse(entry_id)
    reverse_journal_entry(
        entry_id=entry_id, effective_at=NOON, recorded_at=NOON, actor="service:x", memo="", cause={"x": "y"}
    )

    with pytest.raises(InvalidManualEntry, match="has already been reversed"):
        approve(asked)

    assert manual_entries.waiting().get() == asked


def test_a_reversal_is_never_reversed() -> None:
    undone = reverse(posted_entry_id(adjust("refund_promised", "40")))

    with pytest.raises(InvalidManualEntry, match="itself the reversal of entry"):
        reverse(posted_entry_id(undone))


def test_it_takes_effect_not_before_the_entry_itself() -> None:
    entry_id = posted_entry_id(adjust("refund_promised", "40"))

    with pytest.raises(InvalidManualEntry, match="Not before the entry itself") as refusal:
        reverse(entry_id, effective_at=MORNING - timedelta(seconds=1))

    assert refusal.value.field == "effective_at"


@pytest.mark.parametrize("kind", sorted(UNDONE_BY))
def test_a_fact_that_something_else_undoes_says_what(kind: str) -> None:
    with pytest.raises(InvalidManualEntry) as refusal:
        reverse(an_entry_of(kind))

    assert UNDONE_BY[kind] in str(refusal.value)
    assert not ManualEntry.objects.exists()


def test_a_kind_that_nobody_decided_on_is_refused() -> None:
    with pytest.raises(InvalidManualEntry) as refusal:
        reverse(an_entry_of("something_new"))

    assert UNDECIDED in str(refusal.value)


@pytest.mark.parametrize("kind", sorted([*chart.Entry, *GrantEntry]))
def test_every_kind_of_entry_is_decided_on(kind: str) -> None:
    assert (kind in REVERSIBLE_BY_HAND) != (kind in UNDONE_BY)
    assert remedy_for(kind) != UNDECIDED
