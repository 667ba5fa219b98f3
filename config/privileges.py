"""What the application's database role may do, table by table (DESIGN.md §3, rules 2 and 3).

`manage.py migrate` applies these rights after every run. A table of ours that is named nowhere below may be read,
inserted into and updated, and never deleted from, so that a new table is not open by accident.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from psycopg import sql

READ = ("SELECT",)
APPEND = ("SELECT", "INSERT")
AMEND = ("SELECT", "INSERT", "UPDATE")
EVERYTHING = ("SELECT", "INSERT", "UPDATE", "DELETE")

OWN_APPS = ("config", "billing", "promotions", "metering", "ledger")
# Written only by the ledger owner's posting functions, which the application may execute but not look behind.
READ_ONLY_APPS = ("ledger",)
# Facts: rows are added and never changed.
APPEND_ONLY_TABLES: frozenset[str] = frozenset(
    {
        "billing_absorbedusage",
        "billing_allowancedrawdown",
        "billing_apiwrite",
        "billing_approvaldecision",
        "billing_approvalrequest",
        "billing_backtestline",
        "billing_balancetransaction",
        "billing_bankaccountclosing",
        "billing_bankline",
        "billing_banklinedecision",
        "billing_bankmatch",
        "billing_bankmatchline",
        "billing_bankmatchpayout",
        "billing_bankmatchundoing",
        "billing_bankstatement",
        "billing_changeoutcome",
        "billing_changepreview",
        "billing_changepreviewline",
        "billing_creditnoteline",
        "billing_creditnoterefund",
        "billing_customerbalancetransaction",
        "billing_discrepancy",
        "billing_disputeacceptancedecision",
        "billing_endoutcome",
        "billing_endpreview",
        "billing_grantdrawdown",
        "billing_inboxfailure",
        "billing_inboxreplay",
        "billing_inboxreplayedevent",
        "billing_invoicecloserelease",
        "billing_invoiceclosestep",
        "billing_invoicelinediscount",
        "billing_invoiceorderline",
        "billing_invoiceproof",
        "billing_invoicerequestdecision",
        "billing_invoiceverification",
        "billing_latecreditline",
        "billing_manualentry",
        "billing_manualentrydecision",
        "billing_openingentry",
        "billing_meteredprice",
        "billing_meteredshortfall",
        "billing_meteredshortfalldecision",
        "billing_meteredsummary",
        "billing_meteredwithdrawal",
        "billing_outboxattempt",
        "billing_payoutmovement",
        "billing_periodaddon",
        "billing_periodallowance",
        "billing_rate",
        "billing_recoverypolicy",
        "billing_recoverypolicychoice",
        "billing_recoverystep",
        "billing_refundbatch",
        "billing_refunddecision",
        "billing_rolloutcheck",
        "billing_rolloutevent",
        "billing_rolloutlimits",
        "billing_rolloutstage",
        "billing_shadowpoint",
        "billing_stripeaccount",
        "billing_subscriptionevent",
        "billing_subscriptionrequest",
        "billing_takenover",
        "billing_takeover",
        "billing_takeovercheck",
        "billing_takeoverrun",
        "billing_teamchange",
        "billing_usageaccrual",
        "billing_usageaccrualline",
        "billing_writeoffdecision",
        "metering_aggregationadvance",
        "metering_archiveverification",
        "metering_correction",
        "metering_correctionevent",
        "metering_correctionline",
        "metering_correctionpreview",
        "metering_correctionreject",
        "metering_correctionstep",
        "metering_correctionwindow",
        "metering_event_key",
        "metering_eventarchive",
        "metering_eventconflict",
        "metering_freshness",
        "metering_keyforgetting",
        "metering_outcomecount",
        "metering_seenvalue",
        "metering_subject",
        "metering_window_repair",
        "promotions_grantwithdrawal",
    }
)
# Where the application may write some columns only. `recorded_xid` says which transaction recorded an event: with an
# older one, the event would lie behind the aggregator's cursor and never be counted.
COLUMN_RIGHTS: dict[str, tuple[str, ...]] = {
    "metering_event": (
        "SELECT",
        "INSERT (event_time, received_at, key, source, event_id, event_type, customer_key, data)",
    ),
    "metering_event_mark": ("SELECT", "INSERT (key, event_time, position, sign, correction_id, marked_at)"),
    # The event as it was sent stays; what became of it is learned.
    "metering_quarantinedevent": (
        "SELECT",
        "INSERT",
        "UPDATE (reason, detail, resolved_at, resolved_by, outcome, dismissed_because)",
    ),
}
# What is worked out from raw events, and again from them where it went wrong; and the terms of drafts, which a trigger
# keeps from changing once they are approved.
DELETABLE_TABLES = frozenset(
    {
        "billing_allowance",
        "billing_planversion_bundled",
        "billing_rate",
        "metering_window_gauge",
        "metering_window_value",
    }
)
# Functions that run as their owner and are closed to everybody else.
APPLICATION_FUNCTIONS = frozenset(
    {
        "billing_lock_manual_entries",
        "ledger_close_account",
        "ledger_decide_period",
        "ledger_make_seal",
        "ledger_open_accounts",
        "ledger_post_entries",
        "ledger_post_entry",
        "ledger_reverse_entry",
        "ledger_take_snapshots",
        "metering_drop_partition",
        "metering_ensure_partitions",
        "metering_forget_keys",
        "metering_thin_figures",
    }
)
# Written by migrations alone, and by functions and commands of the owner.
READ_ONLY_TABLES = frozenset({"django_migrations", "metering_partitionmove", "metering_retention"})


@dataclass(frozen=True)
class Table:
    """One table of schema public. A partition is reached through its parent, so it needs no right to be written."""

    name: str
    is_partition: bool


def rights_on(table: Table) -> tuple[str, ...]:
    """Return the SQL privileges of the application's role on one table."""
    app = next((app for app in OWN_APPS if table.name.startswith(f"{app}_")), None)
    if table.is_partition or app in READ_ONLY_APPS or table.name in READ_ONLY_TABLES:
        return READ
    if table.name in COLUMN_RIGHTS:
        return COLUMN_RIGHTS[table.name]
    if table.name in APPEND_ONLY_TABLES:
        return (*APPEND, "DELETE") if table.name in DELETABLE_TABLES else APPEND
    if table.name in DELETABLE_TABLES:
        return EVERYTHING
    return EVERYTHING if app is None else AMEND


