"""
How every change of a team is written: once for its key, after all that came before, and not before its own instant.

The customer's row is locked first, so two changes of one team take turns; what is read inside is what is written on.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Greatest

from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.teams.errors import InvalidTeam, PastChange, TeamConflict, TeamNotFound
from billing.teams.models import GroupMembership, MemberDimension, Membership, SeatAssignment, TeamChange

logger = logging.getLogger(__name__)

Outcome = dict[str, Any]
Write = Callable[[TeamChange], None]
# Reads what is there at the instant from which the change counts, and says what it will do and how.
Plan = Callable[[Customer, datetime], tuple[Outcome, Write]]
KEY_CHARS_MAX = 200
EARLIEST, FURTHEST = datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=3652)
Spans = type[Membership] | type[GroupMembership] | type[SeatAssignment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for: `asked` is the whole of it, and `idempotency_key` names it. `effective_at` None is now."""

    customer_key: str
    operation: str
    asked: Mapping[str, Any]
    actor: str
    reason: str
    idempotency_key: str
    now: datetime
    effective_at: datetime | None = None

    @property
    def fingerprint(self) -> str:
        told = {"operation": self.operation, "effective_at": self.effective_at, **self.asked}
        return sha256(msgspec.json.encode(told, order="sorted")).hexdigest()


def carry_out(wish: Wish, plan: Plan) -> TeamChange:
    """
    Do what is asked for, or return what it did the first time. Raises TeamNotFound, InvalidTeam, TeamConflict where the
    key stands for something else, PastChange, and what `plan` raises.
    """
    _require_words(wish)
    customer = Customer.objects.filter(customer_key=wish.customer_key).first()
    if customer is None:
        raise TeamNotFound("customer_key", f"There is no customer {wish.customer_key[:64]!r}. Check the key.")
    with transaction.atomic():
        lock_customer(customer_id=customer.pk)
        known = TeamChange.objects.filter(customer=customer, idempotency_key=wish.idempotency_key).first()
        if known is not None:
            return _the_same(known, wish)
        recorded_at = _after_all_before(customer, wish.now)
        is_correction = wish.operation == TeamChange.Operation.CORRECT_GROUP
        effective_at = _within_reach(wish) or recorded_at
        if effective_at < wish.now and not is_correction:
            raise PastChange(
                "effective_at",
                f"{effective_at:%F %T} UTC is past. A change counts from now or a later instant on; leave it out for"
                " now. What was is corrected by itself, group by group.",
            )
        effective_at = effective_at if is_correction else max(effective_at, recorded_at)
        outcome, write = plan(customer, effective_at)
        change = TeamChange.objects.create(
            customer=customer,
            operation=wish.operation,
            effective_at=effective_at,
            recorded_at=recorded_at,
            actor=wish.actor,
            reason=wish.reason,
            idempotency_key=wish.idempotency_key,
            fingerprint=wish.fingerprint,
            outcome=outcome,
        )
        write(change)
        _keep_dimension(change)
    logger.info("%s: %s of %s: %s", wish.actor, wish.operation, wish.customer_key, outcome)
    return change


def end_spans(found: QuerySet[Any], change: TeamChange, at: datetime) -> None:
    """End what is held from `at` on; what was to begin later never does. One statement."""
    ends_at = Greatest(F("starts_at"), at, output_field=models.DateTimeField())
    not_over(found, at).update(ends_at=ends_at, ended_by=change)


def not_over(found: QuerySet[Any], at: datetime) -> QuerySet[Any]:
    """What holds at the instant or is planned for later; not what was cancelled before it began."""
    return found.filter(Q(ends_at=None) | Q(ends_at__gt=at)).exclude(ends_at__lte=F("starts_at"))


def held_at(spans: Spans, at: datetime) -> QuerySet[Any]:
    """The spans that hold at the instant."""
    return spans.objects.filter(Q(ends_at=None) | Q(ends_at__gt=at), starts_at__lte=at)


def _after_all_before(customer: Customer, now: datetime) -> datetime:
    """Two machines' clocks differ: what is written second is not recorded before the first."""
    latest = TeamChange.objects.filter(customer=customer).order_by("-recorded_at").values_list("recorded_at", flat=True)
    return max(now, latest.first() or now)


def _within_reach(wish: Wish) -> datetime | None:
    """An instant that no calendar of ours can be brought past would stand in the way of every change after it."""
    at = wish.effective_at
    if at is not None and not EARLIEST <= at <= wish.now + FURTHEST:
        raise InvalidTeam("effective_at", f"Give an instant from {EARLIEST:%Y} on and at most ten years from now.")
    return at


def _keep_dimension(change: TeamChange) -> None:
    """The setting is what a team begins with; what it began with stays, whatever is set later."""
    if not MemberDimension.objects.filter(customer=change.customer).exists():
        MemberDimension.objects.create(
            customer=change.customer,
            dimension=str(settings.BILLING_MEMBER_DIMENSION),
            starts_at=change.recorded_at,
            begun_by=change,
        )


def _require_words(wish: Wish) -> None:
    for field, text, most in (
        ("reason", wish.reason, 500),
        ("actor", wish.actor, 200),
        ("idempotency_key", wish.idempotency_key, KEY_CHARS_MAX),
    ):
        if not text.strip() or len(text) > most or "\x00" in text:
            raise InvalidTeam(field, f"Give {field} in 1 to {most} characters.")


def _the_same(known: TeamChange, wish: Wish) -> TeamChange:
    if known.fingerprint != wish.fingerprint:
        raise TeamConflict(
            "idempotency_key",
            f"The key {wish.idempotency_key!r} stands for another change, {known}; name this one by another key.",
        )
    return known
