"""
Verifies a bundle: python verify.py invoice.zip, or without an argument the folder that this file lies in.

Exit code 0: proved. 1: something differs, each thing named in a sentence. 2: the bundle cannot be read.
"""

import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile, ZipFile

from billing.invoicing.proofs.verifier.checks import verify
from billing.invoicing.proofs.verifier.lines import compare_finalised
from billing.invoicing.proofs.verifier.proof import FORMAT, NOT_IN_FORMAT, Document, Proof, canonical, read_json
from billing.invoicing.proofs.verifier.usage import Event, Unreadable, event_of, instant

PROVED, DIFFERS, BAD_INPUT = 0, 1, 2
MANIFEST = "manifest.json"
PROOF, EVENTS, ACCRUALS, FINALISED = "proof.json", "events.jsonl", "accruals.jsonl", "finalised.json"
HELD = (PROOF, EVENTS, ACCRUALS, FINALISED)
CHECK_CHARS = 16
# What Python raises for a zip file or a folder that is damaged, or made so that it cannot be read.
BROKEN = (OSError, BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)


class Files(Protocol):
    """The files of a bundle by name."""

    def read(self, name: str) -> bytes: ...
    def names(self) -> list[str]: ...


class Zipped:
    """A bundle as it was downloaded."""

    def __init__(self, path: Path | Any) -> None:
        self._zip = ZipFile(path)

    def read(self, name: str) -> bytes:
        return self._zip.read(name)

    def names(self) -> list[str]:
        return self._zip.namelist()


class Unpacked:
    """A bundle in a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def names(self) -> list[str]:
        return [one.name for one in self._path.iterdir()]


def check_of(row: Mapping[str, Any]) -> str:
    """What an event's row in a bundle says of itself, so that a changed one is named."""
    return sha256(_frozen({name: row[name] for name in row if name != "check"})).hexdigest()[:CHECK_CHARS]


def _frozen(value: Any) -> bytes:
    return canonical(_written(value))


def _written(value: Any) -> Any:
    """Numbers with places as text, as JSON of Python has no exact ones."""
    if isinstance(value, Mapping):
        return {str(name): _written(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_written(one) for one in value]
    return value if value is None or isinstance(value, str | int) else f"{value}"


def verify_bundle(files: Files, *, stated: str = "") -> tuple[Document, list[str]]:
    """The proof of a bundle and every difference found. `stated` is the proof's hash as it was told elsewhere.

    Raises Unreadable.
    """
    try:
        return _verified(files, stated)
    except NOT_IN_FORMAT as error:
        raise Unreadable(f"the bundle is not in its format: {type(error).__name__} {error}") from error


def _verified(files: Files, stated: str) -> tuple[Document, list[str]]:
    held = _read(files)
    manifest = read_json(held[MANIFEST])
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Unreadable(f"{MANIFEST} is not of format {FORMAT}")
    found = []
    for name in HELD:
        digest = sha256(held[name]).hexdigest()
        if manifest["files"].get(name) != digest:
            found.append(f"{name} is not the file that was exported: its SHA-256 is {digest}")
    document = read_json(held[PROOF])
    proof_digest = sha256(canonical(document)).hexdigest()
    for digest, by in ((manifest["proof_sha256"], "the manifest"), (stated.lower(), "whoever stated it")):
        if digest and digest != proof_digest:
            found.append(f"the proof's hash is {proof_digest}, {by} says {digest}")
    events, changed = _events_held(held[EVENTS])
    found += changed
    accruals = _runs_by_period(held[ACCRUALS])

    def events_of(period: Document) -> Iterator[Event]:
        starts, ends = instant(period["starts_at"]), instant(period["ends_at"])
        return (event for event in events if starts <= event.at < ends)

    spans = [(instant(one["starts_at"]), instant(one["ends_at"])) for one in document["periods"]]
    found += [
        f"{event.name} is of no period of the invoice"
        for event in events
        if not any(starts <= event.at < ends for starts, ends in spans)
    ]
    found += verify(document, events_of, lambda period: accruals.pop(period["id"], []))
    found += [f"accruals of period {one} are of no period of the invoice" for one in accruals]
    found += compare_finalised(Proof(document), read_json(held[FINALISED]))
    return document, list(dict.fromkeys(found))


def _read(files: Files) -> dict[str, bytes]:
    names = files.names()
    for name in (MANIFEST, *HELD):
        if names.count(name) != 1:
            raise Unreadable(f"the bundle has {names.count(name)} files {name}; it must have one")
    try:
        return {name: files.read(name) for name in (MANIFEST, *HELD)}
    except BROKEN as error:
        raise Unreadable(f"the bundle cannot be read: {error}") from error


def _rows(text: bytes) -> Iterator[Any]:
    for line in text.splitlines():
        row = read_json(line)
        if not isinstance(row, dict):
            raise Unreadable("a line is not an object")
        yield row


def _events_held(text: bytes) -> tuple[list[Event], list[str]]:
    events, changed = [], []
    for row in _rows(text):
        event = event_of(row)
        events.append(event)
        if row.get("check") != check_of(row):
            changed.append(f"{event.name} at {row['time']} is not as it was exported")
    return events, changed


def _runs_by_period(text: bytes) -> dict[int, list[Document]]:
    found: dict[int, list[Document]] = {}
    for row in _rows(text):
        period_id = row.pop("period", None)
        if not isinstance(period_id, int):
            raise Unreadable("an accrual names no period")
        found.setdefault(period_id, []).append(row)
    return found


def main(arguments: list[str]) -> int:
    stated = ""
    if "--sha256" in arguments[:-1]:
        place = arguments.index("--sha256")
        stated = arguments[place + 1]
        arguments = arguments[:place] + arguments[place + 2 :]
    path = Path(arguments[0]) if arguments else Path(__file__).resolve().parent
    if len(arguments) > 1 or not path.exists():
        print("usage: python verify.py [invoice.zip or folder] [--sha256 HASH]", file=sys.stderr)
        return BAD_INPUT
    try:
        document, found = verify_bundle(Unpacked(path) if path.is_dir() else Zipped(path), stated=stated)
    except (Unreadable, *BROKEN) as error:
        print(f"cannot be verified: {error}", file=sys.stderr)
        return BAD_INPUT
    invoice = document["invoice"]
    for difference in found:
        print(f"DIFFERS: {difference}")
    if found:
        print(f"{invoice['stripe_id']} is NOT proved: {len(found)} differences.")
        return DIFFERS
    charged = f"{len(document['lines'])} lines, {document['charged_minor']} minor units of usage"
    print(f"{invoice['stripe_id']} is proved: {charged}.")
    return PROVED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
