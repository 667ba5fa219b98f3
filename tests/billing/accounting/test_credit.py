"""Outstanding credit and its movement: by hand, and against a plain retelling of the postings."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from billing.accounting.chart import balance, prepaid_pending, receivable, refund_due, system
from billing.accounting.queries import credit_movement, outstanding_credit
from billing.accounting.reports.credit import Ends, GrantMovement, ends_in
from billing.accounting.usage import UsageChange, post_usage_accrued
from ledger.models import Posting
from ledger.operations import (
    JournalEntryDraft,
    Line,
    PostedEntry,
    post_journal_entries,
    reverse_journal_entry,
)
from ledger.queries import entry_by_key, sums_by_kind
from promotions.operations import end_grant, issue_paid_grant
from promotions.queries import grant_account
from tests.billing.accounting.books import ACTOR, day, post
from tests.factories import OCTOBER, CreditGrantFactory, CustomerFactory

pytestmark = pytest.mark.django_db
END_OF_OCTOBER = datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC)
LATER = day("2027-01-05")


def use(
    customer_key: str,
    currency: str,
    revision: int,
    *,
    at: datetime,
    known_at: datetime | None = None,
    by_grant: dict[int, str],
    restored: dict[int, str] | None = None,
) -> None:
    """Usage that these grants pay for, all of it."""
    amounts = {grant_id: Decimal(amount) for grant_id, amount in by_grant.items()}
    change = UsageChange(
        rated=sum(amounts.values(), Decimal(0)),
        included=Decimal(0),
        unbilled=Decimal(0),
        by_grant=amounts,
        restored={grant_id: Decimal(amount) for grant_id, amount in (restored or {}).items()},
    )
    post_usage_accrued(
        change,
        customer_key=customer_key,
        currency=currency,
        period_id=revision,
        revision=revision,
        effective_at=at,
        recorded_at=known_at or at,
        actor=ACTOR,
    )


def an_autumn_of_credit() -> None:
    """What each grant and account comes to is worked out in the tests below."""
    for key, currency in (("acme", "USD"), ("zeta", "USD"), ("euro", "EUR")):
        CustomerFactory(customer_key=key, currency=currency)
    _expired_and_corrected()
    _goodwill_voided()
    _euros_given_back_by_usage()
    _issued_by_mistake()
    _paid_and_expired()
    _balances()


def _expired_and_corrected() -> None:
    """10 promised, 3 used, 7 expired on the 10th; usage of the 8th, known on the 12th, takes 2 after all."""
    grant = CreditGrantFactory(customer_key="acme", amount=Decimal(10), expires_at=day("2026-10-10"))
    use("acme", "USD", 1, at=day("2026-10-09"), by_grant={grant.pk: "3"})
    end_grant(grant_id=grant.pk, at=day("2026-10-10"), actor=ACTOR, reason="expired", recorded_at=day("2026-10-10"))
    use("acme", "USD", 2, at=day("2026-10-12"), by_grant={grant.pk: "2"}, restored={grant.pk: "2"})


def _goodwill_voided() -> None:
    """20 without an end; 4.50 used on the 20th, known in November; the rest voided on 3 November."""
    grant = CreditGrantFactory(customer_key="acme", kind="goodwill", amount=Decimal(20), effective_at=day("2026-10-05"))
    use("acme", "USD", 3, at=day("2026-10-20"), known_at=day("2026-11-02"), by_grant={grant.pk: "4.50"})
    end_grant(grant_id=grant.pk, at=day("2026-11-03"), actor=ACTOR, reason="a mistake", recorded_at=day("2026-11-03"))


def _euros_given_back_by_usage() -> None:
    """8 euros until June; 1.25 used, of which 0.25 come back in November because the usage was counted too high."""
    until = day("2027-06-30")
    grant = CreditGrantFactory(
        customer_key="euro", amount=Decimal(8), currency="EUR", effective_at=day("2026-10-15"), expires_at=until
    )
    use("euro", "EUR", 4, at=day("2026-10-31"), by_grant={grant.pk: "1.25"})
    use("euro", "EUR", 5, at=day("2026-11-02"), by_grant={grant.pk: "-0.25"})


def _issued_by_mistake() -> None:
    grant = CreditGrantFactory(customer_key="zeta", amount=Decimal(5), effective_at=day("2026-10-02"))
    entry = entry_by_key(f"grant:{grant.pk}:issued")
    assert entry is not None
    at = day("2026-10-04")
    reverse_journal_entry(entry_id=entry.id, effective_at=at, recorded_at=at, actor=ACTOR, memo="", cause={})


def _paid_and_expired() -> None:
    """50 prepaid on an invoice, paid on the 3rd; 10 used, 40 expired on the 20th: breakage."""
    pending = prepaid_pending("zeta", "USD")
    at = day("2026-10-01")
    post("in_p", (receivable("zeta", "USD"), "50"), (pending, "-50"), kind="invoice_finalized", at=at)
    grant = issue_paid_grant(
        customer_key="zeta",
        name="Prepaid",
        amount=Decimal(50),
        currency="USD",
        effective_at=day("2026-10-03"),
        expires_at=day("2026-10-20"),
        invoice="in_p",
        paid_from=pending,
        actor=ACTOR,
        idempotency_key="paid",
        recorded_at=day("2026-10-03"),
    )
    use("zeta", "USD", 6, at=day("2026-10-07"), by_grant={grant.pk: "10"})
    end_grant(grant_id=grant.pk, at=day("2026-10-20"), actor=ACTOR, reason="expired", recorded_at=day("2026-10-20"))


def _balances() -> None:
    """12 to the good of one customer, 0.20 owed by another, a refund of 6 promised and a further one of 1.50 sent."""
    adjusted, promised = system("contra:adjustments", "USD"), system("contra:refunds", "USD")
    at = day("2026-10-06")
    post("b1", (balance("acme", "USD"), "-12"), (adjusted, "12"), kind="customer_balance", at=at)
    post("b2", (balance("zeta", "USD"), "0.20"), (adjusted, "-0.20"), kind="customer_balance", at=at)
    post("r1", (refund_due("acme", "USD"), "-7.50"), (promised, "7.50"), kind="refund_promised", at=at)
    sent = system("stripe:in_transit", "USD")
    post("r2", (refund_due("acme", "USD"), "1.50"), (sent, "-1.50"), kind="refund_sent", at=day("2026-10-08"))


class TestByHand:
    def test_outstanding_at_the_end_of_october(self) -> None:
        an_autumn_of_credit()

        credit = outstanding_credit(effective_at=END_OF_OCTOBER, known_at=LATER)

        held = {(found.currency, found.kind): found.total for found in credit.by_kind() if found.total}
        assert held == {
            ("USD", "goodwill"): Decimal("15.5"),
            ("USD", "balance"): Decimal(12),
            ("USD", "balance_owed"): Decimal("-0.2"),
            ("USD", "refund_due"): Decimal(6),
            ("EUR", "promotional"): Decimal("6.75"),
        }
        assert credit.totals() == {"USD": Decimal("33.3"), "EUR": Decimal("6.75")}
        by_end = {found.kind: {end for end, amount in found.by_end.items() if amount} for found in credit.by_kind()}
        assert (by_end["goodwill"], by_end["promotional"]) == ({Ends.NEVER}, {Ends.TO_365})

    def test_outstanding_as_it_was_known_in_october(self) -> None:
        an_autumn_of_credit()

        credit = outstanding_credit(effective_at=END_OF_OCTOBER, known_at=END_OF_OCTOBER)

        # The 4.50 used on the 20th were not known yet.
        assert credit.totals()["USD"] == Decimal("37.8")

    def test_october_moves_as_it_was_lived(self) -> None:
        an_autumn_of_credit()

        movement = credit_movement(month=date(2026, 10, 9), known_at=LATER)

        def moved(kind: str, currency: str, **columns: str) -> GrantMovement:
            return GrantMovement(kind, currency, **{name: Decimal(amount) for name, amount in columns.items()})

        assert movement.grants == (
            moved("promotional", "EUR", issued="8", burnt="1.25", closing="6.75"),
            moved("goodwill", "USD", issued="20", burnt="4.5", closing="15.5"),
            moved("paid", "USD", issued="50", burnt="10", expired="40"),
            # 10 + 5 by mistake; 3 + 2 burnt; 7 expired; 2 restored and the 5 taken back.
            moved("promotional", "USD", issued="15", burnt="5", expired="7", corrections="-3"),
        )
        assert [(row.kind, row.added, row.taken, row.closing) for row in movement.others if row.currency == "USD"] == [
            ("balance", Decimal(12), Decimal("0.2"), Decimal("11.8")),
            ("prepaid_pending", Decimal(50), Decimal(50), Decimal(0)),
            ("refund_due", Decimal("7.5"), Decimal("1.5"), Decimal(6)),
        ]

    def test_november_opens_where_october_closed(self) -> None:
        an_autumn_of_credit()

        movement = credit_movement(month=date(2026, 11, 1), known_at=LATER)

        euro, goodwill = movement.grants
        assert (euro.opening, euro.burnt, euro.closing) == (Decimal("6.75"), Decimal("-0.25"), Decimal(7))
        assert (goodwill.opening, goodwill.voided, goodwill.closing) == (Decimal("15.5"), Decimal("15.5"), Decimal(0))

    def test_nothing_is_unexplained(self) -> None:
        an_autumn_of_credit()

        for month in (date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1), date(2026, 12, 1)):
            movement = credit_movement(month=month, known_at=LATER)
            assert {row.unexplained for row in movement.grants} <= {Decimal(0)}
            assert {row.unexplained for row in movement.others} <= {Decimal(0)}


@pytest.mark.parametrize(
    ("expires_at", "ends"),
    [(None, Ends.NEVER), (OCTOBER, Ends.OVERDUE), (OCTOBER + timedelta(microseconds=1), Ends.TO_30),
     (OCTOBER + timedelta(days=30), Ends.TO_30), (OCTOBER + timedelta(days=30, microseconds=1), Ends.TO_90),
     (OCTOBER + timedelta(days=90), Ends.TO_90), (OCTOBER + timedelta(days=365), Ends.TO_365),
     (OCTOBER + timedelta(days=366), Ends.LATER)],
)  # fmt: skip
def test_the_edges_of_each_end(expires_at: datetime | None, ends: Ends) -> None:
    assert ends_in(expires_at, at=OCTOBER) is ends


def test_asks_as_often_however_much_credit_there_is() -> None:
    def asked() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as outstanding:
            outstanding_credit(effective_at=LATER, known_at=LATER)
        with CaptureQueriesContext(connection) as moved:
            credit_movement(month=date(2026, 10, 1), known_at=LATER)
        return len(outstanding), len(moved)

    CreditGrantFactory(customer_key="someone")
    few = asked()
    an_autumn_of_credit()

    assert few == asked() == (3, 7)


# --- against a plain retelling ----------------------------------------------------------------------------------------

KINDS = ["grant_issued", "paid_grant_issued", "usage_accrued", "grant_ended", "paid_grant_expired",
         "credit_note_issued", "something_new"]  # fmt: skip
EXPIRES = {"promotional": day("2026-03-01"), "goodwill": None}
steps = st.lists(
    st.tuples(
        st.sampled_from(sorted(EXPIRES)),
        st.sampled_from(KINDS),
        st.sampled_from(["5", "-2", "1.25", "-0.000000000001"]),
        st.sampled_from([None, "1", "-1"]),  # a second line on the same grant
        st.integers(0, 120),
        st.integers(0, 40),
        st.booleans(),
    ),
    max_size=15,
)
months = st.sampled_from([date(2026, month, 1) for month in (1, 2, 3, 4)])
START = datetime(2026, 1, 1, tzinfo=UTC)


def write(kinds: dict[str, int], moves: Any) -> None:
    """Post the steps in order; what a floor refuses is left out. The kinds' grants are issued with 100 each."""
    for number, (kind, entry_kind, first, second, effective, known_after, is_reversed) in enumerate(moves):
        grant, other = grant_account(kinds[kind]), system("contra:promotions", "USD")
        amounts = [Decimal(first), *([Decimal(second)] if second else [])]
        if not sum(amounts):
            continue
        at = START + timedelta(days=effective, hours=1)
        draft = JournalEntryDraft(
            idempotency_key=f"move:{number}",
            kind=entry_kind,
            lines=(*(Line(grant, -amount) for amount in amounts), Line(other, sum(amounts, Decimal(0)))),
            effective_at=at,
            actor=ACTOR,
        )
        known = at + timedelta(days=known_after)
        (posted,) = post_journal_entries([draft], recorded_at=known)
        if is_reversed and isinstance(posted, PostedEntry):
            later = known + timedelta(days=9)
            reverse_journal_entry(
                entry_id=posted.id, effective_at=later, recorded_at=later, actor=ACTOR, memo="", cause={}
            )


