"""
The page on which a plan's drafts are written: its document, then what would change, then the writing of it.

What was shown is what is done: the plan that a person saw is named by its digest, and one that came out otherwise
meanwhile is shown again instead of being carried out.
"""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django import forms
from django.db import transaction

from billing.catalog.changes import CatalogPlan
from billing.catalog.document import CatalogInvalid, read_yaml
from billing.catalog.export import document_of, part_for, with_draft_of
from billing.catalog.meaning import Meaning
from billing.catalog.models import Plan, PlanVersion
from billing.catalog.operations import CatalogConflict, load_catalog, plan_catalog
from billing.catalog.stored import read_stored, version_of
from billing.catalog.yaml_text import TEXT_LENGTH_MAX, write_mapping

NEW_PLAN = """\
# A new plan as a draft. billing/catalog/document.py tells everything that can be said; what is left away is the usual.
plans:
  - code: new-plan
    name: New plan
    versions:
      - version: 1
        currency: {currency}
        status: draft
        fee_minor: 2000
        included_amount: '20'
        rate_card: {rate_card}
"""


class DocumentForm(forms.Form):
    """The document as text, and the digest of the plan that was seen."""

    text = forms.CharField(
        label="Document",
        max_length=TEXT_LENGTH_MAX,
        strip=False,
        widget=forms.Textarea(
            attrs={"class": "bb-input bb-document", "rows": 32, "spellcheck": "false", "wrap": "off"}
        ),
    )
    seen = forms.CharField(max_length=64, required=False, widget=forms.HiddenInput)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document: what it would change or changed, or why it cannot be used."""

    plan: CatalogPlan | None = None
    problem: str = ""
    digest: str = ""
    is_done: bool = False
    # Somebody changed the catalogue after the plan was shown.
    is_otherwise: bool = False


def text_to_edit(plan: Plan | None, draft_of: PlanVersion | None = None) -> str:
    """The document of a plan and of what it needs; with a new draft that begins as a copy of `draft_of`."""
    stored = read_stored()
    meaning = stored.meaning
    if plan is None:
        rate_card, currency = _usual_card(meaning)
        return NEW_PLAN.format(rate_card=rate_card, currency=currency)
    part = part_for(meaning, [plan.code])
    if draft_of is not None:
        part = with_draft_of(part, version_of(draft_of))
    # A card that was promised is named, and not written out: it cannot change here. The plan comes first, to be edited.
    part = replace(part, cards={code: card for code, card in part.cards.items() if not stored.is_promised(code)})
    document = document_of(part)
    return write_mapping({"plans": document.pop("plans"), **document})


def _usual_card(meaning: Meaning) -> tuple[str, str]:
    """The card of most versions that everybody may have, with its currency; else one that no contract names."""
    usual = Counter(version.rate_card for version in meaning.versions.values() if version.only_for is None)
    agreed = {version.rate_card for version in meaning.versions.values() if version.only_for is not None}
    cards = sorted(meaning.cards.values(), key=lambda card: (-usual[card.code], card.code in agreed, card.code))
    return (cards[0].code, cards[0].currency) if cards else ("name-a-rate-card", "USD")


def look(text: str, *, now: datetime) -> Outcome:
    """What the document would change; nothing is written."""
    try:
        plan = plan_catalog(_read(text), now=now, drafts_only=True)
    except CatalogInvalid as error:
        return Outcome(problem=str(error))
    return Outcome(plan, digest=plan.digest)


def carry_out(text: str, *, seen: str, now: datetime) -> Outcome:
    """Write the drafts, if that changes exactly what was seen."""
    outcome = look(text, now=now)
    if outcome.plan is None or outcome.plan.refusals or not outcome.plan.changes:
        return outcome
    if outcome.digest != seen:
        return Outcome(outcome.plan, digest=outcome.digest, is_otherwise=bool(seen))
    try:
        with transaction.atomic():
            done = load_catalog(_read(text), now=now, drafts_only=True)
            if done.digest != seen:
                transaction.set_rollback(True)
                return Outcome(done, digest=done.digest, is_otherwise=True)
        return Outcome(done, is_done=True)
    except CatalogConflict as error:
        return Outcome(CatalogPlan((), error.refusals, ()))
    except CatalogInvalid as error:
        return Outcome(problem=str(error))


def plans_in(text: str) -> list[str]:
    """The codes of the plans that a document names, which was read before."""
    plans: Any = _read(text).get("plans") or []
    return [str(plan["code"]) for plan in plans]


def _read(text: str) -> Any:
    return read_yaml(text)
