"""Grants are issued and ended once, row and ledger together."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from billing.accounting import chart
from ledger import queries as ledger
from ledger.operations import InsufficientBalance, JournalEntryDraft, credit, debit, post_journal_entry
from promotions import accounting
from promotions.models import CreditGrant
from promotions.operations import (
    GrantAlreadyEnded,
    GrantConflict,
    GrantNotFound,
    InvalidGrant,
    end_grant,
    expire_due_grants,
    issue_grant,
)
from promotions.queries import available, grants_of
from tests.factories import OCTOBER, CreditGrantFactory

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
GIVEN_AWAY = "contra:promotions:USD"


def issue(**changes: Any) -> CreditGrant:
    terms: dict[str, Any] = {
        "customer_key": "acme",
        "kind": "goodwill",
        "name": "Apology",
        "amount": Decimal("12.5"),
        "currency": "USD",
        "effective_at": OCTOBER,
        "expires_at": OCTOBER + 30 * DAY,
        "reason": "an outage",
        "actor": "user:cs",
        "idempotency_key": "apology-1",
        "recorded_at": OCTOBER + DAY,
    }
    return issue_grant(**{**terms, **changes})


def end(grant: CreditGrant, **changes: Any) -> CreditGrant:
    terms: dict[str, Any] = {"at": OCTOBER + 5 * DAY, "actor": "user:cs", "reason": "mistake"}
    return end_grant(**{"grant_id": grant.pk, "recorded_at": OCTOBER + 6 * DAY, **terms, **changes})


class TestIssueGrant:
    def test_gives_value_away(self) -> None:
        grant = issue()

        assert available(grant.pk) == Decimal("12.5")
        assert ledger.balance_of(GIVEN_AWAY) == Decimal("12.5")
        assert ledger.out_of_balance() == []

    def test_enters_when_it_takes_effect_and_when_it_was_recorded(self) -> None:
        grant = issue()

        (line,) = ledger.newest_lines([ledger.find_account(f"grant:{grant.pk}")], limit=2)
        assert (line.effective_at, line.recorded_at) == (OCTOBER, OCTOBER + DAY)

    def test_said_twice_is_done_once(self) -> None:
        first = issue()

        again = issue(recorded_at=OCTOBER + 2 * DAY, actor="service:retry", amount=Decimal("12.500"))

        assert again == first
        assert CreditGrant.objects.count() == 1
        assert ledger.balance_of(GIVEN_AWAY) == Decimal("12.5")

    @pytest.mark.parametrize(
        "changes", [{"amount": Decimal(13)}, {"customer_key": "beta"}, {"expires_at": None}, {"priority": 1}], ids=str
    )
    def test_the_same_key_with_other_terms_is_refused(self, changes: dict[str, Any]) -> None:
        issue()

        with pytest.raises(GrantConflict, match=next(iter(changes))):
            issue(**changes)

        assert ledger.count_entries() == 1

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("amount", Decimal(0)),
            ("amount", Decimal(-1)),
            ("amount", Decimal("0.0000000000001")),
            ("amount", Decimal("NaN")),
            ("amount", Decimal("1e26")),
            ("amount", 5.0),
            ("kind", "paid"),
            ("kind", "unheard"),
            ("priority", -1),
            ("reason", "  "),
            ("expires_at", OCTOBER),
        ],
    )
    def test_wrong_terms_are_refused_by_name(self, field: str, value: object) -> None:
        with pytest.raises(InvalidGrant) as refusal:
            issue(**{field: value})

        assert refusal.value.field == field
        assert not CreditGrant.objects.exists()

    def test_keeps_the_smallest_amount_exactly(self) -> None:
        grant = issue(amount=Decimal("99999999999999999999999999.000000000001"))

        assert available(grant.pk) == Decimal("99999999999999999999999999.000000000001")

    def test_shares_contra_promotions_and_breakage_with_billing_s_chart(self) -> None:
        grant_specs = accounting.account_specs(grant_id=1, customer_key="acme", currency="USD")

        assert [spec.kind for spec in grant_specs[:2]] == ["contra:promotions", "breakage"]
        assert all(spec in chart.system_account_specs("USD") for spec in grant_specs[:2])


class TestEndGrant:
    def test_takes_back_the_rest(self) -> None:
        grant = issue()

        assert end(grant).ended_at == OCTOBER + 5 * DAY
        assert available(grant.pk) == 0
        assert ledger.balance_of(GIVEN_AWAY) == 0

    def test_of_a_grant_that_is_used_up_needs_no_entry(self) -> None:
        grant = issue()
        spend(grant, Decimal("12.5"))

        end(grant)

        assert ledger.count_entries() == 2

    def test_said_twice_is_done_once(self) -> None:
        grant = issue()
        end(grant)

        end(grant, recorded_at=OCTOBER + 9 * DAY)

        assert ledger.count_entries() == 2

    def test_at_another_instant_is_refused(self) -> None:
        grant = issue()
        end(grant)

        with pytest.raises(GrantAlreadyEnded):
            end(grant, at=OCTOBER + 4 * DAY)

    def test_in_the_future_is_refused(self) -> None:
        with pytest.raises(InvalidGrant):
            end(issue(), at=OCTOBER + 7 * DAY)

    def test_of_no_grant_is_refused(self) -> None:
        with pytest.raises(GrantNotFound):
            end_grant(grant_id=0, at=OCTOBER, actor="user:cs", reason="-", recorded_at=OCTOBER)

    def test_before_it_takes_effect_takes_all_of_it_back(self) -> None:
        grant = issue(effective_at=OCTOBER + 20 * DAY)

        end(grant)

        assert available(grant.pk) == 0


class TestExpireDueGrants:
    def test_ends_each_at_its_expiry_and_leaves_the_others(self) -> None:
        due = CreditGrantFactory(customer_key="acme", expires_at=OCTOBER + DAY)
        later = CreditGrantFactory(customer_key="acme", expires_at=OCTOBER + 3 * DAY)
        never = CreditGrantFactory(customer_key="acme", expires_at=None)

        assert expire_due_grants(now=OCTOBER + 2 * DAY) == 1
        assert expire_due_grants(now=OCTOBER + 2 * DAY) == 0

        assert [available(grant.pk) for grant in (due, later, never)] == [0, 10, 10]
        due.refresh_from_db()
        assert due.ended_at == OCTOBER + DAY


class TestGrantsOf:
    def test_lists_terms_and_what_is_left(self) -> None:
        grant, other = issue(), issue(idempotency_key="apology-2", currency="EUR")
        issue(idempotency_key="apology-3", customer_key="beta")
        spend(grant, Decimal(2))

        assert [(one.grant_id, one.amount, one.available) for one in grants_of("acme")] == [
            (grant.pk, Decimal("12.5"), Decimal("10.5")),
            (other.pk, Decimal("12.5"), Decimal("12.5")),
        ]
        assert [one.grant_id for one in grants_of("acme", currency="EUR")] == [other.pk]
        assert grants_of("nobody") == []


def spend(grant: CreditGrant, amount: Decimal) -> None:
    draft = JournalEntryDraft(
        idempotency_key=f"spend-{grant.pk}-{amount}",
        kind="test",
        lines=(debit(f"grant:{grant.pk}", amount), credit(GIVEN_AWAY, amount)),
        effective_at=OCTOBER + DAY,
        actor="user:tester",
    )
    with transaction.atomic():
        post_journal_entry(draft, recorded_at=OCTOBER + DAY)


def test_a_grant_never_falls_below_zero() -> None:
    with pytest.raises(InsufficientBalance):
        spend(issue(), Decimal("12.500000000001"))
