"""
A document as a workbook of Excel's, written to a file row by row: memory does not grow with its rows.

A number of Excel's holds fifteen significant digits. An amount that has more is written as text, in italics, so that
nothing is rounded; the heading says so.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import IO

from xlsxwriter import Workbook
from xlsxwriter.worksheet import Worksheet

from ledger.downloads.document import Cell, Document
from ledger.exact import EXACT

NUMBER_DIGITS_MAX = 15
# Excel holds 1,048,576 rows on a sheet; what is more goes onto another one.
ROWS_A_SHEET = 1_000_000
_AMOUNT = "#,##0.00##########;[Red]-#,##0.00##########"
_INSTANT = "yyyy-mm-dd hh:mm:ss"
_TITLE_LENGTH_MAX = 28  # of the 31 that Excel allows; the number of a further sheet comes behind
_NOTE = "Amounts of more than 15 digits are text, in italics: a number of Excel's holds no more. Instants are in UTC."


def write_xlsx(document: Document, file: IO[bytes]) -> None:
    """Write the heading, the columns and the rows; columns again on each further sheet."""
    workbook = Workbook(
        file, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "in_memory": False}
    )
    try:
        _Sheets(workbook, document).write()
    finally:
        workbook.close()


def is_exact_number(amount: Decimal) -> bool:
    """Whether a number of Excel's says it to the last digit."""
    return len(amount.normalize(EXACT).as_tuple().digits) <= NUMBER_DIGITS_MAX


class _Sheets:
    """The sheets of one workbook while they are written. Rows are written in order and cannot be gone back to."""

    def __init__(self, workbook: Workbook, document: Document) -> None:
        self._workbook = workbook
        self._document = document
        self._bold = workbook.add_format({"bold": True})
        self._head = workbook.add_format({"bold": True, "bottom": 1})
        self._amount = workbook.add_format({"num_format": _AMOUNT})
        self._long_amount = workbook.add_format({"italic": True, "align": "right"})
        self._instant = workbook.add_format({"num_format": _INSTANT, "align": "left"})
        self._row = 0
        self._count = 0

    def write(self) -> None:
        sheet = self._next_sheet()
        for name, value in [*self._document.heading, ("Note", _NOTE)]:
            sheet.write_string(self._row, 0, name, self._bold)
            self._cell(sheet, 1, value)
            self._row += 1
        self._row += 1
        self._columns(sheet)
        for row in self._document.rows:
            if self._row >= ROWS_A_SHEET:
                sheet = self._next_sheet()
                self._columns(sheet)
            for column, cell in enumerate(row):
                self._cell(sheet, column, cell)
            self._row += 1

    def _next_sheet(self) -> Worksheet:
        self._count += 1
        self._row = 0
        title = "".join(" " if letter in "[]:*?/\\'" else letter for letter in self._document.title)[:_TITLE_LENGTH_MAX]
        sheet = self._workbook.add_worksheet(title if self._count == 1 else f"{title} {self._count}")
        sheet.set_column(0, len(self._document.columns) - 1, 20)
        return sheet

    def _columns(self, sheet: Worksheet) -> None:
        for column, name in enumerate(self._document.columns):
            sheet.write_string(self._row, column, name, self._head)
        self._row += 1

    def _cell(self, sheet: Worksheet, column: int, cell: Cell) -> None:
        match cell:
            case None:
                return
            case Decimal() if is_exact_number(cell):
                # XlsxWriter writes a Decimal with sixteen digits at most, so all fifteen are there.
                sheet.write_number(self._row, column, cell, self._amount)
            case Decimal():
                sheet.write_string(self._row, column, f"{cell:.12f}", self._long_amount)
            case datetime():
                sheet.write_datetime(self._row, column, cell.astimezone(UTC).replace(tzinfo=None), self._instant)
            case int():
                sheet.write_number(self._row, column, cell)
            case _:
                # As a string whatever it begins with: text is never a formula.
                sheet.write_string(self._row, column, cell)
