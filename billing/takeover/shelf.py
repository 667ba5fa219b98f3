"""
What was read of an account, kept in a temporary file and not in memory: an account of years has millions
of invoices. The file is of SQLite, has no name, and is gone with the process: a plan writes nothing into our database,
and a long read of Stripe holds no transaction there.

Things are given back oldest first; Stripe lists them newest first.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from billing.stripe.readers import id_of, payment_of_invoice_payment

StripeDict = dict[str, Any]

_TABLES = """
PRAGMA journal_mode = OFF;
CREATE TABLE thing (number INTEGER PRIMARY KEY, kind TEXT, stripe_id TEXT, customer TEXT, payment TEXT, currency TEXT,
                    created INTEGER, body TEXT);
CREATE INDEX thing_kind ON thing (kind, number);
CREATE INDEX thing_customer ON thing (customer, kind);
CREATE INDEX thing_payment ON thing (kind, payment);
CREATE TABLE paid (payment TEXT PRIMARY KEY, invoice TEXT, paid_at INTEGER) WITHOUT ROWID;
"""


class Shelf:
    """All that was read of one account, by kind."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.executescript(_TABLES)

    def put(self, kind: str, things: Iterable[StripeDict]) -> None:
        """Keep objects of one kind, in the order of Stripe's list. They are read from Stripe as they are kept."""
        statement = (
            "INSERT INTO thing (kind, stripe_id, customer, payment, currency, created, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        for one in things:
            self._file.execute(statement, _row(kind, one))

    def put_paid(self, payments: Iterable[StripeDict]) -> None:
        """Keep which invoice a payment intent, or an old charge, pays, of invoice payments, the newest first."""
        for one in payments:
            row = (payment_of_invoice_payment(one), id_of(one["invoice"]), one["status_transitions"]["paid_at"])
            if row[0]:
                self._file.execute("INSERT OR IGNORE INTO paid VALUES (?, ?, ?)", row)

    def each(self, kind: str) -> Iterator[StripeDict]:
        """Every object of a kind, oldest first."""
        return self._read("kind = ? ORDER BY number DESC", kind)

    def one(self, kind: str, stripe_id: str, *, customer: str) -> StripeDict:
        """One object of a customer's."""
        return next(self._read("customer = ? AND kind = ? AND stripe_id = ?", customer, kind, stripe_id))

    def of_customer(self, kind: str, customer: str) -> Iterator[StripeDict]:
        """A customer's objects of a kind, oldest first."""
        return self._read("customer = ? AND kind = ? ORDER BY number DESC", customer, kind)

    def of_payment(self, kind: str, payment: str) -> list[StripeDict]:
        """The refunds or disputes of a payment, by its intent, or by its charge where it has none."""
        return list(self._read("kind = ? AND payment = ? ORDER BY number DESC", kind, payment))

    def payments_with(self, kind: str) -> list[str]:
        """Of which payments there are refunds or disputes."""
        found = self._file.execute("SELECT DISTINCT payment FROM thing WHERE kind = ? ORDER BY 1", (kind,))
        return [payment for (payment,) in found]

    def paying_after(self, until: int) -> list[str]:
        """What was to pay an invoice still when a second ended."""
        found = self._file.execute("SELECT payment FROM paid WHERE coalesce(paid_at, ?) > ?", (until + 1, until))
        return [payment for (payment,) in found]

    def invoice_paid_by(self, payment: str) -> str:
        """The invoice that a payment intent, or an old charge, pays, or nothing."""
        found = self._file.execute("SELECT invoice FROM paid WHERE payment = ?", (payment,)).fetchone()
        return str(found[0]) if found else ""

    def currencies_of(self, customer: str) -> set[str]:
        """In which currencies a customer is or was billed."""
        found = self._file.execute(
            "SELECT DISTINCT currency FROM thing WHERE customer = ? AND currency <> ''"
            " AND kind IN ('customer', 'subscription', 'invoice')", (customer,),
        )  # fmt: skip
        return {currency for (currency,) in found}

    def number(self, kind: str, *, until: int | None = None) -> int:
        """How many of a kind there are; with `until` of those that were made by the end of that second."""
        bound = "" if until is None else " AND created <= ?"
        found = self._file.execute(
            f"SELECT count(*) FROM thing WHERE kind = ?{bound}", (kind,) if until is None else (kind, until)
        )
        return int(found.fetchone()[0])

    def number_of_parts(self, kind: str, *, until: int) -> int:
        """How many refunds or disputes there are of payments that were made by the end of a second."""
        found = self._file.execute(
            "SELECT count(*) FROM thing part WHERE kind = ? AND EXISTS (SELECT 1 FROM thing p WHERE p.kind = 'payment'"
            " AND p.payment = part.payment AND p.created <= ?)", (kind, until),
        )  # fmt: skip
        return int(found.fetchone()[0])

    def strangers(self, *, until: int) -> list[str]:
        """Who has invoices or payments that were made by the end of a second, and is not among the customers."""
        found = self._file.execute(
            "SELECT DISTINCT customer FROM thing WHERE kind IN ('invoice', 'payment') AND created <= ?"
            " AND customer NOT IN (SELECT customer FROM thing WHERE kind = 'customer') AND customer <> '' ORDER BY 1",
            (until,),
        )
        return [customer for (customer,) in found]

    def _read(self, condition: str, *values: str) -> Iterator[StripeDict]:
        for (body,) in self._file.execute(f"SELECT body FROM thing WHERE {condition}", values):
            yield json.loads(body)


def _row(kind: str, one: Mapping[str, Any]) -> tuple[str, str, str, str, str, int, str]:
    customer = one["id"] if kind == "customer" else id_of(one.get("customer"))
    payment = one["id"] if kind == "payment" else id_of(one.get("payment_intent")) or id_of(one.get("charge"))
    currency = str(one.get("currency") or "").upper()
    return kind, one["id"], customer, payment, currency, int(one["created"]), json.dumps(one)
