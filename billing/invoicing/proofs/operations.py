"""
Proving an invoice before it is finalised, and proving it again from raw events whenever somebody asks.

The proof is made of the tables, derived anew by the verifier, which shares no line with rating, and compared with the
lines written. What differs holds the invoice.
"""

import logging
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db import IntegrityError, transaction

from billing.invoicing.models import Invoice
from billing.invoicing.proofs import gathering
from billing.invoicing.proofs.comparing import differences_from_tables
from billing.invoicing.proofs.models import InvoiceProof, InvoiceVerification
from billing.invoicing.proofs.reading import accrual_rows, event_of_raw, finalised_of, raw_events_of
from billing.invoicing.proofs.verifier.checks import compare_outcome, verify
from billing.invoicing.proofs.verifier.lines import compare_finalised, compare_lines, is_asked_for, left_of
from billing.invoicing.proofs.verifier.proof import FORMAT, NOT_IN_FORMAT, Document, Proof, canonical, read_json
from billing.invoicing.proofs.verifier.usage import Event, Unreadable, plain
from billing.invoicing.proofs.windows import window_rows, windows_then
from metering import queries as metering_queries

logger = logging.getLogger(__name__)
ACTOR = "service:invoicing"
KEPT_MAX = 100
TOLD_MAX = 3
_PACKED_LEVEL = 6
UNREADABLE_ARCHIVE = "raw events cannot be read from their archive"
Progress = Callable[[int], None]


class ProofFailed(Exception):
    """What is derived from the windows is not what the lines say, or cannot be derived: each difference a sentence."""

    def __init__(self, differences: list[str]) -> None:
        more = len(differences) - TOLD_MAX
        told = "; ".join(differences[:TOLD_MAX])
        super().__init__(f"not proved: {told}{f'; and {more} more' if more > 0 else ''}")
        self.differences = differences


class NothingToVerify(Exception):
    """The invoice has no proof; the text says what to do."""


def prove_invoice(*, invoice: Invoice, now: datetime) -> InvoiceProof:
    """
    Build the proof of a draft's lines, derive the lines anew from its windows, compare, and keep it. Said again it
    returns the one that is kept.

    Raises ProofFailed saying which line differs, and by how much; nothing is kept then.
    """
    return _prove(invoice, actor=ACTOR, is_afterwards=False, now=now)


def prove_afterwards(*, invoice: Invoice, actor: str, now: datetime) -> InvoiceProof:
    """As `prove_invoice` for one that was finalised without a proof; the proof says so. Raises ProofFailed."""
    return _prove(invoice, actor=actor, is_afterwards=invoice.status != Invoice.Status.DRAFT, now=now)


def _prove(invoice: Invoice, *, actor: str, is_afterwards: bool, now: datetime) -> InvoiceProof:
    kept = InvoiceProof.objects.filter(invoice=invoice).first()
    if kept is not None:
        return kept
    document = _derived(invoice, now=now)
    text = canonical(document)
    try:
        with transaction.atomic():
            return InvoiceProof.objects.create(
                invoice=invoice,
                format=FORMAT,
                sha256=sha256(text).hexdigest(),
                packed=zlib.compress(text, _PACKED_LEVEL),
                size_bytes=len(text),
                line_count=len(document["lines"]),
                window_count=sum(len(period["windows"]) for period in document["periods"]),
                made_at=now,
                made_by=actor,
                is_afterwards=is_afterwards,
            )
    except IntegrityError:
        # Another worker was first: of the same rows it made the same proof.
        kept = InvoiceProof.objects.filter(invoice=invoice).first()
        if kept is None:
            raise
        return kept


def _derived(invoice: Invoice, *, now: datetime) -> dict[str, Any]:
    """The document, once all that it says was derived from its windows. Raises ProofFailed."""
    document = gathering.document_of(invoice, gathering.periods_of(invoice, now=now))
    found: list[str] = []
    try:
        proof = Proof(document)
        for period in document["periods"]:
            windows, counted = windows_then(proof, period)
            period.update(window_rows(period, windows))
            found += compare_outcome(period, proof.outcome(period, windows, counted))
        _name_not_billed(document)
        found += compare_lines(proof)
    except (Unreadable, metering_queries.EventsArchived) as error:
        found.append(str(error))
    except (metering_queries.UnreadableArchive, FileNotFoundError) as error:
        found.append(f"{UNREADABLE_ARCHIVE}: {error}")
    if found:
        raise ProofFailed(found)
    return document


