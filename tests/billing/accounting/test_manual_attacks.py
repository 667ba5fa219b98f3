"""
SQL that tries to get around the second person, as the application's own role and as the owner of the tables, and the
name of the rule that refuses it.
"""

import psycopg
import pytest
from psycopg import errors

from billing.accounting.models import ManualEntry
from ledger.operations import JournalEntryDraft, credit, debit, post_journal_entry
from tests.billing.accounting.people import NOON, adjust, approve, hire, posted_entry_id, reverse
from tests.factories import CustomerFactory

DECIDE = """
    INSERT INTO billing_manualentrydecision
        (manual_entry_id, outcome, requested_by, needs_second_person, decided_by, decided_at, words, journal_entry_id)
    SELECT {manual_entry}, '{outcome}', {requested_by}, {needs}, '{decided_by}', now(), '{words}', {entry}
    FROM billing_manualentry WHERE id = {manual_entry}
"""
ASK = """
    INSERT INTO billing_manualentry
        (kind, reason_code, reason, reference, customer_id, currency, amount, debit_account, credit_account,
         reverses_entry_id, effective_at, limit_amount, alone_total, needs_second_person, requested_by, requested_at,
         idempotency_key)
    SELECT {kind}, {reason_code}, {reason}, '', customer_id, currency, {amount}, {debit}, {credit}, {reverses},
           {effective_at}, {limit}, {alone}, {needs}, requested_by, requested_at, 'attack'
    FROM billing_manualentry ORDER BY id LIMIT 1
"""


def decide(manual_entry: ManualEntry, **changes: object) -> str:
    honest = {
        "manual_entry": manual_entry.pk,
        "outcome": "approved",
        "requested_by": "requested_by",
        "needs": "needs_second_person",
        "decided_by": "user:fred",
        "words": "why",
        "entry": "NULL",
    }
    return DECIDE.format(**{**honest, **changes})


def ask(**changes: object) -> str:
    honest = {
        "kind": "kind",
        "reason_code": "reason_code",
        "reason": "reason",
        "amount": "amount",
        "debit": "debit_account",
        "credit": "credit_account",
        "reverses": "NULL",
        "effective_at": "effective_at",
        "limit": "limit_amount",
        "alone": "alone_total",
        "needs": "needs_second_person",
    }
    return ASK.format(**{**honest, **changes})


@pytest.fixture(autouse=True)
def _books(committed_db: None) -> None:
    hire()
    CustomerFactory(customer_key="acme")


@pytest.fixture
def waiting() -> ManualEntry:
    return adjust("refund_promised", "300")


def posted_past_the_form(asked: ManualEntry) -> int:
    """Exactly the entry that the request asks for, posted by somebody who has only the ledger."""
    draft = JournalEntryDraft(
        idempotency_key=f"manual_adjustment:{asked.pk}",
        kind="manual_adjustment",
        lines=(debit(asked.debit_account, asked.amount), credit(asked.credit_account, asked.amount)),
        effective_at=asked.effective_at,
        actor="user:fiona",
    )
    return post_journal_entry(draft, recorded_at=NOON).id


def rule_that_refuses(connection: psycopg.Connection, statement: str) -> str | None:
    with pytest.raises(errors.IntegrityError) as refusal, connection.transaction():
        connection.execute(statement.encode())
    return refusal.value.diag.constraint_name


class TestADecision:
    def test_of_who_asked_is_refused_even_with_the_right_entry(
        self, waiting: ManualEntry, app_connection: psycopg.Connection
    ) -> None:
        """The posting function takes any entry: it knows no people. The decision that would make it one is refused."""
        entry = posted_past_the_form(waiting)

        approved = decide(waiting, decided_by="user:fiona", entry=entry)
        rejected = decide(waiting, outcome="rejected", decided_by="user:fiona")

        assert rule_that_refuses(app_connection, approved) == "billing_manualentry_second_person"
        assert rule_that_refuses(app_connection, rejected) == "billing_manualentry_second_person"

    def test_above_the_limit_alone_is_refused_even_with_the_right_entry(
        self, waiting: ManualEntry, app_connection: psycopg.Connection
    ) -> None:
        entry = posted_past_the_form(waiting)

        attack = decide(waiting, outcome="within_limit", decided_by="user:fiona", entry=entry)

        assert rule_that_refuses(app_connection, attack) == "billing_manualentry_alone"

    def test_cannot_name_somebody_else_as_who_asked(
        self, waiting: ManualEntry, app_connection: psycopg.Connection
    ) -> None:
        attack = decide(waiting, outcome="rejected", requested_by="'user:otto'", decided_by="user:fiona")

        assert rule_that_refuses(app_connection, attack) == "billing_manualentry_decided_as_asked"

    def test_of_somebody_else_cannot_withdraw(self, waiting: ManualEntry, app_connection: psycopg.Connection) -> None:
        attack = decide(waiting, outcome="withdrawn")

        assert rule_that_refuses(app_connection, attack) == "billing_manualentry_second_person"

    def test_needs_words_and_an_entry_where_something_was_posted(
        self, waiting: ManualEntry, app_connection: psycopg.Connection
    ) -> None:
        without_words = decide(waiting, outcome="rejected", words="")
        without_entry = decide(waiting)

        assert rule_that_refuses(app_connection, without_words) == "billing_manualentry_decided_in_words"
        assert rule_that_refuses(app_connection, without_entry) == "billing_manualentry_posted"

    @pytest.mark.parametrize("number", ["42", "-1"])
    def test_cannot_point_at_an_entry_that_is_not_there(
        self, waiting: ManualEntry, app_connection: psycopg.Connection, number: str
    ) -> None:
        assert rule_that_refuses(app_connection, decide(waiting, entry=number)) == "billing_manualentry_posted_as_asked"

    def test_cannot_point_at_an_entry_that_says_something_else(
        self, waiting: ManualEntry, app_connection: psycopg.Connection
    ) -> None:
        others = (adjust("bank_holds_more", "5"), approve(adjust("refund_promised", "300")))
        for other in others:
            attack = decide(waiting, entry=posted_entry_id(other))

            assert rule_that_refuses(app_connection, attack) == "billing_manualentry_posted_as_asked"

    def test_of_a_reversal_cannot_point_at_another_entry(self, app_connection: psycopg.Connection) -> None:
        adjustment = approve(adjust("refund_promised", "300"))
        asked = reverse(posted_entry_id(adjustment))
        attack = decide(asked, entry=posted_entry_id(adjustment))

        assert rule_that_refuses(app_connection, attack) == "billing_manualentry_posted_as_asked"

    def test_is_made_once(self, app_connection: psycopg.Connection) -> None:
        asked = approve(adjust("refund_promised", "300"))

        refused_by = rule_that_refuses(app_connection, decide(asked, outcome="rejected"))

        assert refused_by == "billing_manualentrydecision_manual_entry_id_key"


