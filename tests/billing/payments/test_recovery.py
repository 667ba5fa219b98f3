"""A payment that failed: one case, each step once, and the end of it however the invoice is settled."""

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.payments.models import Payment
from billing.payments.recovery import operations
from billing.payments.recovery.models import Message, RecoveryCase, RecoveryPolicy
from billing.payments.recovery.policy import STANDARD, InvalidPolicy, agenda, steps_of, terms_of
from billing.payments.recovery.queries import StandingState, standing
from billing.stripe.errors import StripeRefused
from tests.billing.accounting.stripe_story import HAND_DECLINED, post
from tests.billing.payments.recovering import (
    OURS,
    SECOND,
    attempts,
    charges,
    choose,
    day,
    failed,
    go_to,
    invoice_path,
    run,
    sandbox_now,
    steps,
    texts,
)
from tests.billing.thread import SECOND_MONTH, START, Thread


class TestThePolicy:
    def test_reads_back_what_it_writes(self) -> None:
        assert terms_of(STANDARD.as_data()) == STANDARD
        assert terms_of(OURS).as_data() == OURS

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"retries": "smart"}, "retries"),
            ({"retries": "stripe"}, "retry_days"),
            ({"retry_days": []}, "retry_days"),
            ({"retry_days": [0, 3]}, "retry_days"),
            ({"retry_days": [3, 3]}, "retry_days"),
            ({"retry_days": [True]}, "retry_days"),
            ({"reminders": [{"day": 1, "text": "poem"}]}, "reminders"),
            ({"grace_days": -1}, "grace_days"),
            ({"restrict_after_days": 3}, "restrict_after_days"),
            ({"write_off_after_days": 6}, "write_off_after_days"),
            ({"late_fee": 5}, "late_fee"),
        ],
    )
    def test_is_refused_by_the_field_that_is_wrong(self, changes: dict[str, Any], field: str) -> None:
        with pytest.raises(InvalidPolicy) as refused:
            terms_of({**OURS, **changes})

        assert refused.value.field == field

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, 40 * 24), min_size=1, max_size=12))
    def test_does_every_step_once_or_notes_it_as_missed_whenever_the_task_runs(self, hours: list[int]) -> None:
        """The task runs at any instants, some twice: in the end each step is there once, none before its time."""
        todo, done = steps_of(terms_of(OURS), failed_at=START), set[tuple[str, int]]()
        for hour in [*sorted(hours), 41 * 24]:
            now = START + timedelta(hours=hour)
            found = agenda(todo, done=done, now=now)
            assert all(step.at <= now for step in (*found.due, *found.missed))
            kinds = [step.kind for step in found.due]
            assert len(kinds) == len(set(kinds))  # never two attempts, or two reminders, at one time
            new = [(step.kind, step.number) for step in (*found.due, *found.missed)]
            assert not done & set(new)
            done.update(new)
            assert found.next_at is None or found.next_at > now
        assert done == {(step.kind, step.number) for step in todo}

    def test_is_the_next_version_when_it_says_something_else(self, db: None) -> None:
        first = operations.declare_policy(code="a", name="A", terms=STANDARD, actor="user:fiona", now=START)
        again = operations.declare_policy(code="a", name="A", terms=STANDARD, actor="user:fiona", now=START)
        other = operations.declare_policy(code="a", name="A", terms=terms_of(OURS), actor="user:fiona", now=START)

        assert (first.pk, first.version, other.version) == (again.pk, 1, 2)


