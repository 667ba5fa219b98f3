"""Several people, or one person several times, in the same moment: on real connections."""

import threading
from collections.abc import Callable
from decimal import Decimal

import psycopg
import pytest
from django.contrib.auth.models import Group, User
from django.db import connections

from billing.accounting import operations
from billing.accounting.models import ManualEntry, ManualEntryDecision
from billing.accounting.operations import AlreadyDecided, InvalidManualEntry, ManualEntryError
from config.roles import FINANCE
from ledger import queries as ledger
from tests.billing.accounting.people import FIONA, FRED, NOON, adjust, approve, hire, posted_entry_id, reverse
from tests.factories import CustomerFactory

OTTO = "user:otto"


@pytest.fixture(autouse=True)
def _books(committed_db: None) -> None:
    hire()
    User.objects.create(username="otto", is_staff=True).groups.set([Group.objects.get(name=FINANCE)])
    CustomerFactory(customer_key="acme")


def at_once(*acts: Callable[[], ManualEntry]) -> tuple[list[ManualEntry], list[ManualEntryError]]:
    """Run all of them at the same time, each on a connection of its own; what they returned, and what was refused."""
    start, done, refused, lock = threading.Barrier(len(acts)), [], [], threading.Lock()

    def run(act: Callable[[], ManualEntry]) -> None:
        try:
            start.wait(timeout=60)
            returned = act()
            with lock:
                done.append(returned)
        except ManualEntryError as refusal:
            with lock:
                refused.append(refusal)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(done) + len(refused) == len(acts)
    return done, refused


def test_two_approvers_at_once_post_once() -> None:
    asked = adjust("refund_promised", "300")

    done, refused = at_once(lambda: approve(asked, actor=FRED), lambda: approve(asked, actor=OTTO))

    assert len(done) == 1
    assert [type(refusal) for refusal in refused] == [AlreadyDecided]
    assert ledger.balance_of("refund_due:acme:USD") == 300
    assert ledger.count_entries() == 1


def test_an_approval_and_a_withdrawal_at_once_are_one_decision() -> None:
    asked = adjust("refund_promised", "300")

    def withdraw() -> ManualEntry:
        return operations.withdraw(manual_entry_id=asked.pk, words="no", actor=FIONA, now=NOON)

    done, refused = at_once(lambda: approve(asked), withdraw)

    assert (len(done), [type(refusal) for refusal in refused]) == (1, [AlreadyDecided])
    decision = ManualEntryDecision.objects.get()
    assert ledger.count_entries() == (1 if decision.outcome == "approved" else 0)


def test_the_same_form_sent_several_times_at_once_posts_once() -> None:
    done, refused = at_once(*[lambda: adjust("refund_promised", "5", key="k")] * 4)

    assert refused == []
    assert len({asked.pk for asked in done}) == 1
    assert ledger.balance_of("refund_due:acme:USD") == 5


def test_one_person_does_not_pass_the_limit_by_asking_twice_at_once() -> None:
    done, _ = at_once(*(lambda key=key: adjust("refund_promised", "200", key=key) for key in ("a", "b")))

    assert sorted(asked.needs_second_person for asked in done) == [False, True]
    assert ledger.balance_of("refund_due:acme:USD") == 200


def test_two_people_do_not_clear_more_than_there_is() -> None:
    adjust("tax_understated", "150")

    done, refused = at_once(
        *(lambda actor=actor: adjust("tax_overstated", "100", key=actor, actor=actor) for actor in (FRED, OTTO))
    )

    assert (len(done), [type(refusal) for refusal in refused]) == (1, [InvalidManualEntry])
    assert ledger.balance_of("tax:payable:USD") == 50


def test_an_entry_is_reversed_once() -> None:
    entry_id = posted_entry_id(adjust("bank_holds_more", "10"))

    done, refused = at_once(
        *(lambda actor=actor: reverse(entry_id, actor=actor, idempotency_key=actor) for actor in (FRED, OTTO))
    )

    assert (len(done), len(refused)) == (1, 1)
    assert ledger.balance_of("bank:USD") == 0


def test_waits_for_the_customer_before_it_looks_at_what_the_account_holds(app_connection: psycopg.Connection) -> None:
    """Who moves the customer's money meanwhile is waited for: what is looked at is what stands."""
    adjust("refund_promised", "100")
    outcome: list[ManualEntryError] = []

    def end_too_much() -> None:
        try:
            adjust("refund_promise_ended", "60", actor=FRED)
        except ManualEntryError as refusal:
            outcome.append(refusal)
        finally:
            connections.close_all()

    other = threading.Thread(target=end_too_much)
    with app_connection.transaction():
        app_connection.execute("SELECT FROM billing_customer WHERE customer_key = 'acme' FOR NO KEY UPDATE")
        other.start()
        _until_somebody_waits(app_connection)
        app_connection.execute(
            "SELECT ledger_post_entries(%s::jsonb, now())",
            [
                '[{"idempotency_key": "paid", "kind": "stripe_refund", "memo": "", "effective_at": '
                '"2026-11-10T11:00:00Z", "actor": "service:stripe", "cause": {}, "body_digest": "\\\\x'
                + "00" * 32
                + '", "moves_to_open_period": false, "lines": [["refund_due:acme:USD", "50"], ["bank:USD", "-50"]]}]'
            ],
        )
    other.join(timeout=60)

    assert [refusal.field for refusal in outcome] == ["amount"]
    assert ledger.balance_of("refund_due:acme:USD") == Decimal(50)


def _until_somebody_waits(connection: psycopg.Connection) -> None:
    for _ in range(2000):
        (waiting,) = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() or (0,)
        if waiting:
            return
        connection.execute("SELECT pg_sleep(0.005)")
    raise AssertionError("nobody waits for the customer")
