"""
Whose subscriptions a backtest or a rollout is about: said once as data, and found again the same way.

A share is taken by a hash of the customer key, so that a customer is in every larger share of the same salt as well,
whenever and wherever it is asked.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Any

from django.db.models import Q, TextChoices

from billing.catalog.models import Plan
from billing.customers.models import Customer
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import ENDED_STATUSES

PLACES = 10_000
_HUNDRED = Decimal(100)


class Staying(TextChoices):
    """Who keeps their terms whatever is sold, and is left out unless asked for."""

    PINNED = "pinned", "pinned to their version"
    CONTRACTS = "contracts", "on a contract of their own"
    ENDED = "ended", "not subscribed any more"


class InvalidCohort(ValueError):
    """A cohort cannot be read, or names what there is not; the text names the field and what to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Those who fulfil all of it; what is left empty asks for nothing. `share_percent` has at most two places."""

    plans: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    customer_keys: tuple[str, ...] = ()
    share_percent: Decimal = _HUNDRED
    also: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What is stored; `read_cohort` reads it."""
        return {
            "plans": list(self.plans),
            "kinds": list(self.kinds),
            "customer_keys": list(self.customer_keys),
            "share_percent": f"{self.share_percent:f}",
            "also": list(self.also),
        }

    def __str__(self) -> str:
        parts = []
        if self.customer_keys:
            named = ", ".join(self.customer_keys[:3])
            more = len(self.customer_keys) - 3
            parts.append(f"{named} and {more} more" if more > 0 else named)
        if self.plans:
            parts.append(f"on {' or '.join(self.plans)}")
        if self.kinds:
            parts.append(" or ".join(self.kinds))
        whom = ", ".join(parts) or "all customers"
        share = "" if self.share_percent == _HUNDRED else f"{self.share_percent.normalize():f} % of "
        also = f", also those {' and '.join(Staying(word).label for word in self.also)}" if self.also else ""
        return f"{share}{whom}{also}"


@dataclass(frozen=True, slots=True)
class Members:
    """The subscriptions of a cohort in id order, and how many were left out, by the reason (a word of Staying)."""

    subscription_ids: list[int]
    left_out: dict[str, int]


def read_cohort(data: Mapping[str, Any]) -> Cohort:
    """Return the cohort that JSON tells. Raises InvalidCohort."""
    unknown = sorted({*data} - {"plans", "kinds", "customer_keys", "share_percent", "also"})
    if unknown:
        raise InvalidCohort(f"a cohort has no {unknown[0]!r}")
    cohort = Cohort(
        plans=_texts(data, "plans"),
        kinds=_texts(data, "kinds"),
        customer_keys=_texts(data, "customer_keys"),
        share_percent=_share(data.get("share_percent", "100")),
        also=_texts(data, "also"),
    )
    for name, words, allowed in (("kinds", cohort.kinds, Customer.Kind.values), ("also", cohort.also, Staying.values)):
        for word in words:
            if word not in allowed:
                raise InvalidCohort(f"{name}: {word!r} is none of {', '.join(allowed)}")
    return cohort


def require_known(cohort: Cohort) -> None:
    """Raises InvalidCohort naming a plan or a customer that there is not."""
    known = set(Plan.objects.filter(code__in=cohort.plans).values_list("code", flat=True))
    for code in cohort.plans:
        if code not in known:
            raise InvalidCohort(f"plans: there is no plan {code!r}")
    customers = Customer.objects.filter(customer_key__in=cohort.customer_keys)
    known = set(customers.values_list("customer_key", flat=True))
    for key in cohort.customer_keys:
        if key not in known:
            raise InvalidCohort(f"customer_keys: there is no customer {key!r}")


def members(cohort: Cohort, *, among: Q, salt: str = "") -> Members:
    """Return the cohort's subscriptions that fulfil `among`; who would keep their terms is left out and counted."""
    found = Subscription.objects.filter(among, **_narrower(cohort)).order_by("pk")
    rows = found.values_list("pk", "customer__customer_key", "status", "pinned_at", "plan_version__only_for_id")
    ids: list[int] = []
    left_out: Counter[str] = Counter()
    for pk, key, status, pinned_at, only_for in rows.iterator(chunk_size=5000):
        if not in_share(key, cohort.share_percent, salt=salt):
            continue
        why = _why_staying(status, is_pinned=pinned_at is not None, has_contract=only_for is not None)
        if why is None or why in cohort.also:
            ids.append(pk)
        else:
            left_out[why] += 1
    return Members(ids, dict(sorted(left_out.items())))


def place_of(customer_key: str, *, salt: str = "") -> int:
    """Return the customer's place among PLACES, the same for ever; another salt deals anew."""
    return int.from_bytes(sha256(f"{salt}\n{customer_key}".encode()).digest()[:8]) % PLACES


def in_share(customer_key: str, share_percent: Decimal, *, salt: str = "") -> bool:
    """Return whether the customer is in the share; who is in a share is in every larger one of the same salt."""
    return place_of(customer_key, salt=salt) < share_percent * (PLACES // 100)


def _why_staying(status: str, *, is_pinned: bool, has_contract: bool) -> str | None:
    if status in ENDED_STATUSES:
        return Staying.ENDED.value
    if is_pinned:
        return Staying.PINNED.value
    return Staying.CONTRACTS.value if has_contract else None


def _narrower(cohort: Cohort) -> dict[str, Any]:
    asked = {
        "plan_version__plan__code__in": cohort.plans,
        "customer__kind__in": cohort.kinds,
        "customer__customer_key__in": cohort.customer_keys,
    }
    return {lookup: list(values) for lookup, values in asked.items() if values}


def _texts(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = data.get(name, [])
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(one, str) for one in value):
        raise InvalidCohort(f"{name}: give a list of texts")
    return tuple(dict.fromkeys(value))


def _share(value: object) -> Decimal:
    remedy = "share_percent: give a number above 0, at most 100, with at most two places, such as 12.5"
    try:
        share = Decimal(str(value))
    except InvalidOperation as error:
        raise InvalidCohort(remedy) from error
    if not share.is_finite() or not 0 < share <= _HUNDRED or share != share.quantize(Decimal("0.01")):
        raise InvalidCohort(remedy)
    return share
