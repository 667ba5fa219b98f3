"""camt.053: the same lines as of a CSV file, once however often, and nothing that a parser could be made to fetch."""

import base64
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.urls import reverse

from billing.payments.bank.camt import CamtRules, read_camt
from billing.payments.bank.models import BankLine
from billing.payments.bank.reading import BadFile
from billing.payments.bank.statements import NewAccount, import_statement, look_at_statement
from tests.billing.accounting.people import FIONA, hire
from tests.billing.payments.bank.importing import NOON
from tests.billing.payments.bank.test_payouts_at_the_bank import client_of

BY_TEXT, BY_ID = CamtRules(by_id=False), CamtRules(by_id=True)
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
TYPE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"


def entry(amount: str, day: str, text: str, *, side: str = "CRDT", status: str = "BOOK", **more: str) -> str:
    told = {"currency": "USD", "id": "", "end": "NOTPROVIDED"} | more
    return (
        f'<Ntry><Amt Ccy="{told["currency"]}">{amount}</Amt><CdtDbtInd>{side}</CdtDbtInd><Sts><Cd>{status}</Cd></Sts>'
        f"<BookgDt><Dt>{day}</Dt></BookgDt><ValDt><DtTm>{day}T00:00:00+02:00</DtTm></ValDt>"
        f"<AcctSvcrRef>{told['id']}</AcctSvcrRef><NtryDtls><TxDtls><Refs><EndToEndId>{told['end']}</EndToEndId></Refs>"
        f"<RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"
    )


def balance(kind: str, amount: str, side: str = "CRDT") -> str:
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp><Amt Ccy='USD'>{amount}</Amt>"
        f"<CdtDbtInd>{side}</CdtDbtInd></Bal>"
    )


def camt(*parts: str, head: str = HEAD, account: str = "DE1") -> bytes:
    return (
        f'{head}<Document xmlns="{TYPE}"><BkToCstmrStmt><Stmt><Acct><Id><IBAN>{account}</IBAN></Id></Acct>'
        f"{''.join(parts)}</Stmt></BkToCstmrStmt></Document>"
    ).encode()


A = entry("5.00", "2026-10-05", "STRIPE  PAYOUT &amp; more", end="tr4c31234")
B = entry("7.50000", "2026-10-05", "rent", side="DBIT")
# What the form sends of a file that is none of these.
CSV_DEFAULTS = {"date_format": "YYYY-MM-DD", "decimal": "point", "delimiter": "comma", "encoding": "utf-8"}
CSV_DEFAULTS |= {"header_line": "1"}
PENDING = entry("1.00", "2026-10-05", "later", status="PDNG")


def take(content: bytes, rules: CamtRules = BY_TEXT, account: str = "Main") -> Any:
    return import_statement(
        account_name=account, file_name="october.xml", content=content, rules=rules, new_account=NewAccount("USD"),
        actor=FIONA, now=NOON,
    )  # fmt: skip


def test_each_entry_is_a_line_once(db: None) -> None:
    hire()
    first = take(camt(balance("OPBD", "10.00"), balance("CLBD", "12.50"), A, B, A, PENDING))
    assert (first.line_count, first.new_count, first.opening_minor, first.closing_minor) == (3, 3, 1000, 1250)
    assert take(camt(balance("OPBD", "10.00"), balance("CLBD", "12.50"), A, B, A, PENDING)) == first
    assert take(camt(A, A, B)).new_count == 0  # the same lines in another file
    lines = BankLine.objects.order_by("pk")
    assert [(line.amount_minor, line.number, str(line.value_on)) for line in lines] == [
        (500, 1, "2026-10-05"),
        (-750, 1, "2026-10-05"),
        (500, 2, "2026-10-05"),
    ]
    assert lines[0].reference == "STRIPE PAYOUT & more tr4c31234"
    by_id = camt(entry("5.00", "2026-10-05", "STRIPE", id="a1"), entry("5.00", "2026-10-05", "STRIPE", id="a2"))
    assert take(by_id, BY_ID, "Ids").new_count == 2
    looked = look_at_statement(
        account_name="Ids", content=by_id, rules=BY_ID, new_account=None, actor=FIONA, now=NOON
    )  # fmt: skip
    assert (looked.new, looked.earlier is not None) == ((), True)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'<?xml version="1.0" encoding="rot13"?><Document/>', "line 1: the file's encoding cannot be read"),
        (b'<?xml version="1.0" encoding="big5"?><Document/>', "line 1: the file's encoding cannot be read"),
        (b"<Document>" + b"x" * 100_001 + b"</Document>", "line 1: a text is longer than 100,000 characters"),
        (b"<Document>" + b"x<b/>" * 100_000, "line 1: this is no XML: no element found"),
        (camt(A).replace(b"BkToCstmrStmt", b"BkToCstmrAcctRpt"), "the file holds no statement"),
        (camt(A.replace('<Amt Ccy="USD">5.00</Amt>', "")), "line 1: Amt: no currency, and the account is in USD"),
        (camt(entry("9" * 30, "2026-10-05", "a")), "line 1: Amt: "),
        (camt(A, head='<!DOCTYPE Document [<!ENTITY x "y">]>'), "line 1: the file has a document type or entities"),
        (camt(A, head='<!DOCTYPE Document SYSTEM "file:///etc/passwd">'), "line 1: the file has a document type"),
        (camt(entry("5.00", "2026-10-05", "&x;")), "line 1: this is no XML: undefined entity"),
        (b"\x1f\x8b", "line 1: this is no XML"),
        (camt(A)[:-20], "this is no XML: "),
        (b"<Document/>", "the file holds no statement"),
        (b"<a/>", "the file is no ISO 20022 message"),
        (b"<a>" * 60, "line 1: the file is nested too deep"),
        (b" " * (10 * 1024 * 1024 + 1), "the file is larger than 10 MiB"),
        (camt(PENDING), "the file has no booked entry"),
        (camt(entry("5,00", "2026-10-05", "a")), "line 1: Amt: '5,00' is no amount"),
        (camt(entry("5.001", "2026-10-05", "a")), "line 1: Amt: '5.001' has more decimal places"),
        (camt(entry("5.00", "05.10.2026", "a")), "line 1: BookgDt: '05.10.2026' is no date"),
        (camt(entry("5.00", "2026-10-05", "a", currency="EUR")), "line 1: Amt: EUR, and the account is in USD"),
        (camt(entry("5.00", "2026-10-05", "a", side="X")), "line 1: CdtDbtInd: 'X' is neither"),
        (camt(entry("5.00", "2026-10-05", "a", status="X")), "line 1: Sts: 'X' is no status"),
        (camt(balance("OPBD", "1.00"), balance("CLBD", "2.00"), A), "the opening balance and the lines come to 600"),
    ],
)
def test_what_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(BadFile) as refused:
        read_camt(content, BY_TEXT, currency="USD")
    assert problem in refused.value.problems[0]