def _name_not_billed(document: dict[str, Any]) -> None:
    """What is left of prices that the invoice does not ask for (`scope`) is on no line, and named."""
    left = left_of(document)
    for period in document["periods"]:
        period["not_billed"] = [
            [rate_id, plain(quantity), plain(amount)]
            for (period_id, rate_id), (quantity, amount) in sorted(left.items())
            if period_id == period["id"] and not is_asked_for(period, rate_id, amount)
        ]


@dataclass(slots=True)
class _Read:
    """What was read of raw events while proving."""

    events: int = 0


def document_of(proof: InvoiceProof) -> tuple[Document, list[str]]:
    """The document of a proof, and what is wrong with how it is kept. Raises Unreadable."""
    try:
        text = zlib.decompress(bytes(proof.packed))
    except zlib.error as error:
        raise Unreadable(f"the proof of {proof.invoice} cannot be unpacked: {error}") from error
    digest = sha256(text).hexdigest()
    wrong = [] if digest == proof.sha256 else [f"the proof's hash is {digest}, {proof.sha256} was kept of it"]
    document = read_json(text)
    if not isinstance(document, dict):
        raise Unreadable(f"the proof of {proof.invoice} is no document")
    return document, wrong


def verify_invoice(
    *, invoice: Invoice, actor: str, now: datetime, on_progress: Progress = lambda _events: None
) -> InvoiceVerification:
    """
    Prove a kept proof again from raw events, entries and tables, and record what came of it.

    `on_progress` is told how many events were read. Raises NothingToVerify.
    """
    proof = InvoiceProof.objects.filter(invoice=invoice).select_related("invoice__customer").first()
    if proof is None:
        raise NothingToVerify(f"{invoice.stripe_invoice_id} has no proof; make it with verify_invoice --prove")
    read = _Read()
    try:
        found = _differences(proof, read, on_progress)
    except (Unreadable, *NOT_IN_FORMAT) as error:
        found = [f"the proof cannot be read: {type(error).__name__} {error}"]
    except (metering_queries.UnreadableArchive, FileNotFoundError) as error:
        found = [f"{UNREADABLE_ARCHIVE}: {error}"]
    found = list(dict.fromkeys(found))
    if found:
        logger.error("%s is not proved: %s", invoice.stripe_invoice_id, "; ".join(found[:TOLD_MAX]))
    return InvoiceVerification.objects.create(
        proof=proof,
        verified_at=now,
        verified_by=actor,
        is_proved=not found,
        event_count=read.events,
        differences=found[:KEPT_MAX],
        difference_count=len(found),
    )


def _differences(kept: InvoiceProof, read: _Read, on_progress: Progress) -> list[str]:
    document, found = document_of(kept)

    def events_of(period: Document) -> Iterator[Event]:
        for raw in raw_events_of(document, period):
            read.events += 1
            on_progress(read.events)
            yield event_of_raw(raw)

    derived = verify(document, events_of, lambda period: accrual_rows(period["id"], through=period["revision"]))
    if derived:
        found += _changed_events(document)
    found += derived
    if kept.invoice.finalized_at is not None:
        found += compare_finalised(Proof(document), finalised_of(kept.invoice))
    return found + differences_from_tables(document, kept.invoice)


def _changed_events(document: Document) -> list[str]:
    """Events that are not as they were accepted, where windows and events part."""
    key = document["invoice"]["customer_key"]
    found = []
    for period in document["periods"]:
        start, end = (datetime.fromisoformat(period[name]) for name in ("starts_at", "ends_at"))
        for raw in metering_queries.unlike_accepted(key, start, end, limit=KEPT_MAX):
            name = f"event {raw.event_id} of {raw.source} at {raw.event_time:%F %T}"
            found.append(f"{name} is not as it was accepted")
    return found
