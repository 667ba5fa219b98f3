"""
All writes to the catalogue. What was approved or published never changes; drafts may.

The shape of a document is told in `document`, what it would change by `planning`; the catalogue at Stripe is kept by
`at_stripe`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import Q

from billing.catalog import applying
from billing.catalog.at_stripe import sync_catalog_to_stripe
from billing.catalog.changes import CatalogPlan, Refusal
from billing.catalog.document import CatalogInvalid, read_document
from billing.catalog.fingerprint import card_chain
from billing.catalog.meaning import Meaning
from billing.catalog.models import Plan, PlanVersion, RateCard
from billing.catalog.planning import differences
from billing.catalog.publication_checks import objection_to
from billing.catalog.stored import read_stored
from billing.catalog.wanted import meaning_of

__all__ = [
    "CatalogConflict",
    "CatalogError",
    "CatalogInvalid",
    "PlanVersionNotFound",
    "approve_plan_version",
    "load_catalog",
    "plan_catalog",
    "publish_plan_version",
    "retire_plan_version",
    "sync_catalog_to_stripe",
]


class CatalogError(Exception):
    """The catalogue cannot be changed as asked; nothing was written."""


class CatalogConflict(CatalogError):
    """The document says something else than what is promised. `refusals` tell each, with its remedy."""

    def __init__(self, message: str, refusals: tuple[Refusal, ...] = ()) -> None:
        super().__init__(message)
        self.refusals = refusals


class PlanVersionNotFound(CatalogError):
    """No plan version has this id."""


def plan_catalog(document: Mapping[str, Any], *, now: datetime, drafts_only: bool = False) -> CatalogPlan:
    """
    Return what `load_catalog` would do with the document, and write nothing.

    It is tried out and taken back, so that what the database would refuse is told too. Raises CatalogInvalid for a
    document that is none.
    """
    wanted = meaning_of(read_document(document))
    with transaction.atomic():
        plan = _apply(wanted, now=now, drafts_only=drafts_only)
        transaction.set_rollback(True)
    return plan


def load_catalog(document: Mapping[str, Any], *, now: datetime, drafts_only: bool = False) -> CatalogPlan:
    """
    Bring the catalogue to what the document says, all or nothing; return what that changed. Again it changes nothing.

    Drafts take over the document's terms; a meter with another definition becomes its next version; what the document
    does not name is left alone. With `drafts_only` nothing but drafts may feel it. Raises CatalogInvalid for a document
    that is none, and CatalogConflict when it would change what is promised or reprice usage of the past.
    """
    wanted = meaning_of(read_document(document))
    with transaction.atomic():
        plan = _apply(wanted, now=now, drafts_only=drafts_only)
        if plan.refusals:
            raise CatalogConflict("; ".join(map(str, plan.refusals)), plan.refusals)
    return plan


def _apply(wanted: Meaning, *, now: datetime, drafts_only: bool) -> CatalogPlan:
    """Write what the plan says, unless it holds a refusal; what the database refuses becomes one."""
    _lock()
    stored = read_stored()
    plan = differences(wanted, stored, now=now, drafts_only=drafts_only)
    if plan.refusals or not plan.changes:
        return plan
    try:
        with transaction.atomic():
            for version, status in applying.write(wanted, stored, now=now):
                _go_further(version.pk, status, now=now)
            left = differences(wanted, read_stored(), now=now)
            if not left.is_empty:
                raise AssertionError(f"the catalogue is not what the document says: {left}")
    except (IntegrityError, DataError, CatalogConflict) as error:
        refused = Refusal("the database", str(error).splitlines()[0], "Nothing was written; see the rule's name")
        return CatalogPlan(plan.changes, (refused,), plan.notes)
    return plan


def _go_further(plan_version_id: int, status: str, *, now: datetime) -> None:
    version = PlanVersion.objects.get(pk=plan_version_id)
    if status == PlanVersion.Status.PUBLISHED and version.status != PlanVersion.Status.PUBLISHED:
        publish_plan_version(plan_version_id=plan_version_id, now=now)
    elif status == PlanVersion.Status.RETIRED and version.status != PlanVersion.Status.RETIRED:
        retire_plan_version(plan_version_id=plan_version_id, now=now)


def approve_plan_version(*, plan_version_id: int, now: datetime) -> PlanVersion:
    """
    Fix the terms of a draft as approved: from here on they never change. Said twice it changes nothing.

    Who may approve, and on which report, is decided by whoever calls this. Raises PlanVersionNotFound, and
    CatalogConflict when the version is published or retired.
    """
    with transaction.atomic():
        version = _locked(plan_version_id)
        if version.status in (PlanVersion.Status.PUBLISHED, PlanVersion.Status.RETIRED):
            raise CatalogConflict(f"{version} is {version.status} already; only a draft can be approved")
        if version.status == PlanVersion.Status.DRAFT:
            _require_fixed_bundle(version)
            version.status = PlanVersion.Status.APPROVED
            version.approved_at = now
            version.save(update_fields=["status", "approved_at"])
    return version


def publish_plan_version(*, plan_version_id: int, now: datetime) -> PlanVersion:
    """
    Let an approved version be sold. Said twice it changes nothing.

    A draft is published without approval only while nobody can be paying its plan: no version of it was published
    before (the same one in other currencies, published at the same instant, does not count). What was approved is
    published as it was approved. Raises PlanVersionNotFound, and CatalogConflict when the version is retired, has to be
    approved first, or is not what was approved any more.
    """
    with transaction.atomic():
        hold_cards(plan_version_id)
        version = _locked(plan_version_id)
        if version.status == PlanVersion.Status.RETIRED:
            raise CatalogConflict(f"{version} is retired and cannot be published again")
        if version.status == PlanVersion.Status.DRAFT and was_published_before(version, now):
            raise CatalogConflict(
                f"{version} is a draft of a plan that was sold before; let a second person approve it, then publish it"
            )
        if version.status == PlanVersion.Status.APPROVED and (objection := objection_to(version)):
            raise CatalogConflict(objection)
        if version.status != PlanVersion.Status.PUBLISHED:
            _require_fixed_bundle(version)
            version.status = PlanVersion.Status.PUBLISHED
            version.published_at = now
            version.save(update_fields=["status", "published_at"])
    return version


def retire_plan_version(*, plan_version_id: int, now: datetime) -> PlanVersion:
    """
    Sell the version no longer; whoever has it keeps it. Said twice it changes nothing. Raises PlanVersionNotFound.
    """
    with transaction.atomic():
        version = _locked(plan_version_id)
        if version.status != PlanVersion.Status.RETIRED:
            version.status = PlanVersion.Status.RETIRED
            version.retired_at = now
            version.save(update_fields=["status", "retired_at"])
    return version


def was_published_before(version: PlanVersion, now: datetime) -> bool:
    """Whether another version of the plan was published; the same one in other currencies at this instant is not."""
    sold = PlanVersion.objects.filter(plan_id=version.plan_id).exclude(pk=version.pk).exclude(published_at=None)
    return sold.exclude(version=version.version, published_at=now).exists()


def _require_fixed_bundle(version: PlanVersion) -> None:
    loose = version.bundled.filter(status=PlanVersion.Status.DRAFT).select_related("plan").first()
    if loose is not None:
        raise CatalogConflict(f"{version} bundles {loose}, which is a draft and could still change; publish that first")


def hold_cards(plan_version_id: int) -> None:
    """Hold the cards that price a version and what it bundles, so that no rate joins them; before plan and version."""
    versions = PlanVersion.objects.filter(Q(pk=plan_version_id) | Q(bundled_in=plan_version_id))
    cards = {
        card_id for priced_by in versions.values_list("rate_card_id", flat=True) for card_id in card_chain(priced_by)
    }
    list(RateCard.objects.select_for_update(of=("self",)).filter(pk__in=cards).order_by("pk").values_list("pk"))


def _locked(plan_version_id: int) -> PlanVersion:
    """The version with its plan's row held, so that two versions of one plan change their state one after the other."""
    plan_id = PlanVersion.objects.values_list("plan_id", flat=True).filter(pk=plan_version_id).first()
    if plan_id is None:
        raise PlanVersionNotFound(f"there is no plan version {plan_version_id}")
    Plan.objects.select_for_update(no_key=True).get(pk=plan_id)
    return (
        PlanVersion.objects.select_for_update(of=("self",), no_key=True).select_related("plan").get(pk=plan_version_id)
    )


def _lock() -> None:
    """
    One document at a time. Rows are held in the order in which whoever approves holds them too: cards, plans, versions.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('billing.catalog', 0))")
    list(RateCard.objects.select_for_update(of=("self",)).order_by("pk").values_list("pk"))
    list(Plan.objects.select_for_update(no_key=True, of=("self",)).order_by("pk").values_list("pk"))
