"""Reconciliation runs and what they found, to read."""

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from unfold.decorators import display

from billing.admin_links import link, list_url, page_link
from billing.read_only_admin import ReadOnlyAdmin, ReadOnlyInline
from billing.reconciliation import slices
from billing.reconciliation.models import Discrepancy, ReconciliationRun

_SIDES = ("left_name", "left_value", "right_name", "right_value")


class DiscrepancyInline(ReadOnlyInline):
    model = Discrepancy
    fields = ("check_code", "subject", "customer_key", *_SIDES, "explanation")
    verbose_name_plural = "Discrepancies"


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "range_start", "range_end", "checked", "discrepancies_label", "started_at", "actor")
    fields = (
        "range_start",
        "range_end",
        "started_at",
        "finished_at",
        "actor",
        "checked",
        "discrepancies_label",
        "checks_table",
    )
    inlines = (DiscrepancyInline,)

    @display(description="Checks")
    def checks_table(self, run: ReconciliationRun) -> str:
        rows = format_html_join(
            "",
            "<tr><td>{}</td>" + '<td class="bb-number">{}</td>' * 3 + "</tr>",
            (
                (code.replace("_", " "), *(figures.get(name, "") for name in ("checked", "discrepancies", "archived")))
                for code, figures in sorted(run.checks.items())
                if code != slices.UNDER_WAY
            ),
        )
        heads = ("Compared", "Discrepancies", "Archived")
        head = "<tr><th>Check</th>" + "".join(f'<th class="bb-number">{name}</th>' for name in heads) + "</tr>"
        return format_html('<table class="bb-table">{}{}</table>', mark_safe(head), rows)

    @display(description="Result", label={"All equal": "success", "Not finished": "warning"})
    def discrepancies_label(self, run: ReconciliationRun) -> tuple[str, str] | str:
        if run.finished_at is None:
            return "Not finished", f"Not finished, {slices.said_of(run)}"
        if run.discrepancy_count == 0:
            return "All equal"
        return f"{run.discrepancy_count} discrepancies"


@admin.register(Discrepancy)
class DiscrepancyAdmin(ReadOnlyAdmin):
    list_display = ("subject", "check_code", "run_link", "customer_key", *_SIDES)
    list_select_related = ("run",)
    list_filter = ("check_code",)
    search_fields = ("subject", "=customer_key")
    linked_by = frozenset({"run__id__exact"})
    ordering = ("-id",)
    fields = ("run_link", "check_code", "subject", "customer_search", *_SIDES, "explanation")

    @display(description="Run")
    def run_link(self, discrepancy: Discrepancy) -> str:
        return page_link("billing.reconciliationrun", discrepancy.run_id, discrepancy.run)

    @display(description="Customer")
    def customer_search(self, discrepancy: Discrepancy) -> str:
        key = discrepancy.customer_key
        return link(list_url("billing.customer", q=key), key) if key else ""
