"""Archive files of events: one CSV.gz a month. Streams both ways, so memory stays flat whatever a month holds.

The same events always make the same bytes: rows in the order of (time, key), times in UTC to the microsecond, no name
and no time in the gzip header. The first line names the columns; `manage.py import_usage` reads the file unpacked.
"""

import csv
import gzip
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Protocol, cast

from django.db import connection

COLUMNS = ("time", "received_at", "recorded_xid", "key", "source", "id", "type", "subject", "data")
TABLE_COLUMNS = "event_time, received_at, recorded_xid, key, source, event_id, event_type, customer_key, data"
BLOCK_BYTES = 256 * 1024
_GZIP_LEVEL = 5
_XID = COLUMNS.index("recorded_xid")
# A column of data may be larger than csv's own limit: 64 KiB at the door, more as jsonb writes it.
csv.field_size_limit(16 * 1024 * 1024)


class UnreadableArchive(Exception):
    """The file is no archive of events: cut off, not gzip, or with other columns."""


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class ArchiveFigures:
    """What a file holds. `fingerprint` does not depend on the order of rows; `last_xid` is None for no row."""

    sha256: str
    size_bytes: int
    events: int
    fingerprint: int
    last_xid: int | None


class HashedReader:
    """Hands on what it reads, and knows the checksum and the number of the bytes it handed on."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._digest.update(block)
        self.size_bytes += len(block)
        return block

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def write_archive(file: IO[bytes], *, start: datetime, end: datetime) -> None:
    """Write the events of [start, end), as one statement sees them."""
    names = ", ".join(f'fields[{place}] AS "{name}"' for place, name in enumerate(COLUMNS, start=1))
    # OFFSET 0 keeps the function's array from being taken apart and computed once for each column.
    query = (
        f"COPY (SELECT {names} FROM (SELECT metering_archive_fields(e) AS fields FROM metering_event AS e"
        " WHERE event_time >= %s AND event_time < %s ORDER BY event_time, key OFFSET 0) AS event)"
        " TO STDOUT (FORMAT csv, HEADER)"
    )
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=_GZIP_LEVEL, mtime=0) as packed,
        connection.cursor() as cursor,
        cursor.copy(query, [start, end]) as copy,
    ):
        for block in copy:
            packed.write(block)


def read_figures(file: Readable) -> ArchiveFigures:
    """Read a file to its end and say what it holds. Raises UnreadableArchive."""
    hashed = HashedReader(file)
    events = fingerprint = 0
    last_xid: int | None = None
    for row in _rows(hashed):
        events += 1
        fingerprint += int(hashlib.sha256("\x1f".join(row).encode()).hexdigest()[:15], 16)
        last_xid = max(last_xid or 0, int(row[_XID]))
    return ArchiveFigures(hashed.sha256, hashed.size_bytes, events, fingerprint, last_xid)


def rows(file: Readable) -> Iterator[list[str]]:
    """The rows of a file, each with the texts of `COLUMNS`. Raises UnreadableArchive."""
    return _rows(HashedReader(file))


def _rows(hashed: HashedReader) -> Iterator[list[str]]:
    with _unpacked(hashed) as unpacked:
        reader = csv.reader(io.TextIOWrapper(unpacked, encoding="utf-8", newline=""), strict=True)
        try:
            if tuple(next(reader, ())) != COLUMNS:
                raise UnreadableArchive(f"the columns are not {', '.join(COLUMNS)}")
            for row in reader:
                if len(row) != len(COLUMNS):
                    raise UnreadableArchive(f"row {reader.line_num} has {len(row)} columns")
                yield row
        except (OSError, EOFError, ValueError, csv.Error) as error:
            raise UnreadableArchive(str(error)) from error


def copy_into_events(cursor: Any, hashed: HashedReader) -> None:
    """Copy a file's rows into the event table through `cursor`, which must be the owner's. Raises UnreadableArchive."""
    with (
        _unpacked(hashed) as unpacked,
        cursor.copy(f"COPY metering_event ({TABLE_COLUMNS}) FROM STDIN (FORMAT csv, HEADER)") as copy,
    ):
        while block := _read_block(unpacked):
            copy.write(block)


def _read_block(unpacked: IO[bytes]) -> bytes:
    try:
        return unpacked.read(BLOCK_BYTES)
    except (OSError, EOFError) as error:
        raise UnreadableArchive(str(error)) from error


@contextmanager
def _unpacked(hashed: HashedReader) -> Iterator[Any]:
    with gzip.GzipFile(mode="rb", fileobj=cast("IO[bytes]", hashed)) as unpacked:  # it reads and does no more
        yield unpacked