def retold(kinds: dict[str, int], *, month: date, known_at: datetime) -> dict[str, dict[str, Decimal]]:
    """The movement of each kind in plain Python, from the raw postings."""
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    end = datetime(month.year, month.month + 1, 1, tzinfo=UTC)
    found: dict[str, dict[str, Decimal]] = {}
    for kind, grant_id in kinds.items():
        seen: set[int] = set()
        columns: dict[str, Decimal] = {}
        lines = Posting.objects.filter(account__code=grant_account(grant_id)).select_related("entry")
        for line in lines.order_by("entry_id", "line_no"):
            entry, held = line.entry, -line.amount
            if entry.recorded_at > known_at or entry.effective_at >= end:
                continue
            is_first = line.entry_id not in seen
            seen.add(line.entry_id)
            columns["closing"] = columns.get("closing", Decimal(0)) + held
            if entry.effective_at < start:
                column, change = "opening", held
            elif entry.reverses_id is not None or not is_first:
                column, change = "corrections", held
            elif entry.kind in ("grant_issued", "paid_grant_issued"):
                column, change = "issued", held
            elif entry.kind == "usage_accrued":
                column, change = "burnt", -held
            elif entry.kind == "credit_note_issued":
                column, change = "given_back", -held
            elif entry.kind == "paid_grant_expired":
                column, change = "expired", -held
            elif entry.kind == "grant_ended":
                expires = EXPIRES[kind]
                column, change = "expired" if expires and entry.effective_at >= expires else "voided", -held
            else:
                column, change = "corrections", held
            columns[column] = columns.get(column, Decimal(0)) + change
        found[kind] = {name: amount for name, amount in columns.items() if amount}
    return {kind: columns for kind, columns in found.items() if columns}


