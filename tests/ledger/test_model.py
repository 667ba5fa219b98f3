"""Random histories: the set-based function against the model, and against itself however the batches are cut."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import chain, pairwise

import pytest
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from ledger.models import JournalEntry
from ledger.operations import (
    AccountSpec,
    JournalEntryDraft,
    Line,
    PostedEntry,
    RefusedEntry,
    open_accounts,
    post_journal_entries,
)
from ledger.periods import close_periods
from ledger.queries import accounts_out_of_step, balance_of, out_of_balance, trial_balance
from tests.ledger.chart import FIRST, THIRD
from tests.ledger.model import ModelAccount, ModelLedger

SPECS = (
    AccountSpec("asset:1", "asset", "USD", "D", "a"),
    AccountSpec("asset:2", "asset", "USD", "D", "b", floor=Decimal(-2)),
    AccountSpec("grant:1", "grant", "USD", "C", "a", floor=Decimal(0)),
    AccountSpec("grant:2", "grant", "USD", "C", "b", floor=Decimal(0)),
    AccountSpec("system:1", "revenue", "USD", "C", keeps_balance=False),
    AccountSpec("system:2", "expense", "USD", "D", keeps_balance=False),
    AccountSpec("euro:1", "asset", "EUR", "D", "a", floor=Decimal(0)),
    AccountSpec("euro:2", "revenue", "EUR", "C", keeps_balance=False),
)
DOLLARS = [spec.code for spec in SPECS if spec.currency == "USD"]
EUROS = [spec.code for spec in SPECS if spec.currency == "EUR"]

# Small, so that floors are met and missed; with dust, so that twelve places count.
amounts = st.sampled_from([Decimal(text) for text in ("1", "2", "3", "0.5", "0.000000000001", "1.999999999999")])


def balanced(codes: list[str]) -> st.SearchStrategy[list[Line]]:
    """Two to four lines over the accounts that sum to zero."""
    pairs = st.tuples(st.sampled_from(codes), st.sampled_from(codes), amounts)
    return st.lists(pairs, min_size=1, max_size=2).map(
        lambda moves: [
            line
            for source, target, amount in moves
            for line in (Line(target, amount), Line(source, amount.copy_negate()))
        ]
    )


crooked = st.lists(
    st.builds(Line, st.sampled_from([*DOLLARS, *EUROS, "nowhere"]), amounts | amounts.map(lambda a: -a)), max_size=3
)
lines = st.one_of(
    balanced(DOLLARS),
    balanced(DOLLARS),
    balanced(EUROS),
    st.tuples(balanced(DOLLARS), balanced(EUROS)).map(lambda both: [*both[0], *both[1]]),
    crooked,
)
drafts = st.builds(
    JournalEntryDraft,
    idempotency_key=st.sampled_from([f"key:{number}" for number in range(20)]),
    kind=st.sampled_from(["usage", "usage", "fx_conversion"]),
    lines=lines.map(tuple),
    effective_at=st.sampled_from([FIRST, FIRST, THIRD]),
    actor=st.just("system:test"),
    moves_to_open_period=st.booleans(),
)
# A history is batches; some drafts come again, in the same batch or a later one.
histories = st.lists(drafts, min_size=1, max_size=25).flatmap(
    lambda first: st.lists(st.sampled_from(first), max_size=10).flatmap(
        lambda again: st.permutations([*first, *again]).flatmap(_cut)
    )
)


def _cut(history: Sequence[JournalEntryDraft]) -> st.SearchStrategy[list[list[JournalEntryDraft]]]:
    cuts = st.lists(st.integers(0, len(history)), max_size=3).map(lambda at: [0, *sorted(at), len(history)])
    return cuts.map(lambda at: [list(history[i:j]) for i, j in pairwise(at)])


def model() -> ModelLedger:
    accounts = {spec.code: ModelAccount(spec.currency, spec.normal_side, spec.floor) for spec in SPECS}
    return ModelLedger(accounts, closed_before=FIRST)


def told(outcomes: list[PostedEntry | RefusedEntry], numbers: dict[int, int]) -> list[tuple[str, object]]:
    """The outcomes in the model's words; `numbers` counts the entries in the order in which they were posted."""
    created = [outcome.id for outcome in outcomes if isinstance(outcome, PostedEntry) and outcome.created]
    assert created == sorted(created)
    answers: list[tuple[str, object]] = []
    for outcome in outcomes:
        if isinstance(outcome, RefusedEntry):
            answers.append(("refused", outcome.rule))
        elif outcome.created:
            answers.append(("posted", numbers.setdefault(outcome.id, len(numbers))))
        else:
            answers.append(("repeated", numbers[outcome.id]))
    return answers


@pytest.mark.django_db
@given(history=histories, closes_after=st.integers(0, 4))
def test_agrees_with_the_model(history: list[list[JournalEntryDraft]], closes_after: int) -> None:
    expected = model()
    numbers: dict[int, int] = {}

    with transaction.atomic():
        open_accounts(SPECS)
        for place, batch in enumerate(history):
            if place == closes_after:
                close_periods(before=THIRD, decided_at=THIRD, actor="user:test", reason="Half way.")
                expected.closed_before = THIRD
            outcomes = post_journal_entries(batch, recorded_at=FIRST)
            assert told(outcomes, numbers) == [expected.post(draft) for draft in batch]
            assert {spec.code: balance_of(spec.code) for spec in SPECS} == {
                code: account.balance for code, account in expected.accounts.items()
            }
            assert out_of_balance() == []
            assert accounts_out_of_step() == []
        stored = dict(JournalEntry.objects.values_list("id", "effective_at"))
        assert [stored[entry_id] for entry_id in numbers] == expected.instants
        assert sum(row.debit - row.credit for row in trial_balance()) == 0
        transaction.set_rollback(True)


@pytest.mark.django_db
@given(history=histories)
def test_a_batch_is_its_drafts_one_by_one(history: list[list[JournalEntryDraft]]) -> None:
    results = []
    for batches in (history, [[draft] for batch in history for draft in batch], [list(chain(*history))]):
        numbers: dict[int, int] = {}
        with transaction.atomic():
            open_accounts(SPECS)
            answers = [told(post_journal_entries(batch, recorded_at=FIRST), numbers) for batch in batches]
            results.append((list(chain(*answers)), trial_balance()))
            transaction.set_rollback(True)

    assert results[0] == results[1] == results[2]
