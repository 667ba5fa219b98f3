"""
What a request that moves money, and the decision about it, have in common (contract of the house: two people).

Who asks does not approve; up to a limit one person is enough. The tables of both are concrete in the rooms that use
them; `migrations/sql/0021_recovery.sql` keeps them as they are and ties a decision to its request.
"""

from datetime import UTC, datetime
from decimal import ROUND_CEILING

from django.db import models
from django.db.models import F, Q

from billing.accounting.limits import limit_of, moved_alone
from billing.accounting.people import may
from billing.customers.models import Customer
from billing.invoicing.rounding import exact_minor, minor_digits


class TwoPeopleError(Exception):
    """Refused; nothing was written. `field` names what to mend, or is ""."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidRequest(TwoPeopleError):
    """What was asked for is wrong, or is not possible now."""


class NotPermitted(TwoPeopleError):
    """The person may not do this, or not with this request."""


class RequestConflict(TwoPeopleError):
    """The idempotency key was used before, for something else."""


class AlreadyDecided(TwoPeopleError):
    """Somebody decided about the request before."""


class Outcome(models.TextChoices):
    WITHIN_LIMIT = "within_limit", "Within the limit"
    APPROVED = "approved", "Approved"
    REJECTED = "rejected", "Rejected"
    WITHDRAWN = "withdrawn", "Withdrawn"


class AskedFor(models.Model):
    """A request: how much in minor units, who, when, why, and whether one person was enough for it."""

    amount_minor = models.BigIntegerField(help_text="What leaves, above zero, in minor units of the currency.")
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=500, help_text="Why, in words, for whoever asks later.")
    limit_minor = models.BigIntegerField(null=True, help_text="What one person could move alone; null: nothing.")
    alone_minor = models.BigIntegerField(
        help_text="What the requester moved alone for this customer on this day (UTC), with this."
    )
    needs_second_person = models.BooleanField()
    requested_by = models.CharField(max_length=200, help_text='"user:NAME" or "service:NAME"')
    requested_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=200, unique=True)

    class Meta:
        abstract = True


class DecidedOn(models.Model):
    """The one decision about a request. What it repeats of the request the database compares with it."""

    outcome = models.CharField(max_length=20, choices=Outcome)
    requested_by = models.CharField(max_length=200)
    needs_second_person = models.BooleanField()
    decided_by = models.CharField(max_length=200, help_text='"user:NAME"')
    decided_at = models.DateTimeField()
    words = models.CharField(max_length=500, blank=True, help_text="Why it was decided so.")

    class Meta:
        abstract = True


def request_constraints(name: str) -> tuple[models.BaseConstraint, ...]:
    """The CHECKs of a table of requests; `name` is the table's, such as billing_writeoffrequest."""
    return (
        models.CheckConstraint(name=f"{name}_amount", condition=Q(amount_minor__gt=0)),
        models.CheckConstraint(name=f"{name}_says_why", condition=~Q(reason="") & ~Q(requested_by="")),
        models.CheckConstraint(
            name=f"{name}_limit",
            condition=Q(alone_minor__gte=F("amount_minor"))
            & (
                Q(needs_second_person=True)
                # A CHECK lets NULL pass: without a limit nothing is within it.
                | Q(needs_second_person=False, limit_minor__isnull=False, alone_minor__lte=F("limit_minor"))
            ),
        ),
    )


def decision_constraints(name: str) -> tuple[models.BaseConstraint, ...]:
    """The CHECKs of a table of decisions."""
    return (
        models.CheckConstraint(
            name=f"{name}_second_person",
            condition=Q(outcome="within_limit", needs_second_person=False, decided_by=F("requested_by"))
            | Q(outcome="withdrawn", needs_second_person=True, decided_by=F("requested_by"))
            | (Q(outcome__in=["approved", "rejected"], needs_second_person=True) & ~Q(decided_by=F("requested_by"))),
        ),
        models.CheckConstraint(
            name=f"{name}_in_words", condition=~Q(decided_by="") & (Q(outcome="within_limit") | ~Q(words=""))
        ),
    )


def weigh(asked: AskedFor, *, customer: Customer) -> None:
    """
    Fill in whether a second person is needed. Call it under the customer's lock.

    What the person moved alone for this customer on that day (UTC) counts, whichever way it was moved, so that asking
    in parts gains nothing.
    """
    day = asked.requested_at.astimezone(UTC).date()
    moved = moved_alone(actor=asked.requested_by, customer=customer, currency=asked.currency, day=day)
    limit = limit_of(asked.currency)
    asked.limit_minor = None if limit is None else exact_minor(limit, asked.currency)
    # A journal entry reversed by hand may hold parts of a minor unit: they count as a whole one.
    moved_minor = int(moved.scaleb(minor_digits(asked.currency)).to_integral_value(ROUND_CEILING))
    asked.alone_minor = moved_minor + asked.amount_minor
    asked.needs_second_person = asked.limit_minor is None or asked.alone_minor > asked.limit_minor


def require_may(actor: str, permission: str, *, what: str) -> None:
    """Raises NotPermitted. A service is let in by the scope of its key, before this."""
    if not actor.startswith("service:") and not may(actor, permission):
        raise NotPermitted(f"{actor.removeprefix('user:')} may not {what}. Ask somebody of finance.")


def require_words(words: str, *, field: str) -> str:
    """The words, trimmed. Raises InvalidRequest without any, or with too many."""
    said = words.strip()
    if not said:
        raise InvalidRequest("Say why, for whoever asks later.", field=field)
    if len(said) > 500:
        raise InvalidRequest("At most 500 characters.", field=field)
    return said


def require_second_person(asked: AskedFor, *, actor: str, permission: str) -> None:
    """Raises NotPermitted for who asked, and for who may not decide. Looked at when it is decided, not before."""
    if actor == asked.requested_by:
        raise NotPermitted("Who asked does not decide: somebody else has to look.")
    if not may(actor, permission):
        raise NotPermitted(f"{actor.removeprefix('user:')} may not decide about this. Ask somebody of finance.")


def decide(
    asked: AskedFor,
    *,
    decisions: type[models.Model],
    outcome: Outcome,
    words: str,
    permission: str,
    actor: str,
    now: datetime,
) -> bool:
    """
    Write the one decision about a request, which the caller has locked; whether it is new.

    Said twice by the same person it changes nothing. Raises AlreadyDecided, NotPermitted, InvalidRequest without words.
    """
    known = decisions._default_manager.filter(request=asked).values_list("outcome", "decided_by").first()
    if known is not None:
        if known == (outcome, actor):
            return False
        raise AlreadyDecided(f"It was decided before, by {known[1].removeprefix('user:')}: {Outcome(known[0]).label}.")
    if outcome == Outcome.WITHIN_LIMIT:
        words = ""
    elif outcome == Outcome.WITHDRAWN:
        if actor != asked.requested_by:
            raise NotPermitted("Only who asked can withdraw. Reject it instead, if you may.")
        words = require_words(words, field="words")
    else:
        require_second_person(asked, actor=actor, permission=permission)
        words = require_words(words, field="words")
    decisions._default_manager.create(
        request=asked,
        outcome=outcome,
        requested_by=asked.requested_by,
        needs_second_person=asked.needs_second_person,
        decided_by=actor,
        decided_at=now,
        words=words,
    )
    return True


def require_same(known: AskedFor, **terms: object) -> None:
    """Raises RequestConflict where the key stands for another request."""
    differing = [name for name, value in terms.items() if getattr(known, name) != value]
    if differing:
        raise RequestConflict(
            f"The key was used before, for something else: {', '.join(differing)}.", field="idempotency_key"
        )
