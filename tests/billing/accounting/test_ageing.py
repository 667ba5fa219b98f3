"""Ageing of receivables: by hand, against a plain retelling of the postings, and at any pair of instants."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from billing.accounting.chart import receivable
from billing.accounting.queries import receivables_ageing
from billing.accounting.reports.ageing import Age, AgedSum, age_of
from ledger.operations import reverse_journal_entry
from ledger.queries import balance_at
from tests.billing.accounting.books import day, invoice_row, months_of_receivables, owes
from tests.factories import CustomerFactory

pytestmark = pytest.mark.django_db
YEAR_END = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
AFTER = day("2027-01-05")


def told(aged: AgedSum) -> dict[str, str]:
    return {str(age): str(amount.normalize()) for age, amount in aged.by_age.items() if amount}


class TestByHand:
    def test_at_the_end_of_december_as_known_then(self) -> None:
        months_of_receivables()

        ageing = receivables_ageing(effective_at=YEAR_END, known_at=YEAR_END)

        # in_a1: 100 - 30, due 15 Sep, 107 days. in_a2: 40 - 5, due 20 Dec, 11 days. in_a3: due in January.
        # in_z1: 80, due 10 Oct, 82 days, its payment not known yet. in_z2 is written off. -7 names no invoice.
        euro, dollar = ageing.by_currency()
        assert (dollar.currency, told(dollar)) == (
            "USD",
            {"current": "6E+1", "1–30": "35", "61–90": "8E+1", "over 90": "7E+1", "unallocated": "-7"},
        )
        assert (dollar.total, dollar.past_due) == (Decimal(238), Decimal(185))
        # in_e1: 50 euros, due 1 Dec, 30 days.
        assert (euro.currency, told(euro)) == ("EUR", {"1–30": "5E+1"})
        assert [(aged.customer_key, aged.total) for aged in ageing.by_customer()] == [
            ("acme", Decimal(165)),
            ("zeta", Decimal(73)),
            ("euro", Decimal(50)),
        ]
        assert [(item.stripe_invoice_id, item.days_past_due, item.amount) for item in ageing.items] == [
            ("in_a1", 107, Decimal(70)),
            ("in_a2", 11, Decimal(35)),
            ("in_a3", -29, Decimal(60)),
            ("in_e1", 30, Decimal(50)),
            ("", None, Decimal(-7)),
            ("in_z1", 82, Decimal(80)),
        ]

    def test_a_payment_known_later_changes_what_was_so_and_not_what_was_believed(self) -> None:
        months_of_receivables()

        believed = receivables_ageing(effective_at=YEAR_END, known_at=YEAR_END)
        was_so = receivables_ageing(effective_at=YEAR_END, known_at=AFTER)
        before_it = receivables_ageing(effective_at=day("2026-12-27"), known_at=AFTER)

        open_of = [
            {item.stripe_invoice_id: item.amount for item in ageing.items}.get("in_z1")
            for ageing in (believed, was_so, before_it)
        ]
        assert open_of == [Decimal(80), None, Decimal(80)]
        assert was_so.by_currency()[1].total == Decimal(158)

    def test_of_one_customer_holds_nobody_elses(self) -> None:
        months_of_receivables()

        ageing = receivables_ageing(effective_at=YEAR_END, known_at=YEAR_END, customer_key="zeta")

        assert {item.customer_key for item in ageing.items} == {"zeta"}
        assert [aged.total for aged in ageing.by_currency()] == [Decimal(73)]

    def test_an_invoice_that_is_not_ours_is_owed_all_the_same(self) -> None:
        owes(CustomerFactory(customer_key="acme"), "in_unknown", "5", at=day("2026-10-01"))

        (item,) = receivables_ageing(effective_at=YEAR_END, known_at=YEAR_END).items

        assert (item.invoice, item.age, item.amount) == (None, Age.UNALLOCATED, Decimal(5))

    def test_a_reversal_counts_for_the_invoice_of_what_it_mirrors(self) -> None:
        acme = CustomerFactory(customer_key="acme")
        invoice_row(acme, "in_1", 500, finalized_at=day("2026-10-01"))
        entry = owes(acme, "in_1", "5", at=day("2026-10-01"))
        reverse_journal_entry(
            entry_id=entry.id,
            effective_at=day("2026-10-03"),
            recorded_at=day("2026-10-03"),
            actor="user:tester",
            memo="mistaken",
            cause={"manual_entry": "1"},
        )

        assert receivables_ageing(effective_at=YEAR_END, known_at=YEAR_END).items == ()
        assert len(receivables_ageing(effective_at=day("2026-10-02"), known_at=YEAR_END).items) == 1


@pytest.mark.parametrize(
    ("days", "age"),
    [(-1, Age.CURRENT), (0, Age.CURRENT), (1, Age.TO_30), (30, Age.TO_30), (31, Age.TO_60), (60, Age.TO_60),
     (61, Age.TO_90), (90, Age.TO_90), (91, Age.OVER_90), (None, Age.UNALLOCATED)],
)  # fmt: skip
def test_the_edges_of_each_age(days: int | None, age: Age) -> None:
    assert age_of(days) is age


def test_a_day_is_a_day_of_utc() -> None:
    acme = CustomerFactory(customer_key="acme")
    invoice_row(acme, "in_1", 500, finalized_at=datetime(2026, 10, 1, 23, 59, tzinfo=UTC))
    owes(acme, "in_1", "5", at=datetime(2026, 10, 1, 23, 59, tzinfo=UTC))

    def age(*instant: int) -> Age:
        at = datetime(*instant, tzinfo=UTC)  # type: ignore[misc, arg-type]
        return receivables_ageing(effective_at=at, known_at=at).items[0].age

    assert age(2026, 10, 1, 23, 59, 59) is Age.CURRENT
    assert age(2026, 10, 2, 0, 0, 0) is Age.TO_30


def test_asks_twice_however_many_invoices_there_are() -> None:
    owes(CustomerFactory(), "in_1", "5", at=day("2026-10-01"))
    with CaptureQueriesContext(connection) as one:
        receivables_ageing(effective_at=YEAR_END, known_at=YEAR_END)
    months_of_receivables()
    with CaptureQueriesContext(connection) as many:
        receivables_ageing(effective_at=YEAR_END, known_at=YEAR_END)

    assert (len(one), len(many)) == (2, 2)


# --- against a plain retelling ----------------------------------------------------------------------------------------

INVOICES = {"in_1": (0, None), "in_2": (40, None), "in_3": (50, 80)}  # finalised and due, in days from the start
START = datetime(2026, 1, 1, tzinfo=UTC)
movements = st.lists(
    st.tuples(
        st.sampled_from(["acme", "zeta", "euro"]),
        st.sampled_from(["in_1", "in_2", "in_3", "in_nowhere", ""]),
        st.sampled_from([Decimal(text) for text in ("10", "-10", "3.33", "-3.33", "0.01", "-25")]),
        st.integers(0, 150),  # the day on which it took effect
        st.integers(0, 30),  # after how many days it was known
        st.booleans(),  # whether it was reversed a day after it was known
    ),
    max_size=15,
)
instants = st.integers(0, 190).map(lambda days: START + timedelta(days=days))


def retold(moves: Any, *, effective_at: datetime, known_at: datetime) -> dict[tuple[str, str], Decimal]:
    """The same in plain Python: by currency and age, from the movements as they were drawn."""
    open_sums: dict[tuple[str, str], Decimal] = {}
    for customer, invoice, amount, effective, known_after, is_reversed in moves:
        steps = [(effective, effective + known_after, amount)]
        if is_reversed:
            steps.append((effective + known_after + 1, effective + known_after + 1, -amount))
        for at, known, change in steps:
            if START + timedelta(days=at) <= effective_at and START + timedelta(days=known) <= known_at:
                open_sums[customer, invoice] = open_sums.get((customer, invoice), Decimal(0)) + change
    found: dict[tuple[str, str], Decimal] = {}
    for (customer, invoice), amount in open_sums.items():
        finalized, due = INVOICES.get(invoice, (None, None))
        since = due if due is not None else finalized
        age = "unallocated"
        if since is not None:
            days = (effective_at - START).days - since
            age = ["current", "1–30", "31–60", "61–90", "over 90"][sum(days > edge for edge in (0, 30, 60, 90))]
        where = ("EUR" if customer == "euro" else "USD", age)
        found[where] = found.get(where, Decimal(0)) + amount
    return {where: amount for where, amount in found.items() if amount}


@given(moves=movements, effective_at=instants, known_at=instants)
def test_agrees_with_the_postings_retold_and_with_the_accounts(
    moves: Any, effective_at: datetime, known_at: datetime
) -> None:
    with transaction.atomic():
        customers = {key: CustomerFactory(customer_key=key) for key in ("acme", "zeta")}
        customers["euro"] = CustomerFactory(customer_key="euro", currency="EUR")
        for name, (finalized, due) in INVOICES.items():
            due_at = None if due is None else START + timedelta(days=due)
            invoice_row(customers["acme"], name, 0, finalized_at=START + timedelta(days=finalized), due_at=due_at)
        for number, (customer, invoice, amount, effective, known_after, is_reversed) in enumerate(moves):
            at = START + timedelta(days=effective)
            known = at + timedelta(days=known_after)
            entry = owes(customers[customer], invoice, str(amount), at=at, known_at=known, kind=f"move_{number}")
            if is_reversed:
                later = known + timedelta(days=1)
                reverse_journal_entry(
                    entry_id=entry.id, effective_at=later, recorded_at=later, actor="user:x", memo="", cause={}
                )

        ageing = receivables_ageing(effective_at=effective_at, known_at=known_at)

        by_age = {
            (aged.currency, str(age)): amount
            for aged in ageing.by_currency()
            for age, amount in aged.by_age.items()
            if amount
        }
        assert by_age == retold(moves, effective_at=effective_at, known_at=known_at)
        for customer in customers.values():
            code = receivable(customer.customer_key, customer.currency)
            open_items = [item.amount for item in ageing.items if item.customer_key == customer.customer_key]
            assert sum(open_items) == balance_at(code, effective_at=effective_at, known_at=known_at)
        transaction.set_rollback(True)
