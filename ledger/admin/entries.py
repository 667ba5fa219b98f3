"""Entries as an accountant reads them: debits to the left, credits to the right, and all that is known of why."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from ledger import queries
from ledger.admin.read_only import ReadOnlyAdmin, id_of
from ledger.entry_actions import actions_on
from ledger.exact import total
from ledger.models import JournalEntry
from ledger.queries import Entry, EntryLine

# Kinds are offered as a filter from the newest entries: the list of all would read the whole journal.
KINDS_SEEN_IN = 5_000


class RecentKindFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: "admin.ModelAdmin[JournalEntry]") -> Iterable[tuple[str, str]]:
        newest = JournalEntry.objects.order_by("-id").values_list("kind", flat=True)[:KINDS_SEEN_IN]
        kinds = sorted(set(newest))
        return [(kind, kind.replace("_", " ")) for kind in kinds]

    def queryset(self, request: HttpRequest, queryset: QuerySet[JournalEntry]) -> QuerySet[JournalEntry]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


@dataclass(frozen=True, slots=True)
class Side:
    """One currency of an entry: what is debited, what is credited, and the sum of either, which are equal."""

    currency: str
    debits: tuple[EntryLine, ...]
    credits: tuple[EntryLine, ...]

    @property
    def debit_total(self) -> Decimal:
        return total(line.amount for line in self.debits)

    @property
    def credit_total(self) -> Decimal:
        return total(line.amount for line in self.credits).copy_negate()


def sides_of(entry: Entry) -> list[Side]:
    """By currency, in the order in which the lines name them. Most entries have one."""
    currencies = dict.fromkeys(line.currency for line in entry.lines)
    return [
        Side(
            currency=currency,
            debits=tuple(line for line in entry.lines if line.currency == currency and line.amount > 0),
            credits=tuple(line for line in entry.lines if line.currency == currency and line.amount < 0),
        )
        for currency in currencies
    ]


@admin.register(JournalEntry)
class JournalEntryAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "effective_at", "recorded_at", "actor", "memo"]
    list_display_links = ["id", "kind"]
    list_filter = [RecentKindFilter]
    search_fields = ["idempotency_key__exact"]
    search_help_text = "The number of an entry, or its whole idempotency key"
    ordering = ["-id"]
    # The page is the template's; this keeps Django from making a form of the rest.
    fields = ["kind"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[JournalEntry], search_term: str
    ) -> tuple[QuerySet[JournalEntry], bool]:
        entry_id = id_of(search_term)
        if entry_id is not None:
            return queryset.filter(pk=entry_id), False
        found: tuple[QuerySet[JournalEntry], bool] = super().get_search_results(request, queryset, search_term)
        return found

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        entry_id = id_of(object_id)
        entry = None if entry_id is None else queries.find_entry(entry_id)
        context = dict(extra_context or {})
        if entry is not None and self.has_view_permission(request):
            context |= {
                "title": f"Entry {entry.id}",
                "subtitle": None,
                "entry": entry,
                "sides": sides_of(entry),
                "seal": queries.seal_of(entry.id),
                "entry_actions": actions_on(entry, may=request.user.has_perm),
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response
