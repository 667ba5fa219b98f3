"""What the pages of plans, versions and rate cards show: terms in words, what is different, and who is on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, Sum

from billing.catalog.changes import Difference
from billing.catalog.changes_of_plans import version_differences
from billing.catalog.fingerprint import terms_fingerprint
from billing.catalog.models import Plan, PlanVersion, RateCard
from billing.catalog.prices_page import price_sections
from billing.catalog.stored import ENDED, pool_of, version_of
from billing.catalog.version_actions import May, actions_for
from billing.catalog.words import AT_PLAN_CHANGE, covers_text, fee_text, fee_tier_texts, period_text
from billing.money_text import exact_text, minor_text, quantity_text
from billing.rating.allocation import payment_order
from billing.subscriptions.models import Subscription, SubscriptionAddOn

EDIT = "billing.edit_catalogue"
SUBSCRIPTIONS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Figure:
    """A number at the top of a page."""

    name: str
    value: str
    note: str = ""
    url: str = ""
    tone: str = "plain"


@dataclass(frozen=True, slots=True)
class Included:
    """An allowance as a row."""

    name: str
    amount: str
    shared: str
    covers: str
    at_plan_change: str


@dataclass(frozen=True, slots=True)
class Lived:
    """Something that happened to a version."""

    at: datetime
    what: str
    tone: str


def version_sections(version: PlanVersion, *, may: May, now: datetime) -> Mapping[str, Any]:
    """Everything the page of one version shows."""
    meaning = version_of(version)
    before = (
        PlanVersion.objects.filter(plan=version.plan_id, currency=version.currency, version__lt=version.version)
        .order_by("-version")
        .first()
    )
    live = Subscription.objects.filter(plan_version=version).exclude(status__in=ENDED)
    counted = live.aggregate(number=Count("pk"), seats=Sum("seats"))
    add_ons = SubscriptionAddOn.objects.filter(plan_version=version, removed_at=None).exclude(
        subscription__status__in=ENDED
    )
    return {
        "version": version,
        "figures": _figures(version, counted["number"], counted["seats"] or 0, add_ons.count()),
        "period": period_text(meaning.terms),
        "fee": fee_text(meaning.terms, version.currency),
        "fee_tiers": fee_tier_texts(version.fee_tiers, version.currency),
        "late_policy": late_policy_text(version),
        "included": _included(version),
        "bundled": list(version.bundled.select_related("plan").order_by("plan__code", "version")),
        "bundled_in": list(version.bundled_in.select_related("plan").order_by("plan__code", "version")),
        "before": before,
        "differences": list(_differences(before, version)) if before else [],
        "lived": list(_lived(version)),
        "fingerprint": terms_fingerprint(version),
        "actions": actions_for(version, may),
        "may_edit": may(EDIT),
        "subscriptions": list(live.select_related("customer").order_by("-pk")[:SUBSCRIPTIONS_SHOWN])
        if may("billing.view_subscription")
        else [],
        "live": counted["number"],
        **price_sections(version.rate_card, now=now),
    }


def plan_sections(plan: Plan, *, may: May) -> Mapping[str, Any]:
    """Everything the page of one plan shows."""
    is_live = ~Q(subscriptions__status__in=ENDED)
    versions = (
        plan.versions.select_related("rate_card", "only_for")
        .prefetch_related("allowances")
        .annotate(live=Count("subscriptions", filter=is_live & Q(subscriptions__isnull=False)))
        .order_by("-version", "currency")
    )
    rows = [
        {
            "version": version,
            "fee": fee_text(version_terms(version), version.currency),
            "included": included_text(version),
            "live": version.live,
        }
        for version in versions
    ]
    return {"plan": plan, "rows": rows, "may_edit": may(EDIT)}


def card_sections(card: RateCard, *, now: datetime) -> Mapping[str, Any]:
    """Everything the page of one rate card shows."""
    return {
        **price_sections(card, now=now),
        "overridden_by": list(card.overridden_by.order_by("code")),
        "versions": list(card.plan_versions.select_related("plan").order_by("plan__code", "version", "currency")),
    }


def version_terms(version: PlanVersion) -> Mapping[str, Any]:
    """The terms of the fee and the period, by their names."""
    return {
        "interval": version.interval,
        "interval_count": version.interval_count,
        "fee_minor": version.fee_minor,
        "fee_tiers": version.fee_tiers,
    }


def included_text(version: PlanVersion) -> str:
    """What a version includes, in a few words; its allowances have been fetched."""
    allowances = sorted(version.allowances.all(), key=lambda one: payment_order(one.measure, one.position))
    return " + ".join(
        exact_text(one.amount, version.currency) if one.measure == "money" else f"{quantity_text(one.amount)} units"
        for one in allowances
    )


def late_policy_text(version: PlanVersion) -> str:
    """What becomes of late usage, in words."""
    text = version.get_late_policy_display()
    return f"{text}: {exact_text(version.late_absorb_up_to, version.currency)}" if version.late_absorb_up_to else text


def _figures(version: PlanVersion, live: int, seats: int, add_ons: int) -> list[Figure]:
    every = period_text(version_terms(version))
    seats_text = f"{version.min_seats:,}" + (f" to {version.max_seats:,}" if version.max_seats else " or more")
    trial = f"{version.trial_days} days of trial" if version.trial_days else "no trial"
    on_it = Figure("On it", f"{live:,}", f"{seats:,} seats in live subscriptions")
    if version.plan.is_add_on:
        on_it = Figure("On it", f"{add_ons:,}", "live subscriptions with this add-on")
    fee = Figure("Fee", "None", "usage alone is paid for")
    if version.fee_tiers:
        fee = Figure("Fee", "By seats", f"a {every} and seat, in advance")
    elif version.fee_minor:
        fee = Figure("Fee", minor_text(version.fee_minor, version.currency), f"a {every} and seat, in advance")
    return [
        fee,
        Figure("Included", included_text(version) or "Nothing", f"a {every}, before usage is charged"),
        Figure("Seats", seats_text, trial),
        on_it,
    ]


def _included(version: PlanVersion) -> list[Included]:
    rows = []
    for one in sorted(version.allowances.all(), key=lambda one: payment_order(one.measure, one.position)):
        pool = pool_of(one)
        shared = "a seat; the seats share it" if one.is_per_seat else "shared by all seats"
        rows.append(
            Included(
                name=one.name,
                amount=exact_text(one.amount, version.currency)
                if one.measure == "money"
                else f"{quantity_text(one.amount)} units",
                shared=f"for each {one.each_dimension} alone" if one.each_dimension else shared,
                covers=covers_text(pool.covers),
                at_plan_change=AT_PLAN_CHANGE[one.at_plan_change],
            )
        )
    return rows


def _differences(before: PlanVersion, version: PlanVersion) -> list[Difference]:
    return list(version_differences(version_of(before), version_of(version)))


def _lived(version: PlanVersion) -> list[Lived]:
    told = (
        (version.approved_at, "Approved: its terms are fixed", "waiting"),
        (version.published_at, "Published: new subscriptions can have it", "good"),
        (version.retired_at, "Retired: sold no longer; whoever has it keeps it", "plain"),
    )
    return [Lived(at, what, tone) for at, what, tone in told if at is not None]
