"""
All writes about grants. Each commits the row and its ledger entry together or neither.

Amounts are Decimal currency units; `recorded_at` is the interface's now.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from decimal import Context, Decimal

from django.db import transaction

from ledger import operations as ledger_operations
from promotions import accounting, queries
from promotions.models import CreditGrant, GrantWithdrawal

logger = logging.getLogger(__name__)

DECIMAL_PLACES = 12
DEFAULT_PRIORITY = 50
EXPIRY_ACTOR = "service:promotions"
PRIORITY_MAX = 32_767
# What numeric(38, 12) holds before the point, and a context wide enough to compare without rounding.
AMOUNT_LIMIT = Decimal(10) ** 26
_WIDE = Context(prec=50)


class GrantError(Exception):
    """A grant cannot be issued or ended as asked; nothing was written."""


class InvalidGrant(GrantError):
    """The terms themselves are wrong, whatever else exists. `field` names the one to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class GrantConflict(GrantError):
    """The idempotency key was used before for a grant with other terms."""


class GrantNotFound(GrantError):
    """No grant has this id."""


class GrantAlreadyEnded(GrantError):
    """The grant ended at another instant before."""


class GrantIsPaid(GrantError):
    """Paid credit is the customer's money: it expires as agreed or is given back, nobody can take it."""


def issue_grant(
    *,
    customer_key: str,
    kind: str,
    name: str,
    amount: Decimal,
    currency: str,
    priority: int = DEFAULT_PRIORITY,
    effective_at: datetime,
    expires_at: datetime | None,
    reason: str,
    actor: str,
    idempotency_key: str,
    recorded_at: datetime,
) -> CreditGrant:
    """
    Give a customer an amount that usage in [effective_at, expires_at) burns.

    Said twice with the same key it returns the first grant; `recorded_at` and `actor` may then differ. Raises
    InvalidGrant, and GrantConflict when the key belongs to a grant with other terms.
    """
    terms = {
        "customer_key": customer_key,
        "kind": kind,
        "name": name,
        "amount": amount,
        "currency": currency,
        "priority": priority,
        "effective_at": effective_at,
        "expires_at": expires_at,
        "reason": reason,
    }
    if kind == CreditGrant.Kind.PAID:
        raise InvalidGrant("kind", "paid credit comes from a paid invoice, it cannot be given away")
    _require_valid_terms(
        kind=kind, amount=amount, priority=priority, reason=reason, effective_at=effective_at, expires_at=expires_at
    )
    with transaction.atomic():
        grant, created = CreditGrant.objects.get_or_create(
            idempotency_key=idempotency_key, defaults={**terms, "issued_by": actor, "recorded_at": recorded_at}
        )
        if created:
            _enter_issue(grant)
    _require_same_terms(grant, terms)
    return grant


def issue_paid_grant(
    *,
    customer_key: str,
    name: str,
    amount: Decimal,
    currency: str,
    priority: int = DEFAULT_PRIORITY,
    effective_at: datetime,
    expires_at: datetime | None,
    invoice: str,
    paid_from: str,
    actor: str,
    idempotency_key: str,
    recorded_at: datetime,
) -> CreditGrant:
    """
    Turn prepaid credit that was paid into a grant. Only for the room that knows the invoice `invoice` to be paid.

    `paid_from` is the account on which the invoice left the amount. Said twice with the same key it returns the first
    grant. Raises InvalidGrant, GrantConflict, and LedgerError.
    """
    terms = {
        "customer_key": customer_key,
        "kind": CreditGrant.Kind.PAID.value,
        "name": name,
        "amount": amount,
        "currency": currency,
        "priority": priority,
        "effective_at": effective_at,
        "expires_at": expires_at,
        "reason": f"Prepaid by invoice {invoice}",
    }
    _require_valid_terms(
        kind=CreditGrant.Kind.PAID,
        amount=amount,
        priority=priority,
        reason=invoice,
        effective_at=effective_at,
        expires_at=expires_at,
    )
    with transaction.atomic():
        grant, created = CreditGrant.objects.get_or_create(
            idempotency_key=idempotency_key, defaults={**terms, "issued_by": actor, "recorded_at": recorded_at}
        )
        if created:
            _open_accounts(grant)
            accounting.post_paid_grant_issued(
                grant_id=grant.pk,
                amount=amount,
                currency=currency,
                paid_from=paid_from,
                invoice=invoice,
                effective_at=effective_at,
                recorded_at=recorded_at,
                actor=actor,
                memo=grant.reason,
            )
    _require_same_terms(grant, terms)
    return grant


def withdraw_paid_credit(
    *, grant_id: int, at_most: Decimal, reason: str, idempotency_key: str, recorded_at: datetime
) -> Decimal:
    """
    Take unused paid credit out of a grant, to be given back; return how much that is: at most what is left of it.

    Needs the caller's transaction, in which the caller debits the grant's account with that amount: only the caller
    knows where it goes. Said twice with the same key it returns what the first withdrew.
    Raises GrantNotFound, and InvalidGrant for a grant that was not paid.
    """
    grant = CreditGrant.objects.select_for_update().filter(pk=grant_id).first()
    if grant is None:
        raise GrantNotFound(f"there is no grant {grant_id}")
    if grant.kind != CreditGrant.Kind.PAID:
        raise InvalidGrant("grant_id", f"grant {grant_id} was not paid, so it cannot be given back")
    before = GrantWithdrawal.objects.filter(idempotency_key=idempotency_key).first()
    if before is not None:
        return before.amount
    amount = min(at_most, queries.available(grant_id))
    if amount <= 0:
        return Decimal(0)
    GrantWithdrawal.objects.create(
        grant=grant, amount=amount, reason=reason, idempotency_key=idempotency_key, recorded_at=recorded_at
    )
    return amount


