"""
What each side of the ledger benchmark does, in a process of its own with one connection.

A side is made with its number among the processes, told what to prepare, and then timed. What is prepared is what the
caller of each would have at hand: drafts for the ledger, values for the ORM, hordak's own objects for hordak; the limit
gets its rows as finished array literals, because a limit is not slowed down by whoever calls it. What needs Django
set up is imported inside the functions: a process sets it up as its side needs it.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from itertools import count
from typing import Any

import django
import psycopg

ACCOUNTS = 1_000
SYSTEM_ACCOUNTS = 100
CALLERS = 32
NOW = datetime(2026, 10, 1, tzinfo=UTC)
HOT, HOT_SYSTEM = "bench:hot", "bench:system:hot"
# Debit and credit of entry `number` in process `process`. Processes share no account but the hot ones.
WORKLOADS: dict[str, Callable[[int, int], tuple[str, str]]] = {
    "two customers": lambda process, number: (customer(process, number), customer(process, number * 7 + 1)),
    "hot customer": lambda process, number: (HOT, customer(process, number)),
    "customer and system": lambda process, number: (
        customer(process, number),
        f"bench:system:{number % SYSTEM_ACCOUNTS}",
    ),
    "hot system": lambda process, number: (customer(process, number), HOT_SYSTEM),
}


def customer(process: int, number: int) -> str:
    return f"bench:{process}:{number % ACCOUNTS}"


class Side:
    """One way of writing entries. `prepare` is not timed, `write` is: it commits each batch."""

    def __init__(self, process: int) -> None:
        self.process = process
        self.numbers = count(time.time_ns())
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
        django.setup()

    def prepare(self, workload: str, batches: int, size: int) -> None:
        raise NotImplementedError

    def write(self) -> None:
        raise NotImplementedError

    def entries(self, workload: str, size: int) -> list[tuple[str, str, str, Decimal]]:
        """`size` times key, debited account, credited account, amount."""
        numbers = [next(self.numbers) for _ in range(size)]
        accounts = WORKLOADS[workload]
        return [
            (f"bench:{self.process}:{number}", *accounts(self.process, number), Decimal(number % 9_973 + 1).scaleb(-6))
            for number in numbers
        ]


class Ledger(Side):
    """`post_journal_entries`, everything on."""

    def prepare(self, workload: str, batches: int, size: int) -> None:
        from ledger.operations import JournalEntryDraft, credit, debit

        self.batches = [
            [
                JournalEntryDraft(
                    idempotency_key=key,
                    kind="usage_accrued",
                    lines=(debit(debited, amount), credit(credited, amount)),
                    effective_at=NOW,
                    actor="system:bench",
                    cause={"period": "2026-10"},
                )
                for key, debited, credited, amount in self.entries(workload, size)
            ]
            for _ in range(batches)
        ]

    def write(self) -> None:
        from ledger.operations import PostedEntry, post_journal_entries

        for batch in self.batches:
            outcomes = post_journal_entries(batch, recorded_at=NOW)
            if not all(isinstance(outcome, PostedEntry) and outcome.created for outcome in outcomes):
                raise AssertionError(f"not all were posted: {outcomes[:3]}")


class Grouped(Ledger):
    """Many callers with one entry each, who share one connection: whatever waits is posted by one call."""

    def write(self) -> None:
        waiting: queue.SimpleQueue[tuple[object, Future[object]]] = queue.SimpleQueue()
        drafts = [draft for batch in self.batches for draft in batch]

        def call(caller: int) -> None:
            for draft in drafts[caller::CALLERS]:
                done: Future[object] = Future()
                waiting.put((draft, done))
                done.result()

        callers = [threading.Thread(target=call, args=[caller]) for caller in range(CALLERS)]
        for caller in callers:
            caller.start()
        self._post_what_waits(waiting, len(drafts))
        for caller in callers:
            caller.join()

    @staticmethod
    def _post_what_waits(waiting: "queue.SimpleQueue[tuple[Any, Future[object]]]", total: int) -> None:
        from ledger.operations import post_journal_entries

        while total:
            calls = [waiting.get()]
            while not waiting.empty():
                calls.append(waiting.get())
            outcomes = post_journal_entries([draft for draft, _ in calls], recorded_at=NOW)
            for (_, done), outcome in zip(calls, outcomes, strict=True):
                done.set_result(outcome)
            total -= len(calls)


class Limit(Side):
    """The same rows into tables with the same columns, indexes and checks, without lock, balance or trigger."""

    STATEMENT = """
        WITH entry AS (
            INSERT INTO bench.ledger_journalentry (id, idempotency_key, kind, memo, effective_at, recorded_at, actor,
                                                   cause, body_digest, recorded_xid)
            SELECT id, idempotency_key, kind, '', effective_at, recorded_at, actor, cause, body_digest, 1
            FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::text[],
                        %s::jsonb[], %s::bytea[])
                AS entry (id, idempotency_key, kind, effective_at, recorded_at, actor, cause, body_digest)
        )
        INSERT INTO bench.ledger_posting (entry_id, line_no, account_id, amount, balance_after, account_version)
        SELECT * FROM unnest(%s::bigint[], %s::smallint[], %s::bigint[], %s::numeric[], %s::numeric[], %s::bigint[])
    """
    ids = count(1)

    def __init__(self, process: int) -> None:
        super().__init__(process)
        self.connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        rows = self.connection.execute("SELECT code, id, keeps_balance FROM bench.ledger_account")
        self.accounts = {code: (account_id, keeps_balance) for code, account_id, keeps_balance in rows}
        self.versions = {code: count(1) for code in self.accounts}

    def prepare(self, workload: str, batches: int, size: int) -> None:
        self.batches = [self._literals(self.entries(workload, size)) for _ in range(batches)]

    def write(self) -> None:
        for batch in self.batches:
            self.connection.execute(self.STATEMENT, batch)

    def _literals(self, entries: Sequence[tuple[str, str, str, Decimal]]) -> list[str]:
        # Every process draws ids and versions from a range of its own, beyond those that the ORM's side uses.
        first = (self.process + 1) * 10**12
        entry_rows, lines = [], []
        for key, debited, credited, amount in entries:
            entry_id = first + next(self.ids)
            cause = '"{\\"period\\": \\"2026-10\\"}"'
            digest = f'"\\\\x{entry_id:064x}"'
            now = NOW.isoformat()
            entry_rows.append((entry_id, key, "usage_accrued", now, now, "system:bench", cause, digest))
            for line_no, (code, signed) in enumerate(((debited, amount), (credited, -amount)), start=1):
                account_id, keeps_balance = self.accounts[code]
                version = first + next(self.versions[code])
                kept = (signed + 1_000, version) if keeps_balance else ("NULL", "NULL")
                lines.append((entry_id, line_no, account_id, signed, *kept))
        columns = [*zip(*entry_rows, strict=True), *zip(*lines, strict=True)]
        return [f"{{{','.join(map(str, column))}}}" for column in columns]


class Orm(Side):
    """What a Django project would write first: lock the accounts, look for the key, save one object after another."""

    def __init__(self, process: int) -> None:
        super().__init__(process)
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SET search_path = bench, public")

    def prepare(self, workload: str, batches: int, size: int) -> None:
        self.batches = [self.entries(workload, size) for _ in range(batches)]

    def write(self) -> None:
        from django.db import transaction

        for batch in self.batches:
            with transaction.atomic():
                for entry in batch:
                    self._post(*entry)

    def _post(self, key: str, debited: str, credited: str, amount: Decimal) -> None:
        from ledger.models import Account, JournalEntry, Posting

        codes = [debited, credited]
        accounts = {
            account.code: account
            for account in Account.objects.select_for_update().filter(code__in=codes).order_by("id")
        }
        if JournalEntry.objects.filter(idempotency_key=key).exists():
            raise AssertionError(f"{key} is not new")
        entry = JournalEntry.objects.create(
            idempotency_key=key,
            kind="usage_accrued",
            effective_at=NOW,
            recorded_at=NOW,
            actor="system:bench",
            cause={"period": "2026-10"},
            body_digest=b"\0" * 32,
            recorded_xid=1,
        )
        postings = []
        for line_no, (code, signed) in enumerate(((debited, amount), (credited, -amount)), start=1):
            account = accounts[code]
            if account.keeps_balance:
                account.balance += signed if account.normal_side == "D" else -signed
                account.version += 1
                account.save(update_fields=["balance", "version"])
            postings.append(
                Posting(
                    entry=entry,
                    line_no=line_no,
                    account=account,
                    amount=signed,
                    balance_after=account.balance if account.keeps_balance else None,
                    account_version=account.version if account.keeps_balance else None,
                )
            )
        Posting.objects.bulk_create(postings)


class Hordak(Side):
    """django-hordak in a schema of its own: transfer_to for one, bulk_create for many. It keeps no balances or keys."""

    def __init__(self, process: int) -> None:
        self.process = process
        self.numbers = count(time.time_ns())
        configure_hordak(os.environ["DATABASE_OWNER_URL"])
        self.models = import_module("hordak.models")
        self.money = import_module("moneyed").Money
        accounts = self.models.Account.objects
        self.accounts = [
            accounts.create(name=f"{process}:{number}", type="IN", currencies=["USD"]) for number in range(100)
        ]

    def prepare(self, workload: str, batches: int, size: int) -> None:
        self.size = size
        self.batches = [[entry[3] + 1 for entry in self.entries(workload, size)] for _ in range(batches)]

    def write(self) -> None:
        for batch in self.batches:
            if self.size == 1:
                self._transfer(batch[0])
            else:
                self._bulk_create(batch)

    def _transfer(self, amount: Decimal) -> None:
        from django.db import transaction

        number = int(amount * 10**6)
        with transaction.atomic():
            self.accounts[number % 100].transfer_to(self.accounts[(number + 1) % 100], self.money(amount, "USD"))

    def _bulk_create(self, amounts: Sequence[Decimal]) -> None:
        from django.db import transaction

        leg = self.models.Leg
        with transaction.atomic():
            made = self.models.Transaction.objects.bulk_create([self.models.Transaction() for _ in amounts])
            legs = []
            for number, (entry, amount) in enumerate(zip(made, amounts, strict=True)):
                money = self.money(amount, "USD")
                legs.append(leg(transaction=entry, account=self.accounts[number % 100], debit=money))
                legs.append(leg(transaction=entry, account=self.accounts[(number + 1) % 100], credit=money))
            leg.objects.bulk_create(legs)


def configure_hordak(address: str) -> None:
    """Django of this process with hordak alone, its tables in schema `hordak`."""
    from django.conf import settings

    from config.databases import connection_settings

    database = connection_settings(address)
    database["OPTIONS"]["options"] += " -c search_path=hordak"
    database["CONN_HEALTH_CHECKS"] = False
    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "mptt", "djmoney", "hordak"],
        DATABASES={"default": database},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()


def migrate_hordak(address: str) -> None:
    """Run in a process of its own, before the first `Hordak` side."""
    configure_hordak(address)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


SIDES: dict[str, type[Side]] = {"ledger": Ledger, "grouped": Grouped, "limit": Limit, "orm": Orm, "hordak": Hordak}
_side: list[Side] = []


def make_side(name: str, process: int) -> None:
    """Begin a process's life as one side."""
    _side.append(SIDES[name](process))


def prepare(workload: str, batches: int, size: int) -> None:
    _side[0].prepare(workload, batches, size)


def write() -> tuple[float, float]:
    """When the writing began and ended, on a clock all processes of the machine share."""
    started = time.perf_counter()
    _side[0].write()
    return started, time.perf_counter()
