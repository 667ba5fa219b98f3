"""The takeover to look at: what Stripe had, what became of it, the opening, and whether it all agrees."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.admin_links import NOTHING, link, list_url, page_link
from billing.money_text import exact_text, minor_text
from billing.read_only_admin import ReadOnlyAdmin, ReadOnlyInline
from billing.takeover import queries
from billing.takeover.models import OpeningEntry, TakenOver, Takeover, TakeoverCheck, TakeoverRun

Kind, Outcome = TakenOver.Kind, TakenOver.Outcome
# Where a row of ours is found by Stripe's id.
PAGES: dict[str, str] = {
    Kind.CUSTOMER: "billing.customer",
    Kind.SUBSCRIPTION: "billing.subscription",
    Kind.INVOICE: "billing.invoice",
    Kind.PAYMENT: "billing.payment",
    Kind.DISPUTE: "billing.dispute",
    Kind.PAYOUT: "billing.payout",
}
TAKEN, ENTRIES, CHECKS = "billing.takenover", "billing.openingentry", "billing.takeovercheck"
EQUAL, DIFFERENT, UNCHECKED = "equal", "different", "unchecked"
RESULTS = {EQUAL: "success", DIFFERENT: "danger", UNCHECKED: "warning"}
OUTCOMES = {
    Outcome.BROUGHT_IN.label: "success",
    Outcome.HISTORY.label: "info",
    Outcome.LEFT_OUT.label: "warning",
}


BY_COMMAND = (
    "Nothing yet. It is made by `manage.py stripe_takeover`: plan shows what would come of it, then run, then check."
)
NOT_TAKEN = "Nothing yet. `manage.py stripe_takeover run` brings in an account that was billed through Stripe before."


class RunInline(ReadOnlyInline):
    model = TakeoverRun
    fields = ("finished_at", "actor", "brought_in_text", "map_text")
    verbose_name_plural = "Runs"

    @display(description="New in this run")
    def brought_in_text(self, run: TakeoverRun) -> str:
        return ", ".join(f"{number:,} {kind}s" for kind, number in run.brought_in.items() if number) or NOTHING

    @display(description="Map")
    def map_text(self, run: TakeoverRun) -> str:
        prices = run.map.get("prices", {})
        said = [f"{price} = {named['plan']} v{named['version']}" for price, named in prices.items()]
        return ", ".join(said) or NOTHING


@admin.register(Takeover)
class TakeoverAdmin(ReadOnlyAdmin):
    nothing_yet = BY_COMMAND
    list_display = ("__str__", "started_at", "started_by", "check_label")
    fields = ("as_of", "started_at", "started_by", "check_link", "objects_table", "opening_table", "opening_now")
    inlines = (RunInline,)
    ordering = ("id",)

    @display(description="Last check", label=RESULTS)
    def check_label(self, takeover: Takeover) -> tuple[str, str]:
        last = takeover.checks.first()
        return (UNCHECKED, "Not checked yet") if last is None else _result(last)

    @display(description="Last check")
    def check_link(self, takeover: Takeover) -> str:
        last = takeover.checks.first()
        if last is None:
            return "Not checked yet: say `manage.py stripe_takeover check`."
        found = page_link(CHECKS, last.pk, f"{_result(last)[1]}, {last.checked_at:%d %b %Y %H:%M} UTC")
        return format_html("{} · {}", found, link(list_url(CHECKS), "All checks"))

    @display(description="Found at Stripe")
    def objects_table(self, takeover: Takeover) -> str:
        rows = [
            (
                row.kind.label,
                NOTHING if row.found is None else f"{row.found:,}",
                *(
                    _number(list_url(TAKEN, kind__exact=row.kind, outcome__exact=outcome), number)
                    for outcome, number in (
                        (Outcome.BROUGHT_IN, row.brought_in),
                        (Outcome.HISTORY, row.history),
                        (Outcome.LEFT_OUT, row.left_out),
                    )
                ),
            )
            for row in queries.by_kind(takeover)
        ]
        return _table(("", "At Stripe", "Brought in", "History", "Left out"), rows)

    @display(description="Opening entries")
    def opening_table(self, takeover: Takeover) -> str:
        rows = [
            (
                row.account_kind,
                _number(
                    list_url(ENTRIES, account_kind__exact=row.account_kind, currency__exact=row.currency), row.entries
                ),
                minor_text(row.debit_minor, row.currency),
            )
            for row in queries.opened(takeover)
        ]
        return _table(("Account", "Entries", "Debited"), rows) if rows else NOTHING

    @display(description="Account opening now")
    def opening_now(self, takeover: Takeover) -> str:
        held = queries.opening_balances(takeover)
        links = (
            (link(list_url("ledger.account", q=f"opening:{currency}"), exact_text(amount, currency)),)
            for currency, amount in held.items()
        )
        return format_html_join(", ", "{}", links) or NOTHING


@admin.register(TakenOver)
class TakenOverAdmin(ReadOnlyAdmin):
    nothing_yet = NOT_TAKEN
    # Not when: a run takes all of them within the hour, and its page says when it was.
    list_display = ("stripe_id", "kind", "outcome_label", "amount", "customer_link", "reason")
    shown_with: ClassVar[dict[str, str]] = {"events_link": "billing.view_inboxevent"}
    list_select_related = ("customer",)
    list_filter = ("kind", "outcome")
    search_fields = ("=stripe_id", "=customer__customer_key")
    search_help_text = "An id of Stripe's, or a customer's key"
    fields = ("stripe_id", "kind", "outcome_label", "amount", "customer_link", "here", "events_link", "reason",
              "recorded_at", "recorded_by")  # fmt: skip

    @display(description="Became", label=OUTCOMES)
    def outcome_label(self, taken: TakenOver) -> str:
        return taken.get_outcome_display()

    @display(description="Amount or seats")
    def amount(self, taken: TakenOver) -> str:
        if taken.amount_minor is None:
            return NOTHING
        if taken.kind == Kind.SUBSCRIPTION:
            return f"{taken.amount_minor} seat{'' if taken.amount_minor == 1 else 's'}"
        return minor_text(taken.amount_minor, taken.currency)

    @display(description="Customer")
    def customer_link(self, taken: TakenOver) -> str:
        return page_link("billing.customer", taken.customer_id, taken.customer)

    @display(description="Here")
    def here(self, taken: TakenOver) -> str:
        if taken.outcome == Outcome.LEFT_OUT:
            return NOTHING
        model = PAGES[taken.kind]
        key = taken.customer.customer_key if taken.kind == Kind.SUBSCRIPTION and taken.customer else taken.stripe_id
        return link(list_url(model, q=key), "The row")

    @display(description="At Stripe")
    def events_link(self, taken: TakenOver) -> str:
        return link(reverse("admin:billing_inboxevent_object", args=[taken.stripe_id]), "Its events")


@admin.register(OpeningEntry)
class OpeningEntryAdmin(ReadOnlyAdmin):
    nothing_yet = NOT_TAKEN
    list_display = ("account_kind", "stripe_id", "customer_link", "debited", "entry_link", "recorded_at")
    list_select_related = ("customer",)
    list_filter = ("account_kind", "currency")
    search_fields = ("=stripe_id", "=customer__customer_key")
    search_help_text = "An id of Stripe's, or a customer's key"
    fields = ("account_kind", "stripe_id", "customer_link", "debited", "entry_link", "recorded_at")
    ordering = ("account_kind", "id")

    @display(description="Customer")
    def customer_link(self, entry: OpeningEntry) -> str:
        return page_link("billing.customer", entry.customer_id, entry.customer)

    @display(description="Debited", ordering="debit_minor")
    def debited(self, entry: OpeningEntry) -> str:
        return minor_text(entry.debit_minor, entry.currency)

    @display(description="Journal entry")
    def entry_link(self, entry: OpeningEntry) -> str:
        return page_link("ledger.journalentry", entry.journal_entry_id, entry.journal_entry_id)


@admin.register(TakeoverCheck)
class TakeoverCheckAdmin(ReadOnlyAdmin):
    nothing_yet = "Nothing yet. `manage.py stripe_takeover check` compares the account at Stripe with the books."
    list_display = ("__str__", "compared", "result", "actor")
    fields = ("checked_at", "actor", "compared", "result_text", "differences_table")

    @display(description="Result", label=RESULTS)
    def result(self, check: TakeoverCheck) -> tuple[str, str]:
        return _result(check)

    @display(description="Result")
    def result_text(self, check: TakeoverCheck) -> str:
        return _result(check)[1]

    @display(description="Differences")
    def differences_table(self, check: TakeoverCheck) -> str:
        rows = format_html_join(
            "",
            '<tr><td class="bb-wide"><strong>{}</strong><br>{}<br>{}<br>{}</td></tr>',
            map(_difference, check.differences),
        )
        return format_html('<table class="bb-table">{}</table>', rows) if check.differences else NOTHING


def _result(check: TakeoverCheck) -> tuple[str, str]:
    """What a check came to: how it is coloured, and in words."""
    number = check.difference_count
    return (DIFFERENT, f"{number:,} difference{'' if number == 1 else 's'}") if number else (EQUAL, "All equal")


def _difference(one: Mapping[str, str]) -> tuple[SafeString | str, str, str, str]:
    """A difference with a link to what it is about, where that is here; balances with their currency."""
    kind, _, name = one["subject"].partition(" ")
    stripe_id, colon, more = name.partition(":")
    subject: SafeString | str = one["subject"]
    unit = ""
    if kind == "account":
        subject = format_html("account {}", link(list_url("ledger.account", q=name), name))
        unit = f" {name.rpartition(':')[2]}"
    elif kind in PAGES and not one["here"].endswith(" none"):
        subject = format_html("{} {}{}", kind, link(list_url(PAGES[kind], q=stripe_id), stripe_id), f"{colon}{more}")
    return subject, f"{one['at_stripe']}{unit}", f"{one['here']}{unit}", one["explanation"]


def _number(url: str, number: int) -> SafeString | str:
    return link(url, f"{number:,}") if number else "0"


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> SafeString:
    """A table whose columns but the first are figures."""

    def cells(tag: str, row: Sequence[Any]) -> SafeString:
        styles = ("bb-number" if place else "" for place in range(len(row)))
        return format_html_join("", f'<{tag} class="{{}}">{{}}</{tag}>', zip(styles, row, strict=True))

    body = format_html_join("", "<tr>{}</tr>", ((cells("td", row),) for row in rows))
    return format_html('<table class="bb-table"><tr>{}</tr>{}</table>', cells("th", heads), body)