def end_grant(*, grant_id: int, at: datetime, actor: str, reason: str, recorded_at: datetime) -> CreditGrant:
    """
    End a grant at `at` and take back what is left of it.

    Usage of hours before `at` keeps what it burnt, and what it still burns when it is accrued late. Said twice with
    the same instant it changes nothing. Raises GrantNotFound, InvalidGrant when `at` lies in the future,
    GrantAlreadyEnded when the grant ended at another instant, and GrantIsPaid for paid credit that has not expired.
    """
    if at > recorded_at:
        raise InvalidGrant("at", f"the grant cannot end at {at:%F %T} before that instant has come")
    with transaction.atomic():
        grant = CreditGrant.objects.select_for_update().filter(pk=grant_id).first()
        if grant is None:
            raise GrantNotFound(f"there is no grant {grant_id}")
        if grant.ended_at == at:
            return grant
        if grant.ended_at is not None:
            raise GrantAlreadyEnded(f"grant {grant_id} ended at {grant.ended_at:%F %T}")
        if grant.kind == CreditGrant.Kind.PAID and (grant.expires_at is None or at < grant.expires_at):
            raise GrantIsPaid(f"grant {grant_id} was paid: give back what is left of it by a credit note")
        grant.ended_at = at
        grant.save(update_fields=["ended_at"])
        _take_back_rest(grant, actor=actor, reason=reason, recorded_at=recorded_at)
    return grant


def expire_due_grants(*, now: datetime) -> int:
    """End every grant whose expiry has come, each at that instant, and return how many there were."""
    due = CreditGrant.objects.filter(ended_at=None, expires_at__lte=now).order_by("pk")
    instants = [(grant.pk, grant.expires_at) for grant in due if grant.expires_at is not None]
    for grant_id, at in instants:
        end_grant(grant_id=grant_id, at=at, actor=EXPIRY_ACTOR, reason="expired", recorded_at=now)
    return len(instants)


def lock_grants(*, customer_key: str) -> None:
    """
    Hold the customer's grants until the end of the transaction, so that nobody ends or burns them meanwhile.

    Locks in id order (DESIGN §3.10). Balances must be read afterwards.
    """
    grants = CreditGrant.objects.select_for_update().filter(customer_key=customer_key).order_by("pk")
    list(grants.values_list("pk"))


def _require_valid_terms(
    *, kind: str, amount: Decimal, priority: int, reason: str, effective_at: datetime, expires_at: datetime | None
) -> None:
    """Refuse with a kind word what the table's constraints would refuse, and what they cannot see."""
    if not isinstance(amount, Decimal) or not amount.is_finite() or not 0 < amount < AMOUNT_LIMIT:
        raise InvalidGrant("amount", "the amount must be a Decimal above zero that the ledger can hold")
    if amount != _WIDE.quantize(amount, Decimal(1).scaleb(-DECIMAL_PLACES)):
        raise InvalidGrant("amount", f"the amount has more than {DECIMAL_PLACES} decimal places")
    if kind not in CreditGrant.Kind.values:
        raise InvalidGrant("kind", f"{kind!r} is not a kind of grant")
    if not 0 <= priority <= PRIORITY_MAX:
        raise InvalidGrant("priority", f"the priority must lie between 0 and {PRIORITY_MAX}")
    if not reason.strip():
        raise InvalidGrant("reason", "a grant needs a reason")
    if expires_at is not None and expires_at <= effective_at:
        raise InvalidGrant("expires_at", "the grant would expire before it takes effect")


def _require_same_terms(grant: CreditGrant, terms: Mapping[str, object]) -> None:
    differing = [field for field, value in terms.items() if getattr(grant, field) != value]
    if differing:
        key = grant.idempotency_key
        raise GrantConflict(f"key {key} belongs to a grant that differs in: {', '.join(differing)}")


def _open_accounts(grant: CreditGrant) -> None:
    ledger_operations.open_accounts(
        accounting.account_specs(grant_id=grant.pk, customer_key=grant.customer_key, currency=grant.currency)
    )


def _enter_issue(grant: CreditGrant) -> None:
    _open_accounts(grant)
    accounting.post_grant_issued(
        grant_id=grant.pk,
        amount=grant.amount,
        currency=grant.currency,
        effective_at=grant.effective_at,
        recorded_at=grant.recorded_at,
        actor=grant.issued_by,
        memo=grant.reason,
    )


def _take_back_rest(grant: CreditGrant, *, actor: str, reason: str, recorded_at: datetime) -> None:
    rest = queries.available(grant.pk)
    logger.info("grant %s ended by %s (%s), taking back %s %s", grant.pk, actor, reason, rest, grant.currency)
    enter = accounting.post_grant_ended
    if grant.kind == CreditGrant.Kind.PAID:
        enter = accounting.post_paid_grant_expired
    if rest > 0:
        enter(
            grant_id=grant.pk,
            rest=rest,
            currency=grant.currency,
            # A grant voided before it took effect was issued, in the ledger's time, at its first instant.
            effective_at=max(grant.ended_at or recorded_at, grant.effective_at),
            recorded_at=recorded_at,
            actor=actor,
            memo=reason,
        )