def grant_application_rights(owner: BaseDatabaseWrapper, *, application_role: str) -> None:
    """Give `application_role` exactly the rights above. `owner` is a connection of the role that owns the tables."""
    role = sql.Identifier(application_role)
    with owner.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        database = sql.Identifier(cursor.fetchone()[0])
        for statement in _statements(
            role=role, database=database, tables=_tables(cursor), functions=_application_functions(cursor)
        ):
            cursor.execute(statement)


def _tables(cursor: CursorWrapper) -> list[Table]:
    cursor.execute(
        """
        SELECT c.relname, c.relispartition
          FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
         ORDER BY c.relname
        """
    )
    return [Table(name=name, is_partition=is_partition) for name, is_partition in cursor.fetchall()]


def _application_functions(cursor: CursorWrapper) -> list[sql.SQL]:
    """Return the signatures of the functions above, quoted by PostgreSQL itself."""
    cursor.execute(
        """
        SELECT oid::regprocedure::text FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND proname = ANY(%s) ORDER BY 1
        """,
        [sorted(APPLICATION_FUNCTIONS)],
    )
    return [sql.SQL(signature) for (signature,) in cursor.fetchall()]


def _statements(
    *, role: sql.Identifier, database: sql.Identifier, tables: Iterable[Table], functions: Iterable[sql.SQL]
) -> Iterable[sql.Composed]:
    yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database)
    yield sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(database, role)
    yield sql.SQL("REVOKE ALL ON SCHEMA public FROM PUBLIC, {}").format(role)
    yield sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role)
    yield sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, {}").format(role)
    yield sql.SQL("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}").format(role)
    for table in tables:
        rights = sql.SQL(", ").join(sql.SQL(right) for right in rights_on(table))
        yield sql.SQL("GRANT {} ON TABLE public.{} TO {}").format(rights, sql.Identifier(table.name), role)
    for function in functions:
        yield sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(function, role)
