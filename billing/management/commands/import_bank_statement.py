"""`manage.py import_bank_statement FILE`: the lines of a bank account, from a CSV or camt.053 file."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.money_text import minor_text
from billing.payments.bank.camt import CamtRules
from billing.payments.bank.matches import match_by_rule
from billing.payments.bank.reading import (
    BYTES_MAX,
    COLUMNS,
    DATE_FORMATS,
    DECIMALS,
    DELIMITERS,
    ENCODINGS,
    BadFile,
    BadRules,
    Rules,
)
from billing.payments.bank.statements import AnyRules, Looked, NewAccount, import_statement, look_at_statement
from billing.payments.two_people import TwoPeopleError
from config import clock

EXIT_REFUSED = 2


class Command(BaseCommand):
    help = (
        "Import a bank statement from FILE (CSV with a header, or camt.053). All of it or nothing; a line that was "
        "imported before is not taken again. Then lines are matched with payouts. Exit code 0, or 2 when the file or "
        "an option is refused: nothing was written then."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--account", required=True, metavar="NAME", help="the account's name here")
        parser.add_argument("--new-account", metavar="CURRENCY", help="the account is not known yet: its currency")
        parser.add_argument(
            "--map", action="append", default=[], metavar="WHAT=COLUMN", help=f"WHAT is one of {', '.join(COLUMNS)}"
        )
        parser.add_argument("--format", default="csv", choices=("csv", "camt.053"), help="camt.053 is ISO 20022 XML")
        parser.add_argument("--by-id", action="store_true", help="camt.053: AcctSvcrRef tells lines apart")
        parser.add_argument("--dates", choices=list(DATE_FORMATS), help="CSV: how dates are written")
        parser.add_argument("--decimal", choices=list(DECIMALS), help="CSV: the decimal sign")
        parser.add_argument("--delimiter", default="comma", choices=list(DELIMITERS))
        parser.add_argument("--encoding", default="utf-8", choices=ENCODINGS)
        parser.add_argument("--header-line", type=int, default=1, help="what is above is left out")
        parser.add_argument("--opening", default="", help="the balance before, as it is written on the statement")
        parser.add_argument("--closing", default="", help="the balance after; with --opening the lines have to meet it")
        parser.add_argument("--by", required=True, metavar="user:NAME", help="who imports; needs finance's permission")
        parser.add_argument("--look", action="store_true", help="only say what would be imported")

    def handle(self, **options: Any) -> None:
        now = clock.now()
        try:
            rules = _rules(options)
            given: dict[str, Any] = {
                "account_name": options["account"],
                "content": _content(options["file"]),
                "rules": rules,
                "new_account": NewAccount(options["new_account"]) if options["new_account"] else None,
                "actor": options["by"],
                "now": now,
            }
            if options["look"]:
                self._say(look_at_statement(**given))
                return
            statement = import_statement(file_name=options["file"].name, **given)
        except BadFile as refusal:
            raise CommandError("; ".join(refusal.problems), returncode=EXIT_REFUSED) from None
        except (BadRules, TwoPeopleError) as refusal:
            field = f"{refusal.field}: " if refusal.field else ""
            raise CommandError(f"{field}{refusal}", returncode=EXIT_REFUSED) from None
        ran = match_by_rule(currency=statement.account.currency, now=now)
        for said in rules.stated():
            self.stdout.write(said)
        self.stdout.write(f"{statement}: {statement.new_count} of {statement.line_count} lines are new")
        self.stdout.write(f"{ran.made} matched with payouts" + (f", {ran.undone} undone" if ran.undone else ""))

    def _say(self, looked: Looked) -> None:
        total = minor_text(looked.read.sum_minor, looked.account.currency)
        self.stdout.write(f"{len(looked.read.lines)} lines, together {total}; {len(looked.new)} of them are new")


def _rules(options: dict[str, Any]) -> AnyRules:
    if options["format"] == "camt.053":
        if options["map"]:
            raise BadRules("camt.053 names its columns itself: leave --map out", field="--map")
        return CamtRules(by_id=options["by_id"])
    if missing := next((name for name in ("dates", "decimal") if not options[name]), None):
        raise BadRules(f"a CSV file needs --{missing}", field=f"--{missing}")
    columns: dict[str, str] = {}
    for pair in options["map"]:
        name, _, column = pair.partition("=")
        if not column or name in columns:
            raise BadRules(f"{pair!r}: write WHAT=COLUMN, each once", field="--map")
        columns[name] = column
    return Rules(
        columns=columns,
        date_format=options["dates"],
        decimal=options["decimal"],
        delimiter=options["delimiter"],
        encoding=options["encoding"],
        header_line=options["header_line"],
        opening=options["opening"],
        closing=options["closing"],
    )


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX + 1)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from None