class TestACase:
    def test_is_opened_once_by_the_failure_and_follows_stripes_own_retries(self, thread: Thread) -> None:
        """Nobody chose a policy: the standard one, whose retries are Stripe's."""
        case = failed(thread)
        thread.settle(copies=2, shuffle=random.Random(1))
        assert [run(thread), run(thread)] == [1, 0]

        assert RecoveryCase.objects.count() == 1
        assert case.policy == RecoveryPolicy.objects.get(code="standard")
        assert steps(case) == [("opened", 0, "done"), ("reminder", 1, "done")]
        owed = standing(case.customer_id, now=sandbox_now(thread))
        assert (owed.state, owed.since, owed.until) == (StandingState.GRACE, case.failed_at, day(case, 14))
        assert [one.amount_minor for one in owed.owed] == [2000]
        assert standing(case.customer_id, now=day(case, 14) - SECOND).state == StandingState.GRACE
        assert standing(case.customer_id, now=day(case, 14)).state == StandingState.RESTRICTED

        # Stripe tries on its third day by itself, with a card that works: one charge, and the case ends.
        thread.use_card("ada", "pm_card_visa")
        go_to(thread, SECOND_MONTH + timedelta(days=4))
        case.refresh_from_db()
        assert (case.state, case.outcome) == ("closed", "paid")
        assert standing(case.customer_id, now=day(case, 20)).state == StandingState.GOOD
        assert charges(thread, case) == ["failed", "succeeded"]

    def test_goes_through_the_whole_policy_with_our_retries(self, thread: Thread) -> None:
        choose()
        case = failed(thread)
        for number in [*range(9), 30, 31]:
            run(thread, day(case, number))
            run(thread, day(case, number) + timedelta(hours=12))

        assert [(kind, number) for kind, number, _ in steps(case)] == [
            ("opened", 0),
            ("taken_over", 0),
            ("reminder", 1),
            ("attempt", 1),
            ("grace_ended", 0),
            ("attempt", 2),
            ("reminder", 2),
            ("attempt", 3),
            ("restricted", 0),
            ("write_off_proposed", 0),
        ]
        assert attempts(case) == [(1, "declined"), (2, "declined"), (3, "declined")]
        assert texts() == ["payment_failed", "last_reminder", "restricted"]
        assert charges(thread, case) == ["failed"] * 4
        assert run(thread, day(case, 300)) == 0

    def test_makes_up_for_nothing_that_would_come_as_a_storm(self, thread: Thread) -> None:
        """The task was down for ten days: one attempt, one reminder."""
        choose()
        case = failed(thread)
        run(thread, day(case, 10))

        assert attempts(case) == [(1, "missed"), (2, "missed"), (3, "declined")]
        assert texts() == ["last_reminder", "restricted"]
        # Nobody is told of a day that is over as one that is to come.
        assert Message.objects.get(text="last_reminder").context["restricts_on"] is None
        assert charges(thread, case) == ["failed"] * 2

    @pytest.mark.parametrize(
        ("path", "params", "outcome"),
        [
            ("{}/pay", {"paid_out_of_band": True}, "paid_elsewhere"),
            ("{}/void", {}, "void"),
            ("/v1/credit_notes", {"amount": 2000}, "credited"),
        ],
        ids=["elsewhere", "void", "credited"],
    )
    def test_ends_at_once_however_the_invoice_is_settled(
        self, thread: Thread, path: str, params: dict[str, Any], outcome: str
    ) -> None:
        choose()
        case = failed(thread)
        go_to(thread, day(case, 9))
        run(thread)
        assert standing(case.customer_id, now=sandbox_now(thread)).state == StandingState.RESTRICTED
        stripe_path = invoice_path(case)
        more = {"invoice": case.invoice.stripe_invoice_id} if "credit" in path else {}
        post(path.format(stripe_path), **params, **more)
        thread.settle()
        thread.redeliver_everything()

        case.refresh_from_db()
        assert (case.state, case.outcome, case.next_step_at) == ("closed", outcome, None)
        assert standing(case.customer_id, now=sandbox_now(thread)).state == StandingState.GOOD
        before = steps(case)
        assert run(thread, day(case, 40)) == 0
        assert steps(case) == before

    def test_stays_through_a_write_off_until_it_is_paid_after_all(self, thread: Thread) -> None:
        case = failed(thread)
        post(f"{invoice_path(case)}/mark_uncollectible")
        thread.settle()
        case.refresh_from_db()
        assert (case.state, case.next_step_at) == ("written_off", None)
        assert standing(case.customer_id, now=day(case, 15)).state == StandingState.RESTRICTED
        assert thread.balances()["bad_debt"] == 20

        post(f"{invoice_path(case)}/pay", payment_method="pm_card_visa")
        thread.settle()
        case.refresh_from_db()
        assert (case.state, case.outcome) == ("closed", "paid")
        assert standing(case.customer_id, now=day(case, 15)).state == StandingState.GOOD
        assert "bad_debt" not in thread.balances()

    def test_of_an_invoice_that_was_sent_begins_with_its_due_date(self, thread: Thread) -> None:
        thread.subscribe()
        thread.settle()
        customer = thread.sandbox.state()["customer"][0]["id"]
        sent = post("/v1/invoices", customer=customer, collection_method="send_invoice", days_until_due=10)
        line = {"amount": 700, "description": "Setup", "metadata": {"kind": "one_off"}}
        post(f"/v1/invoices/{sent['id']}/add_lines", lines=[line])
        post(f"/v1/invoices/{sent['id']}/finalize")
        thread.settle()
        assert run(thread, START + timedelta(days=9)) == 0
        run(thread, START + timedelta(days=11))

        case = RecoveryCase.objects.get()
        assert (case.failed_at, case.amount_minor) == (START + timedelta(days=10), 700)
        assert texts() == ["payment_failed"]

    def test_of_an_invoice_that_was_sent_does_not_begin_with_a_try_before_its_due_date(self, thread: Thread) -> None:
        """
        Whoever pays on the hosted page before it is due may fail, or wait for a bank transfer, and owes nothing yet
        (https://docs.stripe.com/payments/bank-transfers/accept-a-payment: such a payment `requires_action`).
        """
        thread.subscribe()
        thread.settle()
        customer = thread.sandbox.state()["customer"][0]["id"]
        sent = post("/v1/invoices", customer=customer, collection_method="send_invoice", days_until_due=10)
        line = {"amount": 700, "description": "Setup", "metadata": {"kind": "one_off"}}
        post(f"/v1/invoices/{sent['id']}/add_lines", lines=[line])
        post(f"/v1/invoices/{sent['id']}/finalize")
        thread.sandbox.advance(START + timedelta(days=1))
        card = post(f"/v1/payment_methods/{HAND_DECLINED}/attach", customer=customer)["id"]
        with pytest.raises(StripeRefused, match="card_declined"):
            post(f"/v1/invoices/{sent['id']}/pay", payment_method=card)
        thread.settle()
        assert Payment.objects.filter(invoice__stripe_invoice_id=sent["id"], status="failed").exists()
        assert (run(thread, START + timedelta(days=9)), texts()) == (0, [])

        run(thread, START + timedelta(days=11))
        assert RecoveryCase.objects.get().failed_at == START + timedelta(days=10)
