"""Puts a test database back to what the migrations made of it, after a test whose commits were real."""

import time
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

BASELINE_SCHEMA = "test_baseline"
WAIT_SECONDS = 60


@dataclass
class Cleaner:
    """Cleans one database. Tables the migrations filled are restored from a copy; all others are emptied.

    It keeps one connection, on which the question for rows in any of the many tables is planned once: planning took
    forty times as long as asking.
    """

    url: str
    filled: tuple[str, ...]
    emptied: tuple[str, ...]
    _connection: psycopg.Connection | None = field(default=None, init=False)

    @classmethod
    def of_database(cls, url: str) -> "Cleaner":
        """Look at a freshly migrated database and copy the rows it holds. `url` is a superuser's."""
        with psycopg.connect(url, autocommit=True) as connection:
            tables = _tables(connection)
            filled = _tables_with_rows(connection, tables)
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(BASELINE_SCHEMA)))
            for table in filled:
                connection.execute(
                    sql.SQL("CREATE TABLE {} AS TABLE {}").format(_baseline(table), sql.Identifier(table))
                )
        return cls(url=url, filled=tuple(filled), emptied=tuple(table for table in tables if table not in filled))

    def clean(self) -> None:
        """Delete every row a test left. Triggers and foreign keys rest meanwhile: they guard against others."""
        connection = self._connected()
        _wait_for_others(connection)
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{WAIT_SECONDS}s")))
            present = set(_tables(connection))  # a test may have dropped an old month of events
            emptied = [table for table in self.emptied if table in present]
            for table in _tables_with_rows(connection, [*emptied, *self._new_partitions(connection)]):
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            for table in self.filled:
                self._restore(connection, table)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _connected(self) -> psycopg.Connection:
        """The connection kept, or another one: a test may have had the server end all sessions."""
        try:
            if self._connection is not None:
                self._connection.execute("SELECT 1")
                return self._connection
        except psycopg.OperationalError:
            self.close()
        self._connection = psycopg.connect(self.url, autocommit=True, prepare_threshold=0)
        return self._connection

    def _new_partitions(self, connection: psycopg.Connection) -> list[str]:
        rows = connection.execute(
            "SELECT relname FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> ALL(%s)",
            [[*self.filled, *self.emptied]],
        ).fetchall()
        return [str(row[0]) for row in rows]

    def _restore(self, connection: psycopg.Connection, table: str) -> None:
        names = {"table": sql.Identifier(table), "baseline": _baseline(table)}
        question = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT count(*), sum(hashtextextended(x::text, 0)) FROM {} x").format(name)
            for name in names.values()
        )
        now, before = connection.execute(question).fetchall()
        if now != before:
            connection.execute(sql.SQL("DELETE FROM {table}").format(**names))
            connection.execute(sql.SQL("INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE {baseline}").format(**names))


def _wait_for_others(connection: psycopg.Connection) -> None:
    """Wait until nobody is in the middle of something: the session of a process just killed may be, and would commit.

    Whoever stays in the middle is not waited for longer than a lock is.
    """
    ends = time.monotonic() + WAIT_SECONDS
    busy = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND state <> 'idle')"
    )
    while connection.execute(busy).fetchone() == (True,) and time.monotonic() < ends:
        time.sleep(0.01)


def _tables(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"
    ).fetchall()
    return [str(row[0]) for row in rows]


def _baseline(table: str) -> sql.Identifier:
    return sql.Identifier(BASELINE_SCHEMA, table)


def _tables_with_rows(connection: psycopg.Connection, tables: list[str]) -> list[str]:
    if not tables:
        return []
    question = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(sql.Literal(table), sql.Identifier(table))
        for table in tables
    )
    return [str(row[0]) for row in connection.execute(question).fetchall()]
