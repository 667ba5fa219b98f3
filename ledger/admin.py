"""The journal as staff see it: read, follow, never edit."""

from collections.abc import Iterable
from decimal import Decimal

from django.contrib import admin
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from ledger import queries
from ledger.causes import causes_of
from ledger.models import Account, JournalEntry

STATEMENT_LENGTH = 50
# Kinds are offered as a filter from the newest entries: the list of all would read the whole journal.
KINDS_SEEN_IN = 5_000
EXACT_COUNT_MAX = 100_000


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


class ReadOnlyAdmin(ModelAdmin):
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


class RecentKindFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: "admin.ModelAdmin[JournalEntry]") -> Iterable[tuple[str, str]]:
        newest = JournalEntry.objects.order_by("-id").values_list("kind", flat=True)[:KINDS_SEEN_IN]
        kinds = sorted(set(newest))
        return [(kind, kind.replace("_", " ")) for kind in kinds]

    def queryset(self, request: HttpRequest, queryset: QuerySet[JournalEntry]) -> QuerySet[JournalEntry]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ["code", "kind", "customer_linked", "currency", "balance_shown"]
    list_filter = ["kind", "currency"]
    search_fields = ["code", "customer_key__exact"]
    search_help_text = "Part of an account's code, or a customer's key"
    ordering = ["code"]
    fields = [
        ("code", "kind"),
        ("customer_linked", "currency"),
        ("normal_side", "floor_shown"),
        ("version", "closed_at"),
    ]
    readonly_fields = ["customer_linked", "floor_shown"]
    change_form_outer_after_template = "ledger/statement.html"

    @admin.display(description="customer", ordering="customer_key")
    def customer_linked(self, account: Account) -> SafeString | str:
        [customer] = causes_of({"customer": account.customer_key or ""})
        return _link(customer.url, customer.value or "-")

    @admin.display(description="balance", ordering="balance")
    def balance_shown(self, account: Account) -> str:
        return shown(account.balance) if account.keeps_balance else "system account"

    @admin.display(description="never below")
    def floor_shown(self, account: Account) -> str:
        return "no limit" if account.floor is None else shown(account.floor)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, object] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {}), **_statement(request, object_id)}
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response


@admin.register(JournalEntry)
class JournalEntryAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "effective_at", "recorded_at", "actor", "memo"]
    list_display_links = ["id", "kind"]
    list_filter = [RecentKindFilter]
    search_fields = ["idempotency_key__exact"]
    search_help_text = "The number of an entry, or its whole idempotency key"
    ordering = ["-id"]
    fields = [
        ("kind", "actor"),
        "idempotency_key",  # a row of its own: a long one would push the page wider than the screen
        ("effective_at", "recorded_at"),
        "memo",
        "cause_linked",
    ]
    readonly_fields = ["cause_linked"]
    change_form_outer_after_template = "ledger/postings.html"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[JournalEntry], search_term: str
    ) -> tuple[QuerySet[JournalEntry], bool]:
        if search_term.isdecimal():
            return queryset.filter(pk=int(search_term)), False
        found: tuple[QuerySet[JournalEntry], bool] = super().get_search_results(request, queryset, search_term)
        return found

    @admin.display(description="caused by")
    def cause_linked(self, entry: JournalEntry) -> SafeString | str:
        causes = causes_of(entry.cause)
        if not causes:
            return "-"
        return format_html_join(
            ", ",
            "{} {}",
            ((cause.name.replace("_", " "), _link(cause.url, cause.value)) for cause in causes),
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, object] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {}), **_postings(object_id)}
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response


def shown(amount: Decimal | None) -> str:
    """The amount with every digit that counts, two places at least: 1,234.50, 0.000123."""
    if amount is None:
        return ""
    whole, _, places = f"{amount:,.12f}".partition(".")
    places = places.rstrip("0").ljust(2, "0")
    return f"{whole}.{places}"


def entry_link(entry_id: int) -> SafeString | str:
    return _link(reverse("admin:ledger_journalentry_change", args=[entry_id]), f"#{entry_id}")


def _link(url: str | None, text: str) -> SafeString | str:
    return text if url is None else format_html('<a class="text-primary-600 underline" href="{}">{}</a>', url, text)


def _statement(request: HttpRequest, object_id: str) -> dict[str, object]:
    """What the account page shows below its fields. An unknown account has none: the page itself says so."""
    account = Account.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
    if account is None:
        return {}
    lines = queries.statement_of(account, limit=STATEMENT_LENGTH + 1, before=_cursor(request.GET.get("before", "")))
    page = lines[:STATEMENT_LENGTH]
    # A field of the page is worked out several times over; this is read once.
    balance = queries.balance_of_account(account)
    return {
        "balance": f"{shown(balance)} {account.currency}",
        "statement": [
            {
                "entry": entry_link(line.entry_id),
                "line": line,
                "debit": shown(line.debit),
                "credit": shown(line.credit),
                "balance": shown(line.balance_after),
            }
            for line in page
        ],
        "older": "{}-{}".format(*page[-1].cursor) if len(lines) > len(page) else None,
    }


def _cursor(text: str) -> tuple[int, int] | None:
    entry_id, _, line_no = text.partition("-")
    return (int(entry_id), int(line_no)) if entry_id.isdecimal() and line_no.isdecimal() else None


def _postings(object_id: str) -> dict[str, object]:
    """What the entry page shows below its fields: its lines, and their sums by currency."""
    found = queries.find_entry(int(object_id)) if object_id.isdecimal() else None
    if found is None:
        return {}
    totals: dict[str, Decimal] = {}
    for line in found.lines:
        totals[line.currency] = totals.get(line.currency, Decimal(0)) + (line.debit or 0)
    return {
        "postings": [
            {
                "account": _link(reverse("admin:ledger_account_change", args=[line.account_id]), line.account),
                "line": line,
                "debit": shown(line.debit),
                "credit": shown(line.credit),
            }
            for line in found.lines
        ],
        "reverses": None if found.reverses is None else entry_link(found.reverses),
        "reversed_by": None if found.reversed_by is None else entry_link(found.reversed_by),
        # Debits equal credits in every currency, so one figure stands below both columns.
        "totals": [(currency, shown(total)) for currency, total in totals.items()],
    }
