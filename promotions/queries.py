"""All reads about grants. What is left of a grant is the balance of its ledger account and nowhere else."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal

from django.db import connection
from django.db.models import DecimalField, Sum
from django.db.models.functions import Coalesce

from ledger import queries as ledger_queries
from promotions.accounting import GRANT_ACCOUNT_KIND, grant_account, grant_of_account, source_account
from promotions.burn_down import GrantBalance
from promotions.models import CreditGrant, GrantWithdrawal

__all__ = [
    "GrantTerms",
    "available",
    "grant_account",
    "grant_of_account",
    "grant_terms",
    "grants_by_id",
    "grants_of",
    "grants_of_many",
    "source_account",
    "withdrawn",
]

# Holds every amount of numeric(38, 12) without rounding.
_WIDE = Context(prec=50)


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """A grant as others may show it; `amount` is what was granted, in currency units; `reason` is for staff only."""

    grant_id: int
    name: str
    kind: str
    amount: Decimal
    currency: str
    expires_at: datetime | None
    reason: str
    issued_by: str


def available(grant_id: int) -> Decimal:
    """Return what is left of the grant, in currency units; zero once it has ended."""
    return ledger_queries.balance_of(grant_account(grant_id))


def withdrawn(grant_id: int) -> Decimal:
    """Return what of a paid grant was given back unused, in currency units."""
    found = GrantWithdrawal.objects.filter(grant_id=grant_id).aggregate(total=Sum("amount"))
    return found["total"] or Decimal(0)


def grants_of(customer_key: str, *, currency: str | None = None) -> list[GrantBalance]:
    """
    Return all grants of a customer, ended ones too, in id order with what is left of each; two queries.

    `amount` is without what was given back unused: usage could never burn that.
    """
    return grants_of_many([customer_key], currency=currency).get(customer_key, [])


def grants_of_many(customer_keys: Sequence[str], *, currency: str | None = None) -> dict[str, list[GrantBalance]]:
    """As `grants_of`, of many customers by key in the same two queries; who has no grant is left out."""
    grants = CreditGrant.objects.filter(customer_key__in=list(customer_keys)).order_by("pk")
    grants = grants.annotate(withdrawn=Coalesce(Sum("withdrawals__amount"), Decimal(0), output_field=DecimalField()))
    if currency is not None:
        grants = grants.filter(currency=currency)
    found: dict[str, list[CreditGrant]] = {}
    withdrawn: dict[int, Decimal] = {}
    for grant in grants:
        found.setdefault(grant.customer_key, []).append(grant)
        withdrawn[grant.pk] = grant.withdrawn
    if not found:
        return {}
    balances = ledger_queries.balances_of_customers(list(found), kind=GRANT_ACCOUNT_KIND)
    return {
        key: [_balance(grant, _WIDE.subtract(grant.amount, withdrawn[grant.pk]), balances) for grant in of_customer]
        for key, of_customer in found.items()
    }


def _balance(grant: CreditGrant, amount: Decimal, balances: Mapping[str, Decimal]) -> GrantBalance:
    return GrantBalance(
        grant_id=grant.pk,
        kind=grant.kind,
        priority=grant.priority,
        effective_at=grant.effective_at,
        expires_at=grant.expires_at,
        recorded_at=grant.recorded_at,
        amount=amount,
        available=balances[grant_account(grant.pk)],
        ended_at=grant.ended_at,
    )


def grants_by_id(grant_ids: Iterable[int]) -> dict[int, GrantTerms]:
    """Return the terms of several grants; one query."""
    return {
        grant.pk: GrantTerms(
            grant_id=grant.pk,
            name=grant.name,
            kind=grant.kind,
            amount=grant.amount,
            currency=grant.currency,
            expires_at=grant.expires_at,
            reason=grant.reason,
            issued_by=grant.issued_by,
        )
        for grant in CreditGrant.objects.filter(pk__in=list(grant_ids))
    }


def grant_terms(grant_ids: Iterable[int]) -> dict[int, tuple[str, str, datetime | None]]:
    """
    Return kind, name and expiry of any number of grants; one query, for reports over all of them.

    A list of a hundred thousand is sent as one array, and no row is made for each.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, kind, name, expires_at FROM promotions_creditgrant WHERE id = ANY(%s)", [list(grant_ids)]
        )
        return {grant_id: (kind, name, expires_at) for grant_id, kind, name, expires_at in cursor.fetchall()}
