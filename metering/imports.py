"""Importing usage files: reading in a stream, batches that commit together with how far they came, and what is
rejected."""

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal

from django.db import transaction

from metering import operations
from metering.events import Refusal, UsageEventInput
from metering.import_rules import ImportRules, Row, RowReader, decode_json_line
from metering.models import ImportRun

Format = Literal["csv", "jsonl"]
DEFAULT_BATCH = 2_000
COUNTS = ("read", "accepted", "duplicates", "conflicts", "quarantined", "rejected")
REJECT_COLUMNS = ("line", "field", "reason", "remedy")
_MAX_LINE_BYTES = 1024 * 1024


class UnreadableFile(Exception):
    """The file cannot be imported at all: it is missing, empty, or has no header that can be read."""


class ImportedTwiceAtOnce(Exception):
    """Two processes import the same file under the same rules; this one stops, nothing was taken twice."""


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import ended in, over all its runs. `finished` is false when it was stopped in between."""

    counts: dict[str, int]
    finished: bool
    shift_days: int | None


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """One file, its format, the rules for its rows, and where rejected rows go."""

    path: Path
    format: Format
    rules: ImportRules
    rejects_path: Path
    batch_size: int = DEFAULT_BATCH


class _Lines:
    """The lines of a file from a byte offset on, counting what was handed out: that is where a resumed import goes
    on."""

    def __init__(self, file: BinaryIO, *, offset: int, line_number: int) -> None:
        file.seek(offset)
        self._file = file
        self.offset = offset
        self.line_number = line_number
        self._taken = hashlib.blake2b(digest_size=8)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next line as text. Bytes that are no UTF-8 come as lone surrogates, which ingest refuses where they
        matter."""
        return self.next_bytes().decode(errors="surrogateescape")

    def next_bytes(self) -> bytes:
        """The next line; one longer than 1 MiB comes in pieces, which then fail to be read, instead of filling
        memory."""
        line = self._file.readline(_MAX_LINE_BYTES)
        if not line:
            raise StopIteration
        self.offset += len(line)
        self.line_number += 1
        self._taken.update(line.rstrip(b"\r\n"))
        return line

    def back_to(self, offset: int, line_number: int) -> None:
        """Stand before an earlier line again."""
        self._file.seek(offset)
        self.offset, self.line_number = offset, line_number
        self.take_digest()

    def take_digest(self) -> str:
        """The digest of the bytes handed out since it was last asked: those of one row, without line ends."""
        digest = self._taken.hexdigest()
        self._taken = hashlib.blake2b(digest_size=8)
        return digest


def run_import(
    plan: ImportPlan,
    *,
    now: Callable[[], datetime],
    on_progress: Callable[[int], None] = lambda _offset: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ImportSummary:
    """Import the file, or go on with it where an earlier import of the same file under the same rules was interrupted.

    Each batch is one transaction with the run's position, so a crash between any two steps repeats or loses no row.
    `on_progress` is told the bytes done; `should_stop` is asked after each batch. Raises UnreadableFile
    or ImportedTwiceAtOnce.
    """
    header = _csv_header(plan.path, plan.rules) if plan.format == "csv" else []
    run = _open_run(plan, now())
    reader = RowReader(plan.rules, run.shift_days)
    with plan.path.open("rb") as file, _rejects(plan.rejects_path, run.rejects_bytes) as rejects:
        lines = _Lines(file, offset=run.byte_offset, line_number=run.line_number)
        if plan.format == "csv" and run.byte_offset == 0:
            _skip_header(lines)
        rows = _csv_rows(lines, header) if plan.format == "csv" else _json_rows(lines)
        on_progress(lines.offset)
        for batch in _batched(rows, plan.batch_size):
            _import_batch(run, batch, reader, lines, rejects, now())
            on_progress(lines.offset)
            if should_stop() and lines.offset < run.file_bytes:
                return _summary(run, finished=False)
    ImportRun.objects.filter(id=run.id).update(finished_at=now(), byte_offset=lines.offset)
    return _summary(run, finished=True)


def read_events(path: Path, form: Format, rules: ImportRules) -> Iterator[tuple[int, UsageEventInput | Refusal]]:
    """The events that an import of the file would send, each with its line; nothing is sent. Raises UnreadableFile."""
    header = _csv_header(path, rules) if form == "csv" else []
    reader = RowReader(rules, None)
    with path.open("rb") as file:
        lines = _Lines(file, offset=0, line_number=0)
        if form == "csv":
            _skip_header(lines)
        for row in _csv_rows(lines, header) if form == "csv" else _json_rows(lines):
            yield row.line_number, reader.event(row)


def file_digest(path: Path) -> str:
    """SHA-256 of the file. Raises UnreadableFile for one that is missing or empty."""
    try:
        digest, size = _file_digest(path)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}") from error
    if size == 0:
        raise UnreadableFile(f"{path.name}: the file is empty")
    return digest


def format_of(name: str) -> Format | None:
    """The format that a file's name says, None when it says none."""
    endings: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    return endings.get(Path(name).suffix.lower())


