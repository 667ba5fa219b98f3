"""The database as it is at one moment, put back as often as wanted."""

from dataclasses import dataclass, field

import psycopg
from django.db import connections
from psycopg import sql

SCHEMA = "test_convergence"


@dataclass
class Snapshot:
    """All rows of all tables. `url` is a superuser's: triggers and foreign keys rest while rows are put back."""

    url: str
    tables: list[str] = field(default_factory=list)

    def take(self) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {0} CASCADE").format(sql.Identifier(SCHEMA)))
            connection.execute(sql.SQL("CREATE SCHEMA {0}").format(sql.Identifier(SCHEMA)))
            self.tables = self._with_rows(connection)
            for table in self.tables:
                connection.execute(
                    sql.SQL("CREATE TABLE {} AS TABLE {}").format(sql.Identifier(SCHEMA, table), sql.Identifier(table))
                )

    def restore(self) -> None:
        connections.close_all()
        with psycopg.connect(self.url) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("SET lock_timeout = '20s'")
            for table in self._with_rows(connection):
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            for table in self.tables:
                columns = sql.SQL(", ").join(map(sql.Identifier, self._columns(connection, table)))
                connection.execute(
                    sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}").format(
                        sql.Identifier(table), columns, columns, sql.Identifier(SCHEMA, table)
                    )
                )

    def drop(self) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {0} CASCADE").format(sql.Identifier(SCHEMA)))

    def _with_rows(self, connection: psycopg.Connection) -> list[str]:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"
        ).fetchall()
        question = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(sql.Literal(table), sql.Identifier(table))
            for (table,) in rows
        )
        return [str(row[0]) for row in connection.execute(question).fetchall()]

    def _columns(self, connection: psycopg.Connection, table: str) -> list[str]:
        """Those that are not computed from others."""
        rows = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
            " AND attgenerated = '' ORDER BY attnum",
            [f"public.{table}"],
        ).fetchall()
        return [str(row[0]) for row in rows]
