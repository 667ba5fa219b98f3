"""Files of banks as they come: several shapes, and everything that is wrong named with line and column."""

from datetime import date

import pytest

from billing.payments.bank.reading import BadFile, BadRules, Rules, check_rules, read_amount, read_statement

PLAIN = Rules({"booked": "Date", "amount": "Amount", "reference": "Text"}, "YYYY-MM-DD", "point")
GERMAN = Rules(
    {
        "booked": "Buchung",
        "value": "Wert",
        "debit": "Soll",
        "credit": "Haben",
        "currency": "Währung",
        "reference": "Zweck",
    },
    "DD.MM.YYYY",
    "comma",
    delimiter="semicolon",
    encoding="latin-1",
    header_line=3,
    opening="1.000,00",
    closing="2.134,56",
)


def text(*lines: str, head: str = "Date,Amount,Text") -> bytes:
    return "\n".join((head, *lines)).encode()


def test_a_plain_file() -> None:
    read = read_statement(text('2026-10-05,"1,234.50",STRIPE  PAYOUT', "2026-10-06,-3.00,rent"), PLAIN, currency="USD")

    assert [(one.line_number, one.booked_on, one.amount_minor, one.reference) for one in read.lines] == [
        (2, date(2026, 10, 5), 123450, "STRIPE PAYOUT"),
        (3, date(2026, 10, 6), -300, "rent"),
    ]


def test_one_with_debits_and_credits_a_decimal_comma_a_preamble_and_balances() -> None:
    content = (
        "Kontoauszug;;;;;\n\nBuchung;Wert;Soll;Haben;Währung;Zweck\n"
        "05.10.2026;06.10.2026;;1.234,56;EUR;STRIPE\n06.10.2026;;100,00;;EUR;Büro\n"
    ).encode("latin-1")
    read = read_statement(content, GERMAN, currency="EUR")

    assert [one.amount_minor for one in read.lines] == [123456, -10000]
    assert (read.lines[0].value_on, read.lines[1].value_on) == (date(2026, 10, 6), None)
    assert (read.opening_minor, read.closing_minor) == (100000, 213456)


def test_balances_that_do_not_meet_refuse_the_file() -> None:
    rules = Rules(PLAIN.columns, "YYYY-MM-DD", "point", opening="1.00", closing="9.00")
    with pytest.raises(BadFile, match="a line is missing, or a balance is wrong"):
        read_statement(text("2026-10-05,5.00,a"), rules, currency="USD")


def test_equal_lines_of_a_day_stay_two_and_an_id_is_there_once() -> None:
    twice = text("2026-10-05,5.00,coffee", "2026-10-05,5.00,coffee", "2026-10-05,5.00,tea")
    lines = read_statement(twice, PLAIN, currency="USD").lines
    assert [one.number for one in lines] == [1, 2, 1]
    assert len({(one.identity, one.number) for one in lines}) == 3
    by_id = Rules({**PLAIN.columns, "id": "Id"}, "YYYY-MM-DD", "point")
    with pytest.raises(BadFile, match=r"line 3: the bank's id A1 was in line 2 already"):
        read_statement(
            text("2026-10-05,5.00,a,A1", "2026-10-06,6.00,b,A1", head="Date,Amount,Text,Id"), by_id, currency="USD"
        )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("05/10/2026,5.00,a", "line 2, column Date: '05/10/2026' is no date as YYYY-MM-DD"),
        ("2026-10-5,5.00,a", "line 2, column Date: '2026-10-5' is no date as YYYY-MM-DD"),
        ('2026-10-05,"5,00",a', "line 2, column Amount: '5,00' is no amount with a decimal point"),
        ("2026-10-05,5.001,a", "line 2, column Amount: '5.001' has more decimal places than USD"),
        ("2026-10-05,1e3,a", "line 2, column Amount: '1e3' is no amount"),
        ("2026-10-05,٣,a", "line 2, column Amount"),
        ("2026-10-05,5.00", "line 2: 2 columns, and the header has 3"),
        ('2026-10-05,5.00,"a', "line 2: unexpected end of data"),
    ],
)
def test_what_cannot_be_read_is_named(line: str, problem: str) -> None:
    with pytest.raises(BadFile) as refused:
        read_statement(text(line), PLAIN, currency="USD")
    assert refused.value.problems[0].startswith(problem)


def test_every_problem_is_listed_and_nothing_is_read() -> None:
    with pytest.raises(BadFile) as refused:
        read_statement(text(*["2026-10-05,x,a"] * 30, "2026-10-05,1,a"), PLAIN, currency="USD")
    assert (len(refused.value.problems), refused.value.problems[-1]) == (21, "and 10 more")


@pytest.mark.parametrize(
    "content", [b"", b"Date,Amount,Text", b"Date;Amount;Text\n", b"\xff\xfe,", b"Date,Date,Amount,Text\n"]
)
def test_a_file_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(BadFile):
        read_statement(content, PLAIN, currency="USD")


def test_amounts_are_read_as_said_and_never_guessed() -> None:
    assert read_amount("1.234.567,89-", decimal="comma", currency="EUR") == -123456789
    assert read_amount("+12\N{NO-BREAK SPACE}345", decimal="point", currency="JPY") == 12345
    assert read_amount("\N{MINUS SIGN}1.500", decimal="point", currency="KWD") == -1500
    for wrong in ("1,23", "12.34.56", "", "-", "--1", "1.", "NaN", "-1-", "-+1", f"1.{'0' * 80}1"):
        with pytest.raises(ValueError, match="is no amount"):
            read_amount(wrong, decimal="point", currency="EUR")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"amount": "A", "reference": "T"}, "booked date is missing"),
        ({"booked": "D", "reference": "T"}, "either the column amount"),
        ({"booked": "D", "amount": "A", "debit": "S", "credit": "H", "reference": "T"}, "either the column amount"),
        ({"booked": "D", "debit": "S", "reference": "T"}, "either the column amount"),
        ({"booked": "D", "amount": "A"}, "whose money"),
        ({"booked": "D", "amount": "D", "reference": "T"}, "named for two things"),
        ({"booked": "D", "amount": "A", "reference": "T", "colour": "C"}, "'colour' is nothing a line has"),
    ],
)
def test_rules_that_fit_no_file_are_refused(columns: dict[str, str], said: str) -> None:
    with pytest.raises(BadRules, match=said):
        check_rules(Rules(columns, "YYYY-MM-DD", "point"))


def test_a_debit_with_a_sign_and_both_at_once_are_not_guessed() -> None:
    rules = Rules({"booked": "D", "debit": "S", "credit": "H", "reference": "T"}, "YYYY-MM-DD", "point")
    for row, said in (
        ("2026-10-05,-1,,a", "has no sign"),
        ("2026-10-05,1,2,a", "either S or H"),
        ("2026-10-05,,,a", "either S or H"),
    ):
        with pytest.raises(BadFile, match=said):
            read_statement(text(row, head="D,S,H,T"), rules, currency="USD")
