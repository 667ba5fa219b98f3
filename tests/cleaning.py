"""Puts a test database back to what the migrations made of it, after a test whose commits were real."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

BASELINE_SCHEMA = "test_baseline"


@dataclass(frozen=True)
class Cleaner:
    """Cleans one database. Tables the migrations filled are restored from a copy; all others are emptied."""

    url: str
    filled: tuple[str, ...]
    emptied: tuple[str, ...]

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
        with psycopg.connect(self.url) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("SET lock_timeout = '20s'")
            present = set(_tables(connection))  # a test may have dropped an old month of events
            emptied = [table for table in self.emptied if table in present]
            for table in _tables_with_rows(connection, [*emptied, *self._new_partitions(connection)]):
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            for table in self.filled:
                self._restore(connection, table)

    def _new_partitions(self, connection: psycopg.Connection) -> list[str]:
        rows = connection.execute(
            "SELECT relname FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> ALL(%s)",
            [[*self.filled, *self.emptied]],
        ).fetchall()
        return [str(row[0]) for row in rows]

    def _restore(self, connection: psycopg.Connection, table: str) -> None:
        names = {"table": sql.Identifier(table), "baseline": _baseline(table)}
        differs = connection.execute(
            sql.SQL(
                "SELECT EXISTS (SELECT x::text FROM {table} x EXCEPT ALL SELECT x::text FROM {baseline} x)"
                " OR EXISTS (SELECT x::text FROM {baseline} x EXCEPT ALL SELECT x::text FROM {table} x)"
            ).format(**names)
        ).fetchone()
        if differs and differs[0]:
            connection.execute(sql.SQL("DELETE FROM {table}").format(**names))
            connection.execute(sql.SQL("INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE {baseline}").format(**names))


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