def test_two_accounts_and_an_entry_without_its_reference_are_refused() -> None:
    one = camt(A).decode()
    both = one.replace("</Stmt>", f"</Stmt><Stmt><Acct><Id><IBAN>DE2</IBAN></Id></Acct>{B}</Stmt>", 1).encode()
    with pytest.raises(BadFile, match="several accounts \\(DE1, DE2\\)"):
        read_camt(both, BY_TEXT, currency="USD")
    with pytest.raises(BadFile, match="every entry needs its reference"):
        read_camt(camt(A), BY_ID, currency="USD")


def test_what_is_new_in_a_file_of_one_line_is_taken(db: None, tmp_path: Path) -> None:
    """By the page and by the command: the file is one line, and half of it was imported before."""
    hire()
    take(camt(A))
    c = entry("1.00", "2026-10-06", "gas")
    page, address = client_of(FIONA), reverse("admin:billing_bankstatement_import")
    content = base64.b64encode(camt(A, c)).decode()
    given = {"account": "Main", "file_format": "camt.053", "content": content, "file_name": "o.xml", **CSV_DEFAULTS}
    looked = page.post(address, given).content.decode()
    assert ("Keep 1 new line" in looked, "camt.053" in looked, looked.count("gas")) == (True, True, 1)
    assert "the other was imported before" in looked
    assert page.post(address, {**given, "file_format": "csv"}).status_code == 422
    assert page.post(address, {**given, "content": base64.b64encode(b"<a/>").decode()}).status_code == 422
    assert page.post(address, {**given, "confirmed": "yes"}).status_code == 302
    assert sorted(BankLine.objects.values_list("amount_minor", flat=True)) == [100, 500]
    assert 'value="camt.053" selected' in page.get(address).content.decode()

    file, said = tmp_path / "november.xml", StringIO()
    file.write_bytes(camt(c, B.replace("2026-10-05", "2026-10-07")))
    options = ["--account=Main", "--by=user:fiona", "--format=camt.053"]
    call_command("import_bank_statement", str(file), *options, stdout=said)
    assert "1 of 2 lines are new" in said.getvalue()
    assert BankLine.objects.count() == 3
    for more, problem in (
        (["--map=booked=Date"], "camt.053 names its columns itself"),
        (["--by-id"], "told apart"),
        (["--format=csv"], "--dates"),
    ):
        with pytest.raises(CommandError, match=problem) as refused:
            call_command("import_bank_statement", str(file), *options, *more, stdout=said)
        assert refused.value.returncode == 2


def test_reversals_batches_and_references() -> None:
    """An entry of many transactions is one line, and a reversal has the side that the money moved to."""
    details = "<TxDtls><Amt Ccy='EUR'>1.00</Amt><RmtInf><Ustrd>one</Ustrd></RmtInf></TxDtls>"
    batch = A.replace("<NtryDtls>", f"<RvslInd>true</RvslInd><NtryDtls>{details}").replace("CRDT", "DBIT")
    read = read_camt(camt(batch), BY_TEXT, currency="USD")
    assert [(line.amount_minor, line.reference) for line in read.lines] == [
        (-500, "one STRIPE PAYOUT & more tr4c31234")
    ]
    twice = camt(entry("5.00", "2026-10-05", "a", id="a1"), entry("6.00", "2026-10-05", "b", id="a1"))
    with pytest.raises(BadFile, match="a1"):
        read_camt(twice, BY_ID, currency="USD")
