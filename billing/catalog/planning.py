"""
What a document would change: the difference of two meanings, in words, with who is affected and from when. Pure.

Drafts may change. What was approved or published stays as it was promised: a document that says otherwise is refused,
with the reason and what to do instead. What a document does not speak of is left alone.
"""

from datetime import datetime
from hashlib import sha256

from billing.catalog.changes import MOVE, CatalogPlan, Change, Refusal
from billing.catalog.changes_of_cards import changes_of_card, changes_of_meters, changes_of_products
from billing.catalog.changes_of_plans import changes_of_plan, changes_of_version
from billing.catalog.export import document_of
from billing.catalog.meaning import Meaning
from billing.catalog.references import notes, refusals_of_bundles, refusals_of_usage, require_references
from billing.catalog.stored import Stored


def differences(wanted: Meaning, stored: Stored, *, now: datetime, drafts_only: bool = False) -> CatalogPlan:
    """
    Return what has to be done for the catalogue to mean `wanted`.

    `drafts_only` refuses besides whatever anybody but a draft would feel. Raises CatalogInvalid where the document
    names something that does not exist, or that does not fit.
    """
    together = wanted.over(stored.meaning)
    require_references(wanted, together)
    found: list[Change | Refusal] = [
        *changes_of_products(wanted, stored),
        *changes_of_meters(wanted, stored),
        *(one for card in wanted.cards.values() for one in changes_of_card(card, stored, now=now)),
        *(one for plan in wanted.plans.values() for one in changes_of_plan(plan, stored)),
        *(one for version in wanted.versions.values() for one in changes_of_version(version, stored)),
    ]
    found += (*refusals_of_usage(wanted, stored, together), *refusals_of_bundles(wanted, stored, together))
    if drafts_only:
        found = [_for_drafts_only(one) for one in found]
    changes = tuple(one for one in found if isinstance(one, Change))
    refusals = tuple(one for one in found if isinstance(one, Refusal))
    meant = (document_of(wanted), document_of(wanted.same_in(stored.meaning)))
    return CatalogPlan(
        changes=changes,
        refusals=refusals,
        notes=tuple(notes(wanted, stored, together)),
        digest=sha256(repr((meant, changes, refusals)).encode()).hexdigest(),
    )


def _for_drafts_only(found: Change | Refusal) -> Change | Refusal:
    if isinstance(found, Refusal) or not found.is_promised:
        return found
    if found.sign == MOVE:
        return Refusal(
            found.subject,
            "here only drafts are written",
            "Write status: draft; approval and publication have pages of their own",
        )
    return Refusal(
        found.subject,
        "here only drafts are written, and this would be felt by more than drafts",
        "Leave it as it is; manage.py catalog apply does it",
    )