@given(moves=steps, month=months, known_after=st.integers(0, 200))
def test_agrees_with_the_postings_retold_and_with_the_accounts(moves: Any, month: date, known_after: int) -> None:
    known_at = START + timedelta(days=known_after)
    with transaction.atomic():
        CustomerFactory(customer_key="acme")
        kinds = {
            kind: CreditGrantFactory(
                customer_key="acme", kind=kind, amount=Decimal(100), effective_at=START, expires_at=expires,
                recorded_at=START,
            ).pk
            for kind, expires in EXPIRES.items()
        }  # fmt: skip
        write(kinds, moves)

        movement = credit_movement(month=month, known_at=known_at)

        names = [field for field in GrantMovement.__slots__ if field not in ("kind", "currency")]
        told = {row.kind: {name: getattr(row, name) for name in names if getattr(row, name)} for row in movement.grants}
        # A grant_ended and its expiry are told apart by the latest of a month; the sums are the same either way.
        assert {kind: _merged(columns) for kind, columns in told.items()} == {
            kind: _merged(columns) for kind, columns in retold(kinds, month=month, known_at=known_at).items()
        }
        assert {row.unexplained for row in movement.grants} <= {Decimal(0)}
        (accounts,) = sums_by_kind(["grant"], effective_at=movement.ends_at - timedelta(seconds=1), known_at=known_at)
        assert sum(row.closing for row in movement.grants) == accounts.amount
        transaction.set_rollback(True)


def _merged(columns: dict[str, Decimal]) -> dict[str, Decimal]:
    """Expired and voided as one: a grant ends once, these draw it many times."""
    ended = columns.get("expired", Decimal(0)) + columns.get("voided", Decimal(0))
    rest = {name: amount for name, amount in columns.items() if name not in ("expired", "voided")}
    return {**rest, **({"ended": ended} if ended else {})}
