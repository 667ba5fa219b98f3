"""The bundle of a proof: all that it rests on, and a verifier that needs nothing but Python, in one zip file."""

import ast
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import msgspec

from billing.invoicing.proofs import verifier
from billing.invoicing.proofs.models import InvoiceProof
from billing.invoicing.proofs.operations import document_of
from billing.invoicing.proofs.reading import (
    accrual_rows,
    event_of_raw,
    finalised_of,
    instant_text,
    pruned,
    raw_events_of,
)
from billing.invoicing.proofs.verifier.bundle import ACCRUALS, EVENTS, FINALISED, HELD, MANIFEST, PROOF, check_of
from billing.invoicing.proofs.verifier.proof import FORMAT, Document, canonical
from billing.invoicing.proofs.verifier.usage import value_key
from metering.queries import RawEvent

SCRIPT, README = "verify.py", "README.txt"
PACKAGE = verifier.__name__
# In the order in which each needs those before it.
PARTS = ("usage", "charges", "prices", "paying", "proof", "entries", "lines", "checks", "bundle")
Progress = Callable[[int], None]
_exact_numbers = msgspec.json.Encoder(decimal_format="number", order="sorted")
_README = """\
Proof of invoice {invoice} ({number}) of customer {customer}

python verify.py {name}      (Python 3.11 or later, nothing else; also: unpack it and run python verify.py)

It ends with 0 and says "is proved" when the lines of usage on this invoice follow from the raw events in events.jsonl,
the prices, allowances and credits in proof.json and the journal entries in accruals.jsonl, to the last digit; with 1
and a sentence for each thing that differs; with 2 when the files cannot be read.

SHA-256 of the proof: {sha256}
Made {made}{afterwards}. Compare the hash with the one you were told by another way: verify.py --sha256 HASH

What is in it: of every event source, id, time, type, the number of its database transaction, void marks, and only those
values that a meter of this invoice reads. Different values that are only counted are there as hashes without salt:
who suspects a value can test it. Dimensions, such as members, are there as they are. No names of customers, no
addresses, no payment. The format is told in docs/invoice-proofs.md, so that you can write a verifier of your own.
"""


def write_bundle(file: IO[bytes], proof: InvoiceProof, *, on_progress: Progress = lambda _events: None) -> str:
    """
    Write the bundle into the file and return its name. Events are streamed; what is kept of a proof is not checked
    here, so that a bundle of one that fails can be looked at.

    Raises Unreadable, UnreadableArchive and FileNotFoundError.
    """
    document, _ = document_of(proof)
    name = f"{proof.invoice.number or proof.invoice.stripe_invoice_id}-proof.zip"
    made = proof.made_at
    digests: dict[str, str] = {}
    with ZipFile(file, "w", ZIP_DEFLATED) as zipped:
        for held, rows in (
            (PROOF, iter([canonical(document)])),
            (EVENTS, _events(document, on_progress)),
            (ACCRUALS, _accruals(document)),
            (FINALISED, iter([canonical(finalised_of(proof.invoice))])),
        ):
            digests[held] = _write(zipped, held, rows, made)
        manifest = {"format": FORMAT, "files": {one: digests[one] for one in HELD}, "proof_sha256": proof.sha256}
        _write(zipped, MANIFEST, iter([canonical(manifest)]), made)
        _write(zipped, SCRIPT, iter([script().encode()]), made)
        _write(zipped, README, iter([_readme(proof, name).encode()]), made)
    return name


def _write(zipped: ZipFile, name: str, blocks: Iterable[bytes], at: datetime) -> str:
    """Write one file of the zip; the same contents make the same bytes."""
    digest = hashlib.sha256()
    entry = ZipInfo(name, date_time=(at.year, at.month, at.day, at.hour, at.minute, at.second))
    entry.compress_type = ZIP_DEFLATED
    with zipped.open(entry, "w", force_zip64=True) as file:
        for block in blocks:
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _events(document: Document, on_progress: Progress) -> Iterator[bytes]:
    """
    A row for each event that a meter of the proof could count and that was recorded when the period was rated, void
    ones too.
    """
    paths = _paths(document)
    unique = [meter for meter in document["meters"] if meter["aggregation"] == "unique_count"]
    number = 0
    for period in document["periods"]:
        for raw in raw_events_of(document, period):
            if raw.recorded_xid < period["position"]:
                number += 1
                on_progress(number)
                yield _exact_numbers.encode(_row(raw, paths.get(raw.event_type, ()), unique)) + b"\n"


def _paths(document: Document) -> dict[str, list[list[str]]]:
    """By event type, what of its data the meters read."""
    found: dict[str, list[list[str]]] = {}
    for meter in document["meters"]:
        of_type = found.setdefault(meter["event_type"], [])
        of_type += [name.split(".") for name in meter["dimensions"]]
        of_type += [path.split(".") for one in meter["filters"] for path in one]
        if meter["aggregation"] not in ("count", "unique_count"):
            of_type.append(meter["value_path"].split(".")[1:])
    return found


def _row(raw: RawEvent, paths: Sequence[Sequence[str]], unique: Sequence[Document]) -> dict[str, Any]:
    event = event_of_raw(raw)
    row = {
        "source": raw.source,
        "id": raw.event_id,
        "time": instant_text(raw.event_time),
        "type": raw.event_type,
        "xid": raw.recorded_xid,
        "data": pruned(event.data, paths),
    }
    keys = {meter["value_path"]: value_key(event, meter["value_path"]) for meter in unique}
    if any(keys.values()):
        row["keys"] = {path: key.hex() for path, key in keys.items() if key}
    if raw.marks:
        row["marks"] = [list(mark) for mark in raw.marks]
    row["check"] = check_of(row)
    return row


def _accruals(document: Document) -> Iterator[bytes]:
    for period in document["periods"]:
        for row in accrual_rows(period["id"], through=period["revision"]):
            yield canonical({**row, "period": period["id"]}) + b"\n"


def _readme(proof: InvoiceProof, name: str) -> str:
    invoice = proof.invoice
    return _README.format(
        invoice=invoice.stripe_invoice_id,
        number=invoice.number or "no number yet",
        customer=invoice.customer.customer_key,
        name=name,
        sha256=proof.sha256,
        made=f"{proof.made_at:%Y-%m-%d %H:%M:%S} UTC",
        afterwards=", after the invoice was finalised" if proof.is_afterwards else ", before the invoice was finalised",
    )


@cache
def script() -> str:
    """The verifier as one file: its parts one after another, without what they import of each other."""
    folder = Path(verifier.__file__).parent
    parts = [_without_own_imports((folder / f"{part}.py").read_text()) for part in PARTS]
    head = f'"""Verifies the proof of an invoice, format {FORMAT}: python verify.py invoice.zip"""\n'
    return head + "\n\n".join(parts)


def _without_own_imports(text: str) -> str:
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(lines).strip() + "\n"
