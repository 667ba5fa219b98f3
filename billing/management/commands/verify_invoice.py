"""manage.py verify_invoice: prove invoices again from raw events, by code that shares no line with rating."""

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress

from billing.invoicing.models import Invoice
from billing.invoicing.proofs import queries
from billing.invoicing.proofs.bundles import write_bundle
from billing.invoicing.proofs.models import InvoiceProof
from billing.invoicing.proofs.operations import NothingToVerify, ProofFailed, prove_afterwards, verify_invoice
from billing.invoicing.proofs.verifier.usage import Unreadable
from config import clock
from config.interruption import stopping_on_interrupt
from metering.queries import UnreadableArchive

ACTOR = "command:verify_invoice"
PROVED, DIFFERS, BAD_INPUT = 0, 1, 2


def instant(text: str) -> datetime:
    """A date or an instant in ISO 8601; a date is its first instant, and what names no zone is UTC."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is neither a date such as 2026-10-01 nor an instant such as 2026-10-01T12:00:00Z"
        raise argparse.ArgumentTypeError(message) from error
    return value if value.tzinfo else value.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = (
        "Proves invoices again: from raw events to windows, prices, allowances, credits, entries, lines and total."
        " Exit code 0: all proved; 1: something differs, each thing named; 2: bad input."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("invoice", nargs="?", default="", help="number, or Stripe's id")
        parser.add_argument("--all", action="store_true", help="every invoice that has a proof, oldest proof first")
        parser.add_argument("--since", type=instant, help="every invoice whose proof was made from then on")
        parser.add_argument("--after", type=int, default=0, help="go on after the proof of this number")
        parser.add_argument(
            "--bundle", type=Path, help="also write what the proof of the invoice rests on to this file"
        )
        parser.add_argument(
            "--prove", action="store_true", help="make the proof of an invoice that was finalised without one"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        many = options["all"] or options["since"] is not None
        if many == bool(options["invoice"]):
            raise _bad("name one invoice, or say --all or --since")
        if many and (options["bundle"] or options["prove"]):
            raise _bad("--bundle and --prove are for one invoice: name it")
        if not many:
            is_proved = self._one(_named(options["invoice"]), options["bundle"], is_made=options["prove"])
            stopped = False
        else:
            is_proved, stopped = self._many(options["since"], options["after"])
        if not is_proved or stopped:
            sys.exit(DIFFERS)

    def _one(self, invoice: Invoice, bundle: Path | None, *, is_made: bool) -> bool:
        now = clock.now()
        try:
            if is_made:
                prove_afterwards(invoice=invoice, actor=ACTOR, now=now)
            found = verify_invoice(invoice=invoice, actor=ACTOR, now=now)
        except ProofFailed as failed:
            for difference in failed.differences:
                self.stdout.write(f"DIFFERS: {difference}")
            self.stdout.write(f"{invoice} cannot be proved: {len(failed.differences)} differences.")
            return False
        except NothingToVerify as error:
            raise _bad(str(error)) from error
        self._tell(invoice, found.differences, found.difference_count, found.event_count)
        if bundle is not None:
            self._write(found.proof, bundle)
        return found.is_proved

    def _write(self, proof: InvoiceProof, bundle: Path) -> None:
        try:
            with bundle.open("wb") as file:
                write_bundle(file, proof)
        except (OSError, Unreadable, UnreadableArchive) as error:
            raise _bad(f"the bundle cannot be written: {error}") from error
        self.stdout.write(f"{bundle}: {bundle.stat().st_size:,} bytes; python verify.py {bundle} proves it anywhere")

    def _many(self, since: datetime | None, after: int) -> tuple[bool, bool]:
        total, differing, last = queries.count_proofs(since=since, after=after), 0, after
        with stopping_on_interrupt() as received, Progress(console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task("Verifying", total=total)
            for proof in _proofs(since, after):
                found = verify_invoice(invoice=proof.invoice, actor=ACTOR, now=clock.now())
                differing += not found.is_proved
                if not found.is_proved:
                    self._tell(proof.invoice, found.differences, found.difference_count, found.event_count)
                bars.advance(bar)
                last = proof.pk
                if received:
                    break
        stopped = bool(received)
        self.stdout.write(f"{total:,} proofs, {differing:,} differ.{' Stopped.' if stopped else ''}")
        if stopped:
            self.stdout.write(f"Go on with --after {last}")
        return not differing, stopped

    def _tell(self, invoice: Invoice, differences: list[str], count: int, events: int) -> None:
        for difference in differences:
            self.stdout.write(f"DIFFERS: {difference}")
        verdict = f"is NOT proved: {count} differences" if count else "is proved"
        self.stdout.write(f"{invoice} ({invoice.stripe_invoice_id}) {verdict}; {events:,} events read.")


def _proofs(since: datetime | None, after: int) -> Iterator[InvoiceProof]:
    """One at a time, so that a run of days holds no cursor open."""
    while (proof := queries.next_proof(since=since, after=after)) is not None:
        yield proof
        after = proof.pk


def _named(text: str) -> Invoice:
    found = queries.find_invoice(text)
    if found is None:
        raise _bad(f"there is no invoice {text!r}: name its number or Stripe's id")
    return found


def _bad(message: str) -> CommandError:
    return CommandError(message, returncode=BAD_INPUT)
