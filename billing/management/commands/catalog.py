"""manage.py catalog plan|apply|export|sync: the catalogue as a document that can be reviewed."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.catalog.changes import ADD, MOVE, CatalogPlan, Change
from billing.catalog.document import CatalogInvalid, read_yaml
from billing.catalog.export import document_text, part_for
from billing.catalog.operations import CatalogConflict, CatalogError, load_catalog, plan_catalog, sync_catalog_to_stripe
from billing.catalog.stored import read_stored
from billing.stripe.errors import OutboxConflict, StripeRefused, StripeUnavailable
from billing.stripe.gateway import bulk_work
from config import clock

EXIT_CHANGES = 1
EXIT_ERROR = 2
STANDARD_INPUT = "-"

Paint = Callable[[str], str]


class Command(BaseCommand):
    help = (
        "Brings the catalogue to what a YAML document says; its shape is told in billing/catalog/document.py.\n\n"
        "  plan FILE     shows what would change, who is affected and from when; writes nothing\n"
        "  apply FILE    does it, all or nothing; again it changes nothing\n"
        "  export        writes the catalogue as a document, which plans to nothing\n"
        "  sync          makes at Stripe what is sold here, and archives what is retired\n\n"
        "Exit codes: 0 nothing to change, or done; 1 plan: there is something to change; 2 the document cannot be\n"
        "used, or says something else than what is promised, or Stripe could not be told."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parts = parser.add_subparsers(dest="what", required=True, metavar="plan|apply|export|sync")
        for name in ("plan", "apply"):
            part = parts.add_parser(name)
            part.add_argument("file", help="The document, or - for standard input.")
            part.add_argument("--drafts-only", action="store_true", help="Refuse what more than drafts would feel.")
        export = parts.add_parser("export")
        export.add_argument("--plan", action="append", help="Only this plan and what it needs; can be given again.")
        parts.add_parser("sync")

    def handle(self, *, what: str, **options: Any) -> None:
        if what == "export":
            self._export(options["plan"])
        elif what == "sync":
            self._sync()
        else:
            self._bring(options["file"], drafts_only=options["drafts_only"], is_plan=what == "plan")

    def _bring(self, file: str, *, drafts_only: bool, is_plan: bool) -> None:
        document = self._read(file)
        bring = plan_catalog if is_plan else load_catalog
        try:
            plan = bring(document, now=clock.now(), drafts_only=drafts_only)
        except CatalogConflict as error:
            plan = CatalogPlan((), error.refusals, ())
        except (CatalogInvalid, CatalogError) as error:
            raise CommandError(f"{file}: {error}", returncode=EXIT_ERROR) from error
        self._show(plan)
        if plan.refusals:
            number = len(plan.refusals)
            raise CommandError(
                f"{file}: {number} {'thing is' if number == 1 else 'things are'} refused, nothing is changed.",
                returncode=EXIT_ERROR,
            )
        self.stdout.write(summary(plan, is_plan=is_plan))
        if is_plan and plan.changes:
            sys.exit(EXIT_CHANGES)

    def _read(self, file: str) -> Mapping[str, Any]:
        try:
            text = sys.stdin.read() if file == STANDARD_INPUT else Path(file).read_text(encoding="utf-8")
            return read_yaml(text)
        except (CatalogInvalid, OSError, ValueError) as error:
            raise CommandError(f"{file}: {error}", returncode=EXIT_ERROR) from error

    def _show(self, plan: CatalogPlan) -> None:
        """Colours are for a terminal alone."""
        style = self.style if self.stdout.isatty() else None
        for change in plan.changes:
            paint = _paint_of(change, style)
            self.stdout.write(paint(f"{change.sign} {change.subject}"))
            for one in change.differences:
                arrow = " → ".join(filter(None, (one.was, one.will_be or "taken away")))
                self.stdout.write(f"    {one.what}: {arrow}")
            if change.affected:
                self.stdout.write(f"    who: {change.affected}")
        for refusal in plan.refusals:
            self.stdout.write((style.ERROR if style else str)(f"! {refusal}"))
        for note in plan.notes:
            self.stdout.write(f"  note: {note}")

    def _export(self, plans: list[str] | None) -> None:
        meaning = read_stored().meaning
        unknown = sorted(set(plans or ()) - meaning.plans.keys())
        if unknown:
            raise CommandError(f"there is no plan {unknown[0]}; see manage.py catalog export", returncode=EXIT_ERROR)
        self.stdout.write(document_text(part_for(meaning, plans) if plans else meaning), ending="")

    def _sync(self) -> None:
        try:
            with bulk_work():
                done = sync_catalog_to_stripe(now=clock.now())
        except (StripeRefused, StripeUnavailable, OutboxConflict) as problem:
            raise CommandError(str(problem), returncode=EXIT_ERROR) from problem
        self.stdout.write(f"{done} changes made at Stripe.")


def _paint_of(change: Change, style: Any) -> Paint:
    if style is None:
        return str
    paint: Paint = style.SUCCESS if change.sign == ADD else style.NOTICE if change.sign == MOVE else style.WARNING
    return paint


def summary(plan: CatalogPlan, *, is_plan: bool) -> str:
    """How much is added and changed, in one line."""
    if not plan.changes:
        return "Nothing to change." if is_plan else "Nothing changed."
    added = sum(change.sign == ADD for change in plan.changes)
    verbs = ("to add", "to change") if is_plan else ("added", "changed")
    return f"{added} {verbs[0]}, {len(plan.changes) - added} {verbs[1]}."
