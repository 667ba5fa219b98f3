"""Seals: what they cover, what they refuse, and that nobody slips between two of them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import StringIO

import psycopg
import pytest
from django.core.management import call_command
from django.db import transaction

from config.celery import app
from ledger.models import Seal
from ledger.operations import PostedEntry, RecordedBeforeSeal, post_journal_entries, post_journal_entry
from ledger.queries import balance_of
from ledger.sealing import MadeSeal, make_seals
from ledger.tasks import task_seal_journal
from ledger.verification import merkle_root
from tests.ledger.chart import FIRST, GRANT, OTHERS_UNBILLED, THIRD, UNBILLED, accrual, draft, issue, post
from tests.ledger.test_races import WAIT_SECONDS, Elsewhere, poster
from tests.ledger.test_verification import verified
from tests.settled import wait_until_settled


@pytest.fixture
def other(committed_chart: None) -> Iterator[Elsewhere]:
    with Elsewhere() as elsewhere:
        yield elsewhere
    assert verified() == []


def seal(max_entries: int = 1_000) -> list[MadeSeal]:
    return list(make_seals(sealed_at=THIRD, max_entries=max_entries))


def sealed_ids() -> list[list[int]]:
    return list(Seal.objects.order_by("number").values_list("entry_ids", flat=True))


def test_an_open_transaction_falls_into_the_next_seal(other: Elsewhere) -> None:
    with transaction.atomic():
        mine = post(accrual("began before", "1"))
        (theirs,) = other.start(poster(accrual("theirs", "2", OTHERS_UNBILLED))).result(WAIT_SECONDS)
        sealed_while_open = other.start(seal).result(WAIT_SECONDS)
        in_first = sealed_ids()
    wait_until_settled()
    seal()

    assert isinstance(theirs, PostedEntry)
    assert [made.entry_count for made in sealed_while_open] == [0]  # theirs has a higher number than mine
    assert in_first == [[]]
    assert sealed_ids() == [[], [mine.id, theirs.id]]


def test_what_committed_below_the_horizon_is_sealed_at_once(other: Elsewhere) -> None:
    before = post(accrual("before", "1"))
    wait_until_settled()
    with transaction.atomic():
        mine = post(accrual("open", "1"))
        other.start(seal).result(WAIT_SECONDS)
    wait_until_settled()
    seal()

    assert sealed_ids() == [[before.id], [mine.id]]


def test_two_seals_at_once_follow_each_other(other: Elsewhere) -> None:
    post(accrual("usage", "1"))
    wait_until_settled()
    with transaction.atomic():
        seal()
        waiting = other.start(seal)
        other.wait_until_blocked()

    (made,) = waiting.result(WAIT_SECONDS)

    assert made.number == 2
    assert [len(ids) for ids in sealed_ids()] == [1, 0]


def test_nothing_is_recorded_before_the_last_seal(other: Elsewhere) -> None:
    post(accrual("usage", "1"))
    seal()
    early = THIRD - timedelta(microseconds=1)

    # In one transaction, which the refusals leave usable.
    with transaction.atomic():
        with pytest.raises(RecordedBeforeSeal, match=r"2026-10-02 23:59:59\.999999"):
            post_journal_entry(accrual("early", "1"), recorded_at=early)
        with pytest.raises(RecordedBeforeSeal):
            post_journal_entries([accrual("usage", "1"), accrual("early", "1")], recorded_at=early)
        assert post_journal_entry(accrual("in time", "1"), recorded_at=THIRD).created

    assert balance_of(UNBILLED) == 2


def test_what_was_recorded_before_a_seal_is_still_answered(committed_chart: None) -> None:
    first = post(accrual("usage", "1"))
    wait_until_settled()
    seal()

    assert post(accrual("usage", "1")) == PostedEntry(first.id, created=False)


def test_a_backlog_is_sealed_in_parts_of_whole_transactions(other: Elsewhere) -> None:
    for number in range(3):
        post_journal_entries([accrual(f"{number}:{part}", "1") for part in range(2)], recorded_at=FIRST)
    wait_until_settled()

    made = seal(max_entries=3)

    assert [part.entry_count for part in made] == [2, 2, 2]
    assert [part.number for part in made] == [1, 2, 3]


def test_one_transaction_larger_than_a_seal_is_in_one_seal(other: Elsewhere) -> None:
    post_journal_entries([accrual(f"large:{part}", "1") for part in range(5)], recorded_at=FIRST)
    post(accrual("after", "1"))
    wait_until_settled()

    assert [made.entry_count for made in seal(max_entries=2)] == [5, 1]


def test_the_canonical_form_can_be_made_elsewhere(committed_chart: None, owner_connection: psycopg.Connection) -> None:
    """Root and hash again, with nothing but Python's own JSON and SHA-256, from rows read as text."""
    awkward = 'quote " backslash \\ tab \t bell \x07 snow ☃ del \x7f'
    post_journal_entry(
        replace(issue("issue", "10"), memo=awkward, cause={"why": awkward}),
        recorded_at=FIRST + timedelta(microseconds=500),
    )
    post(draft("burn", *accrual("x", "2.5", GRANT).lines))
    wait_until_settled()
    seal()

    leaves = [leaf(owner_connection, entry_id) for entry_id in Seal.objects.get().entry_ids]
    (made,) = Seal.objects.all()
    header = [
        made.number,
        "2026-10-03T00:00:00",
        made.from_xid,
        made.before_xid,
        2,
        made.first_entry,
        made.last_entry,
        bytes(made.root).hex(),
        "00" * 32,
    ]

    assert [bytes(hashed) for hashed in made.leaf_hashes] == leaves
    assert bytes(made.root) == merkle_root(leaves)
    assert bytes(made.hash) == hashlib.sha256(canonical(header)).digest()


def canonical(body: list[object]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def leaf(owner: psycopg.Connection, entry_id: int) -> bytes:
    entry = owner.execute(
        "SELECT id, idempotency_key, kind, memo, to_json(effective_at AT TIME ZONE 'UTC') #>> '{}',"
        " to_json(recorded_at AT TIME ZONE 'UTC') #>> '{}', actor, cause::text, encode(body_digest, 'hex'),"
        " reverses_id, recorded_xid FROM ledger_journalentry WHERE id = %s",
        [entry_id],
    ).fetchone()
    lines = owner.execute(
        "SELECT line_no, account_id, amount::text, balance_after::text, account_version, code, kind, currency,"
        " normal_side, customer_key, floor::text, keeps_balance FROM ledger_posting"
        " JOIN ledger_account ON ledger_account.id = account_id WHERE entry_id = %s ORDER BY line_no",
        [entry_id],
    ).fetchall()
    assert entry is not None
    return hashlib.sha256(b"\0" + canonical([*entry, [[*line[:5], list(line[5:])] for line in lines]])).digest()


def test_the_command_seals_and_says_what(committed_chart: None) -> None:
    post(accrual("usage", "1"))
    wait_until_settled()
    out = StringIO()

    call_command("seal_ledger", stdout=out)

    assert json.loads(out.getvalue()) == {"seal": 1, "entries": 1}


def test_the_journal_is_sealed_every_day(committed_chart: None) -> None:
    post(accrual("usage", "1"))
    wait_until_settled()

    assert task_seal_journal() == 1
    assert app.conf.beat_schedule["seal the journal"]["task"] == task_seal_journal.name
    assert app.conf.task_routes["ledger.*"] == {"queue": "money"}
