"""A document as the answer to a request: CSV as it is read, a workbook once it is whole."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile

from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse

from ledger.downloads.as_csv import csv_chunks
from ledger.downloads.as_xlsx import write_xlsx
from ledger.downloads.document import Document
from ledger.queries import one_look

# A workbook is made before the first byte is sent, some 25,000 lines a second. CSV has no such limit.
XLSX_LINES_MAX = 250_000
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@dataclass(frozen=True, slots=True)
class Format:
    """A button. Without an address the file cannot be made, and `label` says why."""

    label: str
    url: str


def formats(address: str, *, query: str, line_count: int) -> list[Format]:
    """`address` ends where the suffix begins."""
    xlsx = Format("XLSX", f"{address}xlsx?{query}")
    if line_count > XLSX_LINES_MAX:
        xlsx = Format(f"More than {XLSX_LINES_MAX:,} lines: no XLSX", "")
    return [Format("CSV", f"{address}csv?{query}"), xlsx]


def download(suffix: str, *, name: str, make: Callable[[], Document]) -> HttpResponseBase:
    """
    The file called `name`, of the document that `make` reads inside one look.

    Raises Http404: for a suffix that is neither csv nor xlsx.
    """
    if suffix == "csv":
        return StreamingHttpResponse(
            _csv(make), content_type="text/csv; charset=utf-8", headers=_headers(f"{name}.csv")
        )
    if suffix == "xlsx":
        return _xlsx(name, make=make)
    raise Http404("Files are made as csv or xlsx.")


def _csv(make: Callable[[], Document]) -> Iterator[bytes]:
    """The look is opened when the first chunk is asked for, and lasts until the last one is sent."""
    with one_look():
        yield from csv_chunks(make())


def _xlsx(name: str, *, make: Callable[[], Document]) -> HttpResponseBase:
    with one_look():
        document = make()
        if document.row_count > XLSX_LINES_MAX:
            return HttpResponse(
                f"This has {document.row_count:,} lines, and a workbook is made of {XLSX_LINES_MAX:,} at most. "
                "Choose a shorter span, or download CSV.",
                status=422,
                content_type="text/plain; charset=utf-8",
            )
        file = TemporaryFile()  # noqa: SIM115  (the response closes it)
        write_xlsx(document, file)
    file.seek(0)
    return FileResponse(file, as_attachment=True, filename=f"{name}.xlsx", content_type=_XLSX)


def _headers(file_name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{file_name}"'}
