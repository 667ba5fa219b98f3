"""Short ways to import statements as Fiona of finance."""

from datetime import UTC, datetime
from typing import Any

from billing.payments.bank.models import BankStatement
from billing.payments.bank.reading import Rules
from billing.payments.bank.statements import NewAccount, import_statement
from tests.billing.accounting.people import FIONA

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
RULES = Rules({"booked": "Date", "amount": "Amount", "reference": "Text"}, "YYYY-MM-DD", "point")
BY_ID = Rules({**RULES.columns, "id": "Id"}, "YYYY-MM-DD", "point")
HEAD = "Date,Amount,Text"


def content(*lines: str, head: str = HEAD) -> bytes:
    return "\n".join((head, *lines)).encode()


def take(*lines: str, account: str = "Main", rules: Rules = RULES, head: str = HEAD, **given: Any) -> BankStatement:
    """Import these lines; the account is opened in USD if it is new."""
    terms = {"new_account": NewAccount("USD"), "actor": FIONA, "now": NOON, "file_name": "october.csv", **given}
    return import_statement(account_name=account, content=content(*lines, head=head), rules=rules, **terms)
