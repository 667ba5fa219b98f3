"""Statements and trial balances as files: read back and compared with the query to the last digit."""

import csv
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest
from django.test import Client
from django.urls import reverse

from config import roles
from ledger import queries
from ledger.downloads import answers, as_xlsx
from ledger.downloads.as_csv import csv_cell
from ledger.downloads.as_xlsx import is_exact_number, write_xlsx
from ledger.downloads.document import Document
from ledger.models import Account
from ledger.operations import credit, debit, post_journal_entries
from ledger.queries import Span
from tests.ledger.chart import (
    FIRST,
    GRANT,
    PROMOTIONS,
    RECEIVABLE,
    REVENUE,
    THIRD,
    UNBILLED,
    accrual,
    draft,
    issue,
    post,
)

pytestmark = pytest.mark.usefixtures("chart")
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
SPAN = Span(FIRST, NOVEMBER)
OCTOBER = {"month": "2026-10"}
# Fifteen digits a number of Excel's holds, the others it does not.
SHORT, LONG = Decimal("123456789.012345"), Decimal("12345678901234567890123456.123456789012")
NAMESPACE = {"x": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
FORMULA = '=HYPERLINK("http://example.com","x")'


@pytest.fixture
def journal(chart: None) -> None:
    usage = accrual("of", "0.000000000001").lines
    post(replace(draft("formula", *usage), memo=FORMULA))
    post(replace(draft("line break", *usage, effective_at=THIRD + timedelta(microseconds=1)), memo='a "b",\nc'))
    post(draft("short", debit(RECEIVABLE, SHORT), credit(REVENUE, SHORT), cause={"invoice": "-1+1", "charge": "ch"}))
    post(draft("back", credit(UNBILLED, Decimal(5)), debit(RECEIVABLE, Decimal(5))))
    post(draft("long", debit(RECEIVABLE, LONG), credit(REVENUE, LONG), effective_at=THIRD))
    post(issue("issue", "10"))


def downloaded(client: Client, name: str, *arguments: object, **query: str) -> tuple[str, bytes]:
    """The name of the file, and what is in it."""
    answer: Any = client.get(reverse(f"admin:ledger_{name}_download", args=arguments), query)
    assert answer.status_code == 200
    content = b"".join(answer.streaming_content)
    return answer.headers["Content-Disposition"].split('filename="')[1].rstrip('"'), content


def rows_of_csv(content: bytes) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The facts of the heading, and the rows by their columns."""
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    end = rows.index([])
    columns = rows[end + 1]
    return dict(rows[:end]), [dict(zip(columns, row, strict=True)) for row in rows[end + 2 :]]


def cells_of_xlsx(content: bytes, sheet: int = 1) -> list[list[tuple[str, str]]]:
    """Rows of (type, text) as they stand in the file: "n" a number, "inlineStr" text; no empty cells."""
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        root = ElementTree.fromstring(book.read(f"xl/worksheets/sheet{sheet}.xml"))
    return [
        [(cell.get("t", "n"), "".join(cell.itertext())) for cell in row.findall("x:c", NAMESPACE)]
        for row in root.iter(f"{{{NAMESPACE['x']}}}row")
    ]


def account_id(code: str) -> int:
    return Account.objects.get(code=code).pk


@pytest.mark.usefixtures("journal")
class TestAccountAsCsv:
    @pytest.mark.parametrize("code", [UNBILLED, RECEIVABLE, GRANT, REVENUE, PROMOTIONS])
    def test_is_the_query_to_the_last_digit(self, staff: Client, code: str) -> None:
        statement = queries.account_statement(code, SPAN)

        name, content = downloaded(staff, "account", account_id(code), "csv", **OCTOBER)

        heading, rows = rows_of_csv(content)
        assert name == f"statement_{code.replace(':', '-')}_2026-10-01_2026-11-01.csv"
        figures = ["Opening balance", "Debits", "Credits", "Closing balance"]
        expected = [statement.opening, statement.debit, statement.credit, statement.closing]
        assert [Decimal(heading[name]) for name in figures] == expected
        assert heading["From (UTC)"] == "2026-10-01 00:00:00"
        assert heading["As known at (UTC)"] == "everything recorded when this was made"
        lines = list(queries.stream_lines(statement))
        assert [(row["Entry"], row["Debit"], row["Credit"], row["Balance"]) for row in rows] == [
            (
                str(line.entry_id),
                f"{line.debit:.12f}" if line.debit is not None else "",
                f"{line.credit:.12f}" if line.credit is not None else "",
                f"{statement.balance_when(line.moved):.12f}",
            )
            for line in lines
        ]
        assert len(rows) == int(heading["Lines"]) == len(lines) > 0

    def test_neutralises_what_a_spreadsheet_would_run(self, staff: Client) -> None:
        _, content = downloaded(staff, "account", account_id(UNBILLED), "csv", **OCTOBER)

        _, rows = rows_of_csv(content)
        assert [row["Memo"] for row in rows] == [f"'{FORMULA}", "", 'a "b",\nc']
        assert rows[1]["Balance"] == "-4.999999999999"  # a number needs no apostrophe

    def test_has_instants_to_the_microsecond(self, staff: Client) -> None:
        _, content = downloaded(staff, "account", account_id(UNBILLED), "csv", **OCTOBER)

        assert rows_of_csv(content)[1][-1]["Effective at (UTC)"] == "2026-10-03 00:00:00.000001"

    def test_says_as_known_when(self, staff: Client) -> None:
        post_journal_entries([accrual("late", "2.5")], recorded_at=NOVEMBER)

        name, content = downloaded(
            staff, "account", account_id(UNBILLED), "csv", known_at="2026-10-20T12:30:00", **OCTOBER
        )

        heading, rows = rows_of_csv(content)
        assert name.endswith("_2026-11-01_known-2026-10-20T123000Z.csv")
        assert (heading["As known at (UTC)"], len(rows)) == ("2026-10-20 12:30:00", 3)

    def test_of_an_empty_account_has_its_heading(self, staff: Client) -> None:
        heading, rows = rows_of_csv(downloaded(staff, "account", account_id("fx:EUR"), "csv", **OCTOBER)[1])

        assert (heading["Closing balance"], rows) == ("0.000000000000", [])


@pytest.mark.usefixtures("journal")
class TestAccountAsXlsx:
    def test_is_the_query_to_the_last_digit(self, staff: Client) -> None:
        statement = queries.account_statement(RECEIVABLE, SPAN)

        name, content = downloaded(staff, "account", account_id(RECEIVABLE), "xlsx", **OCTOBER)

        rows = cells_of_xlsx(content)
        assert name == "statement_receivable-acme-USD_2026-10-01_2026-11-01.xlsx"
        facts = {row[0][1]: row[1] for row in rows if len(row) == 2}
        assert Decimal(facts["Opening balance"][1]) == statement.opening
        assert (facts["Closing balance"][0], Decimal(facts["Closing balance"][1])) == ("inlineStr", statement.closing)
        lines = list(queries.stream_lines(statement))
        amounts = [row[-2:] for row in rows[-len(lines) :]]
        assert [(Decimal(amount), Decimal(balance)) for (_, amount), (_, balance) in amounts] == [
            (line.debit or line.credit, statement.balance_when(line.moved)) for line in lines
        ]

    def test_has_numbers_up_to_fifteen_digits_and_text_beyond(self, staff: Client) -> None:
        _, content = downloaded(staff, "account", account_id(RECEIVABLE), "xlsx", **OCTOBER)

        debits = [row[-2] for row in cells_of_xlsx(content)[-3:]]
        assert [(kind, Decimal(text)) for kind, text in debits] == [
            ("n", SHORT),
            ("n", Decimal(5)),
            ("inlineStr", LONG),
        ]

    def test_never_has_a_formula(self, staff: Client) -> None:
        _, content = downloaded(staff, "account", account_id(UNBILLED), "xlsx", **OCTOBER)

        with zipfile.ZipFile(io.BytesIO(content)) as book:
            assert b"<f>" not in book.read("xl/worksheets/sheet1.xml")
        texts = [text for row in cells_of_xlsx(content) for kind, text in row if kind == "inlineStr"]
        assert FORMULA in texts

    def test_goes_on_on_another_sheet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(as_xlsx, "ROWS_A_SHEET", 10)
        file = io.BytesIO()

        write_xlsx(Document("a/b", [("Fact", "x")], ["Number"], ([number] for number in range(12)), 12), file)

        first, second = cells_of_xlsx(file.getvalue()), cells_of_xlsx(file.getvalue(), sheet=2)
        assert [row[0][1] for row in first[3:] if row] == ["0", "1", "2", "3", "4", "5"]
        assert [row[0][1] for row in second] == ["Number", "6", "7", "8", "9", "10", "11"]

    def test_too_long_a_one_is_refused_with_a_remedy(self, staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(answers, "XLSX_LINES_MAX", 2)

        answer = staff.get(reverse("admin:ledger_account_download", args=[account_id(RECEIVABLE), "xlsx"]), OCTOBER)
        page = staff.get(reverse("admin:ledger_account_change", args=[account_id(RECEIVABLE)]), OCTOBER)

        assert (answer.status_code, "download CSV" in answer.content.decode()) == (422, True)
        assert "More than 2 lines: no XLSX" in page.content.decode()


@pytest.mark.usefixtures("journal")
def test_a_customers_statement_has_the_lines_of_all_accounts(staff: Client) -> None:
    statement = queries.customer_statement("acme", "USD", SPAN)

    name, content = downloaded(staff, "customer_statement", "acme", "csv", currency="USD", **OCTOBER)

    heading, rows = rows_of_csv(content)
    assert name == "statement_customer_acme_USD_2026-10-01_2026-11-01.csv"
    assert Decimal(heading["Closing balance"]) == statement.closing
    assert [(row["Entry"], row["Account"], row["Balance of all accounts"]) for row in rows] == [
        (str(line.entry_id), statement.code_of(line), f"{statement.balance_when(line.moved):.12f}")
        for group in queries.stream_entries(statement)
        for line in group.lines
    ]
    xlsx = cells_of_xlsx(downloaded(staff, "customer_statement", "acme", "xlsx", currency="USD", **OCTOBER)[1])
    assert [Decimal(row[-1][1]) for row in xlsx[-len(rows) :]] == [
        Decimal(row["Balance of all accounts"]) for row in rows
    ]


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("query", [{}, {"before": "2026-10-03T00:00:00"}, {"known_at": "2026-09-30T00:00:00"}])
def test_a_trial_balance_has_every_account(staff: Client, query: dict[str, str]) -> None:
    before = THIRD - timedelta(microseconds=1) if "before" in query else None
    known_at = FIRST - timedelta(days=1) if "known_at" in query else None
    expected = queries.trial_balance(effective_at=before, known_at=known_at)

    name, content = downloaded(staff, "trial_balance", "csv", **query)

    heading, rows = rows_of_csv(content)
    assert (
        name
        == {
            (): "trial-balance.csv",
            ("before",): "trial-balance_before-2026-10-03.csv",
            ("known_at",): "trial-balance_known-2026-09-30.csv",
        }[tuple(query)]
    )
    assert [(row["Account"], Decimal(row["Debits"]), Decimal(row["Credits"])) for row in rows] == [
        (row.code, row.debit, row.credit) for row in expected
    ]
    assert heading.get("Debits USD") == heading.get("Credits USD")
    xlsx = cells_of_xlsx(downloaded(staff, "trial_balance", "xlsx", **query)[1])
    assert [Decimal(row[2][1]) for row in xlsx[len(xlsx) - len(rows) :]] == [row.debit for row in expected]


class TestWhoMayDownload:
    def addresses(self) -> list[str]:
        return [
            reverse("admin:ledger_account_download", args=[account_id(UNBILLED), "csv"]),
            reverse("admin:ledger_trial_balance_download", args=["csv"]),
            reverse("admin:ledger_customer_statement_download", args=["acme", "csv"]) + "?currency=USD",
        ]

    @pytest.mark.parametrize(
        ("role", "statuses"),
        [(roles.FINANCE, [200] * 3), (roles.ENGINEERING, [200] * 3), (roles.CUSTOMER_SUCCESS, [403, 403, 200])],
    )
    def test_is_who_may_see_the_page(self, sign_in: Callable[[str], Client], role: str, statuses: list[int]) -> None:
        client = sign_in(role)

        assert [client.get(address).status_code for address in self.addresses()] == statuses

    def test_is_nobody_unknown(self, client: Client) -> None:
        assert [client.get(address).status_code for address in self.addresses()] == [302] * 3

    def test_what_cannot_be_read_is_refused(self, staff: Client) -> None:
        first, second, third = (address.split("?")[0] for address in self.addresses())

        assert staff.get(first, {"from": "x"}).status_code == 400
        assert staff.get(second, {"before": "x"}).status_code == 400
        assert staff.get(third, {"currency": "EUR"}).status_code == 400
        assert staff.get(first.replace(".csv", ".pdf")).status_code == 404


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "＝1"])
def test_text_that_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize(("amount", "is_exact"), [("999999999999999", True), ("0.000000000001", True), ("1e30", True)])
def test_fifteen_digits_are_a_number(amount: str, is_exact: bool) -> None:
    assert is_exact_number(Decimal(amount)) is is_exact
    assert not is_exact_number(Decimal("10000000000000000000000000.000000000001"))
