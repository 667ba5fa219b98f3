"""`manage.py finance_report ageing --before 2026-11-01T00:00:00`: a report as CSV, as its page downloads it."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.http import QueryDict

from billing.accounting.reports.ageing_page import ageing_document
from billing.accounting.reports.choosing import AgeingForm, Choice, CreditForm, IncomeForm, ReportForm, choose
from billing.accounting.reports.credit_page import credit_document, movement_document
from billing.accounting.reports.income_page import income_document
from config import clock
from ledger.downloads.as_csv import csv_chunks
from ledger.downloads.document import Document
from ledger.queries import one_look

REPORTS: Mapping[str, tuple[type[ReportForm], Callable[[Choice], Document]]] = {
    "ageing": (AgeingForm, ageing_document),
    "credit": (CreditForm, credit_document),
    "credit-movement": (CreditForm, movement_document),
    "revenue": (IncomeForm, income_document),
}
# The names of the page's address, so that what is seen there can be asked for here.
OPTIONS = ("before", "known_at", "currency", "customer", "age", "kind", "month", "months")


class Command(BaseCommand):
    help = "Write one of finance's reports to standard output as CSV: every row, every digit."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("report", choices=sorted(REPORTS))
        for name in OPTIONS:
            parser.add_argument(f"--{name.replace('_', '-')}", help=f"As `{name}` in the address of the report's page.")

    def handle(self, *args: Any, report: str, **options: Any) -> None:
        form_class, make = REPORTS[report]
        asked = QueryDict(mutable=True)
        asked.update({name: options[name] for name in OPTIONS if options[name] is not None})
        choice = choose(form_class, asked, now=clock.now())
        strange = sorted(set(asked) - set(choice.form.fields))
        if strange:
            raise CommandError(f"{report} takes no --{strange[0].replace('_', '-')}.", returncode=2)
        for name, errors in choice.form.errors.items():
            raise CommandError(f"--{name.replace('_', '-')}: {' '.join(str(error) for error in errors)}", returncode=2)
        with one_look():
            for chunk in csv_chunks(make(choice)):
                self.stdout.write(chunk.decode(), ending="")
        sys.stdout.flush()