def _open_run(plan: ImportPlan, now: datetime) -> ImportRun:
    try:
        digest, size = _file_digest(plan.path)
    except OSError as error:
        raise UnreadableFile(f"{plan.path}: {error.strerror}") from error
    if size == 0:
        raise UnreadableFile(f"{plan.path}: the file is empty")
    run, _ = ImportRun.objects.get_or_create(
        file_digest=digest,
        options_digest=plan.rules.digest(),
        finished_at=None,
        defaults={
            "file_name": plan.path.name,
            "options": asdict(plan.rules),
            "started_at": now,
            "file_bytes": size,
        },
    )
    return run


def _file_digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, os.fstat(file.fileno()).st_size


def _rejects(path: Path, committed_bytes: int) -> BinaryIO:
    """The reject file, cut to what committed batches wrote, so that a crash leaves no row in it twice."""
    file = path.open("r+b" if committed_bytes and path.exists() else "w+b")
    file.truncate(committed_bytes)
    file.seek(0, os.SEEK_END)
    return file


def _csv_header(path: Path, rules: ImportRules) -> list[str]:
    try:
        with path.open("rb") as file:
            header = next(csv.reader(_Lines(file, offset=0, line_number=0), strict=True), [])
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}") from error
    except csv.Error as error:
        raise UnreadableFile(f"the first line cannot be read: {error}") from error
    names = [name.removeprefix("\ufeff").strip() for name in header]
    if not names or not all(names) or len(set(names)) != len(names):
        raise UnreadableFile("the first line must name every column, each once")
    for column in rules.columns.values():
        if column not in names:
            raise UnreadableFile(f"there is no column {column}; the file has {', '.join(names)}")
    return names


def _skip_header(lines: _Lines) -> None:
    next(csv.reader(lines, strict=True))
    lines.take_digest()


def _csv_rows(lines: _Lines, header: Sequence[str]) -> Iterator[Row]:
    """Rows of a CSV file; one that cannot be read becomes a Row with a problem, and reading goes on with the next line.

    A reader for each row: it takes no line more than the row has, so the lines' position is always that of a row's end.
    """
    while True:
        offset, line_number = lines.offset, lines.line_number + 1
        try:
            values = next(csv.reader(lines, strict=True))
        except StopIteration:
            return
        except csv.Error as error:
            # A quote that is never closed swallows what follows: only its own line is given up.
            lines.back_to(offset, line_number - 1)
            lines.next_bytes()
            yield Row(line_number, lines.take_digest(), None, f"the row is not CSV: {error}")
            continue
        digest = lines.take_digest()
        if values and len(values) != len(header):
            yield Row(line_number, digest, None, f"the row has {len(values)} columns, the header {len(header)}")
        elif values:  # an empty line is no row
            yield Row(line_number, digest, dict(zip(header, values, strict=True)))


def _json_rows(lines: _Lines) -> Iterator[Row]:
    while True:
        line_number = lines.line_number + 1
        try:
            line = lines.next_bytes()
        except StopIteration:
            return
        digest = lines.take_digest()
        if not line.strip():
            continue
        try:
            yield Row(line_number, digest, decode_json_line(line))
        except ValueError as error:
            yield Row(line_number, digest, None, str(error))


def _batched(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    """Lists of `size` rows. Nothing is read ahead, so the lines' position stands right behind the batch."""
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _import_batch(
    run: ImportRun, batch: Sequence[Row], reader: RowReader, lines: _Lines, rejects: BinaryIO, received_at: datetime
) -> None:
    events = [reader.event(row) for row in batch]
    with transaction.atomic():
        if ImportRun.objects.select_for_update().get(id=run.id).byte_offset != run.byte_offset:
            raise ImportedTwiceAtOnce(f"{run.file_name}: another import of this file has gone on meanwhile")
        result = operations.ingest_events(events, received_at=received_at)
        _write_rejects(rejects, [(batch[refused.index].line_number, refused) for refused in result.refused])
        run.read += len(batch)
        run.accepted += result.accepted
        run.duplicates += result.duplicates
        run.conflicts += result.conflicts
        run.quarantined += result.quarantined
        run.rejected += len(result.refused)
        run.byte_offset, run.line_number = lines.offset, lines.line_number
        run.rejects_bytes, run.shift_days = rejects.tell(), reader.shift_days
        run.save()


def _write_rejects(rejects: BinaryIO, rows: Sequence[tuple[int, operations.EventOutcome]]) -> None:
    """Append rejected rows and make them durable before the transaction commits that counts them."""
    if not rows:
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if rejects.tell() == 0:
        writer.writerow(REJECT_COLUMNS)
    for line_number, outcome in rows:
        writer.writerow([line_number, outcome.field, outcome.reason, outcome.remedy])
    rejects.write(text.getvalue().encode())
    rejects.flush()
    os.fsync(rejects.fileno())


def _summary(run: ImportRun, *, finished: bool) -> ImportSummary:
    return ImportSummary({name: getattr(run, name) for name in COUNTS}, finished, run.shift_days)
