"""A document as CSV (RFC 4180), in UTF-8, chunk by chunk: memory does not grow with its rows."""

import csv
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from io import StringIO

from config.csv_text import safe_text
from ledger.downloads.document import Cell, Document, instant_text

CHUNK_BYTES = 64 * 1024


def csv_chunks(document: Document) -> Iterator[bytes]:
    """The heading, an empty line, the columns, the rows. Amounts with all twelve places, instants in UTC."""
    buffer = StringIO()
    writer = csv.writer(buffer)
    for name, value in document.heading:
        writer.writerow([name, csv_cell(value)])
    writer.writerow([])
    writer.writerow(document.columns)
    for row in document.rows:
        writer.writerow([csv_cell(cell) for cell in row])
        if buffer.tell() >= CHUNK_BYTES:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def csv_cell(cell: Cell) -> str:
    """As text. What could be taken for a formula gets an apostrophe before it; amounts are numbers and need none."""
    match cell:
        case None:
            return ""
        case Decimal():
            return f"{cell:.12f}"
        case datetime():
            return instant_text(cell)
        case int():
            return str(cell)
        case _:
            return safe_text(cell)