class TestARequest:
    @pytest.fixture(autouse=True)
    def _one(self) -> None:
        adjust("refund_promised", "100")

    @pytest.mark.parametrize(
        ("changes", "rule"),
        [
            ({"amount": 0}, "billing_manualentry_amount"),
            ({"amount": "'NaN'"}, "billing_manualentry_amount"),
            ({"amount": -5}, "billing_manualentry_amount"),
            ({"reason": "''"}, "billing_manualentry_says_why"),
            ({"effective_at": "requested_at + interval '1 second'"}, "billing_manualentry_not_ahead"),
            ({"credit": "debit_account"}, "billing_manualentry_says_what"),
            ({"reason_code": "''"}, "billing_manualentry_says_what"),
            ({"reverses": 1}, "billing_manualentry_says_what"),
            ({"kind": "'reversal'"}, "billing_manualentry_says_what"),
            ({"kind": "'other'"}, "billing_manualentry_says_what"),
            ({"alone": 251}, "billing_manualentry_limit"),
            ({"amount": 300}, "billing_manualentry_limit"),
            ({"limit": "NULL"}, "billing_manualentry_limit"),
            ({"limit": "NULL", "needs": "NULL"}, None),
        ],
        ids=str,
    )
    def test_that_contradicts_itself_is_refused(
        self, app_connection: psycopg.Connection, changes: dict[str, object], rule: str | None
    ) -> None:
        assert rule_that_refuses(app_connection, ask(**changes)) == rule

    def test_in_parts_is_counted_by_the_database_too(self, app_connection: psycopg.Connection) -> None:
        """A request that hides what was moved before is found when it is posted."""
        app_connection.execute(ask(amount=200, alone=200).encode())
        hidden = ManualEntry.objects.get(idempotency_key="attack")
        attack = decide(hidden, outcome="within_limit", decided_by="user:fiona", entry=42)

        with pytest.raises(errors.IntegrityError) as refusal, app_connection.transaction():
            app_connection.execute(attack.encode())

        assert refusal.value.diag.constraint_name == "billing_manualentry_alone"


TABLES = ("billing_manualentry", "billing_manualentrydecision")
CHANGES = (
    "UPDATE billing_manualentry SET amount = 1",
    "UPDATE billing_manualentry SET needs_second_person = false, limit_amount = 1e6",
    "UPDATE billing_manualentry SET credit_account = 'receivable:acme:USD'",
    "UPDATE billing_manualentry SET requested_by = 'user:otto'",
    "UPDATE billing_manualentrydecision SET outcome = 'rejected', journal_entry_id = NULL",
    "UPDATE billing_manualentrydecision SET words = 'other words'",
)


class TestWhatWasAskedAndDecidedStays:
    @pytest.fixture(autouse=True)
    def _history(self) -> None:
        approve(adjust("refund_promised", "300"))

    def test_the_application_has_no_right_to_change_or_remove_it(self, app_connection: psycopg.Connection) -> None:
        for statement in (*CHANGES, *(f"{verb} {table}" for verb in ("DELETE FROM", "TRUNCATE") for table in TABLES)):
            with pytest.raises(errors.InsufficientPrivilege):
                app_connection.execute(statement.encode())

    def test_neither_has_the_owner(self, owner_connection: psycopg.Connection) -> None:
        for statement in CHANGES:
            table = statement.split()[1]
            assert rule_that_refuses(owner_connection, statement) == f"{table}_append_only"
        for table in TABLES:
            assert rule_that_refuses(owner_connection, f"DELETE FROM {table}") == f"{table}_kept"
            assert rule_that_refuses(owner_connection, f"TRUNCATE {table} CASCADE") in {f"{one}_kept" for one in TABLES}
