"""What all lists of the ledger share: they only show, and stay quick however long the journal gets."""

from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from config.admin_lists import AskableList

EXACT_COUNT_MAX = 100_000
# Every id has fewer digits than this.
_ID_DIGITS_MAX = 19


def id_of(text: str) -> int | None:
    """The id that is written so; None if it can be nobody's."""
    return int(text) if text.isdecimal() and len(text) < _ID_DIGITS_MAX else None


def is_text(value: str) -> bool:
    """Whether PostgreSQL can be asked for it: a text of its has no NUL."""
    return "\x00" not in value


class LargeTablePaginator(Paginator):  # type: ignore[type-arg]  # Django has no generic one at run time
    """Counts a filtered list, and takes PostgreSQL's own estimate for a whole large table."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        if isinstance(rows, QuerySet) and not rows.query.where:
            with connections[rows.db].cursor() as cursor:
                cursor.execute(
                    "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [rows.model._meta.db_table]
                )
                estimate = int(cursor.fetchone()[0])
            if estimate > EXACT_COUNT_MAX:
                return estimate
        return super().count


class ReadOnlyAdmin(AskableList):
    """Neither added, changed nor deleted here: money moves by operations."""

    show_full_result_count = False
    paginator = LargeTablePaginator
    list_per_page = 50
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
