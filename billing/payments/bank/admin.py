"""The bank: accounts beside the books, statements that were imported, lines and what they are."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Max, OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from unfold.decorators import display

from billing.admin_links import NOTHING, link, list_url, page_link, page_url
from billing.money_text import counted, minor_text
from billing.payments.bank import accounts, match_admin, matches, queries, showing, statements
from billing.payments.bank.forms import CAMT, CAMT_BY_ID, CloseForm, StatementForm, WhyForm
from billing.payments.bank.models import BankAccount, BankAccountClosing, BankLine, BankMatch, BankStatement
from billing.payments.bank.reading import BadFile, BadRules
from billing.payments.deciding_admin import PagesAdmin, actor_of
from billing.payments.two_people import TwoPeopleError
from config import clock

LINES_SHOWN = 100

__all__ = ["BankAccountAdmin", "BankLineAdmin", "BankStatementAdmin", "match_admin"]


@admin.register(BankAccount)
class BankAccountAdmin(PagesAdmin):
    nothing_yet = "Nothing yet. An account is opened by the first statement that a person imports for it."
    list_display = ("name", "currency", "told_apart_by", "until", "closed", "opened_by", "opened_at")
    list_before_template = "admin/billing/bank/import_button.html"
    change_form_template = "admin/billing/bank/account.html"
    fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BankAccount]:
        found: QuerySet[BankAccount] = super().get_queryset(request)
        last = BankAccountClosing.objects.filter(account=OuterRef("pk")).order_by("-id")
        return found.annotate(until=Max("statements__last_day"), closed_on=Subquery(last.values("closed_on")[:1]))

    @display(description="Closed", ordering="closed_on")
    def closed(self, account: Any) -> str:
        return f"{account.closed_on:%d %b %Y}" if account.closed_on is not None else NOTHING

    @display(description="Imported until", ordering="until")
    def until(self, account: Any) -> str:
        return f"{account.until:%d %b %Y}" if account.until is not None else NOTHING

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {"may_import": request.user.has_perm(statements.IMPORT)}
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **shown})
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        account = self.get_object(request, object_id)
        if account is not None and self.has_view_permission(request, account):
            shown = showing.account_sections(account, today=clock.now().date())
            shown["may_import"] = request.user.has_perm(statements.IMPORT)
            shown["may_close"] = request.user.has_perm(accounts.CLOSE)
            extra_context = {**(extra_context or {}), **shown, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def get_urls(self) -> list[URLPattern]:
        return [self.view("<int:account_id>/close/", self.close_view, "close"), *super().get_urls()]

    def close_view(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Ask for the last day and why (GET, or POST with an error), then keep the word (POST)."""
        if not request.user.has_perm(accounts.CLOSE):
            raise PermissionDenied
        account = BankAccount.objects.filter(pk=account_id).first()
        if account is None:
            raise Http404("There is no such account.")
        form = CloseForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            told = {"closed_on": form.cleaned_data["closed_on"], "reason": form.cleaned_data["reason"]}

            def work() -> None:
                accounts.close_account(account_id=account.pk, actor=actor_of(request), now=clock.now(), **told)

            if self.act(request, form, account, f"Last day {told['closed_on'] or 'none'}: {told['reason']}", work):
                self.message_user(request, "Kept.", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.bankaccount", account.pk))
        last = account.closings.last()
        context = {
            "title": f"The last day of {account}",
            "facts": [
                ("Account", account),
                ("Imported until", self.until(self.get_queryset(request).get(pk=account.pk))),
                ("Now", f"{last}: {last.reason}" if last is not None else "Open"),
            ],
            "note": "No line of a later day is imported after that. Without a day the account is open.",
            "form": form,
            "button": "Keep it",
            "is_good": True,
            "back_url": page_url("billing.bankaccount", account.pk),
        }
        return self.page(request, "recovery/ask.html", context, status=422 if form.is_bound else 200)


@admin.register(BankStatement)
class BankStatementAdmin(PagesAdmin):
    nothing_yet = "Nothing yet. A person imports what the bank exports, by Import a statement."
    list_display = ("__str__", "file_name", "line_count", "new_count", "closing", "imported_by", "imported_at")
    list_select_related = ("account",)
    list_filter = ("account",)
    linked_by = frozenset({"account__id__exact"})
    search_fields = ("file_name", "=file_digest")
    search_help_text = "A part of a file's name, or its digest"
    list_before_template = "admin/billing/bank/import_button.html"
    fields = (
        "account_link",
        "file_name",
        "digest",
        "how_read",
        "first_day",
        "last_day",
        "line_count",
        "new_count",
        "opening",
        "closing",
        "lines_link",
        "imported_by",
        "imported_at",
    )

    @display(description="Account")
    def account_link(self, statement: BankStatement) -> str:
        return page_link("billing.bankaccount", statement.account_id, statement.account)

    @display(description="SHA-256 of the file")
    def digest(self, statement: BankStatement) -> str:
        return f"{statement.file_digest[:32]} {statement.file_digest[32:]}"

    @display(description="Balance before")
    def opening(self, statement: BankStatement) -> str:
        return _balance(statement.opening_minor, statement)

    @display(description="Balance after")
    def closing(self, statement: BankStatement) -> str:
        return _balance(statement.closing_minor, statement)

    @display(description="Read by")
    def how_read(self, statement: BankStatement) -> str:
        columns = ", ".join(f"{name} from {column}" for name, column in statement.rules["columns"].items())
        if "format" in statement.rules:
            return f"{statement.rules['format']}: {columns}"
        return f"{columns}; dates {statement.rules['date_format']}, decimal {statement.rules['decimal']}"

    @display(description="Lines it brought")
    def lines_link(self, statement: BankStatement) -> str:
        url = list_url("billing.bankline", statement__id__exact=statement.pk)
        return link(url, f"{statement.new_count:,}") if statement.new_count else "None: all were kept before"

    def get_urls(self) -> list[URLPattern]:
        return [self.view("import/", self.import_view, "import"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {"may_import": request.user.has_perm(statements.IMPORT)}
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **shown})
        return response

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Choose a file (GET), see what it holds (POST), keep exactly that (POST with `confirmed`)."""
        if not request.user.has_perm(statements.IMPORT):
            raise PermissionDenied
        is_edit = "edit" in request.POST
        form = StatementForm(request.POST or None, request.FILES or None, initial=_as_last_time(request))
        context: dict[str, Any] = {"title": "Import a bank statement", "form": form}
        if request.method == "POST" and form.is_valid() and not is_edit:
            told = form.cleaned_data
            given = {
                "account_name": told["account"],
                "content": told["bytes"],
                "actor": actor_of(request),
                "now": clock.now(),
            }
            try:
                given |= {"rules": form.rules(), "new_account": form.new_account()}
                if "confirmed" in request.POST:
                    return self._import(request, given, file_name=told["file_name"])
                context |= _look(form, statements.look_at_statement(**given))
            except (BadFile, BadRules, TwoPeopleError) as refusal:
                _show(form, refusal)
        status = 422 if form.is_bound and form.errors and not is_edit else 200
        return self.page(request, "bank/import.html", context, status=status)

    def _import(self, request: HttpRequest, given: dict[str, Any], *, file_name: str) -> HttpResponse:
        with transaction.atomic():
            statement = statements.import_statement(file_name=file_name, **given)
            ran = matches.match_by_rule(currency=statement.account.currency, now=given["now"])
            self.log_change(request, statement, f"Imported {file_name}: {statement.new_count} new lines")
        lines = counted(statement.line_count, "line")
        said = f"{statement.new_count:,} of {lines} new; {counted(ran.made, 'payout')} matched."
        self.message_user(request, said, messages.SUCCESS)
        return HttpResponseRedirect(page_url("billing.bankaccount", statement.account_id))


def _show(form: StatementForm, refusal: Exception) -> None:
    if isinstance(refusal, BadFile):
        for problem in refusal.problems:
            form.add_error(None, problem)
        return
    field = {"currency": "new_currency"}.get(getattr(refusal, "field", ""), getattr(refusal, "field", ""))
    form.add_error(field if field in form.fields else None, str(refusal))


def _look(form: StatementForm, looked: statements.Looked) -> dict[str, Any]:
    return {
        "looked": looked,
        "currency": looked.account.currency,
        "shown": [(line, (line.identity, line.number) in looked.known) for line in looked.read.lines[:LINES_SHOWN]],
        "more": max(len(looked.read.lines) - LINES_SHOWN, 0),
        "new_count": len(looked.new),
        "known_count": len(looked.read.lines) - len(looked.new),
        "seen": form.seen(),
        "rules": form.rules().stated(),
        "is_new_account": looked.account._state.adding,
    }


def _as_last_time(request: HttpRequest) -> dict[str, Any]:
    """An account's statements look alike: the form begins as the last one of this account was read."""
    account = request.GET.get("account", "")
    last = BankStatement.objects.select_related("account")
    is_id = account.isdecimal() and len(account) < 19
    found = last.filter(account_id=int(account)).first() if is_id else last.first()
    if found is None:
        return {}
    if "format" in found.rules:
        by_id = found.rules["by_id"]
        return {"file_format": CAMT_BY_ID if by_id else CAMT, "account": found.account.name}
    rules = {name: value for name, value in found.rules.items() if name not in ("columns", "opening", "closing")}
    columns = "\n".join(f"{name}={column}" for name, column in found.rules["columns"].items())
    return {**rules, "columns": columns, "account": found.account.name}


def _balance(minor: int | None, statement: BankStatement) -> str:
    return NOTHING if minor is None else minor_text(minor, statement.account.currency)


class StateFilter(admin.SimpleListFilter):
    title = "what it is"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "Stripe's, and waits"), ("matched", "A payout"), ("other", "Not Stripe's")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[BankLine]) -> QuerySet[BankLine]:
        found = {
            "waiting": {"is_waiting": True},
            "matched": {"is_matched": True},
            "other": {"is_waiting": False, "is_matched": False},
        }.get(self.value() or "")
        return queryset.filter(**found) if found is not None else queryset


@admin.register(BankLine)
class BankLineAdmin(PagesAdmin):
    nothing_yet = "Nothing yet. Lines come with a bank statement that a person imports."
    list_display = ("booked_on", "account_link", "amount", "state_label", "reference")
    list_select_related = ("account",)
    list_filter = (StateFilter, "account")
    linked_by = frozenset({"account__id__exact", "statement__id__exact", "booked_on__exact"})
    search_fields = ("reference", "=bank_id")
    search_help_text = "Words of the reference, or the bank's id"
    change_form_template = "admin/billing/bank/line.html"
    fields = ("reference",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BankLine]:
        return queries.in_states(super().get_queryset(request))

    @display(description="Account", ordering="account__name")
    def account_link(self, line: BankLine) -> str:
        return page_link("billing.bankaccount", line.account_id, line.account)

    @display(description="Amount", ordering="amount_minor")
    def amount(self, line: BankLine) -> str:
        return minor_text(line.amount_minor, line.currency)

    @display(description="What it is", label={"A payout": "success", "Waits": "warning", "Not Stripe's": "default"})
    def state_label(self, line: Any) -> str:
        return "A payout" if line.is_matched else "Waits" if line.is_waiting else "Not Stripe's"

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.view("<int:line_id>/not-ours/", self.decide_view, "not_ours", is_stripes=False),
            self.view("<int:line_id>/ours/", self.decide_view, "ours", is_stripes=True),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        line: Any = self.get_object(request, object_id)
        if line is not None and self.has_view_permission(request, line):
            match = queries.match_of(line)
            extra_context = {
                **(extra_context or {}),
                "line": line,
                "match": match,
                "payouts": [part.payout for part in match.payouts.select_related("payout")] if match else [],
                "earlier": BankMatch.objects.filter(lines__line=line, undoing__isnull=False).select_related("undoing"),
                "decisions": line.decisions.order_by("-id"),
                "could_be": showing.could_be(line) if match is None and line.is_waiting else (),
                "may_match": request.user.has_perm(matches.MATCH),
                "subtitle": None,
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def decide_view(self, request: HttpRequest, line_id: int, is_stripes: bool) -> HttpResponse:
        """Ask why (GET, or POST with an error), then keep the word (POST)."""
        if not request.user.has_perm(matches.MATCH):
            raise PermissionDenied
        line = BankLine.objects.select_related("account").filter(pk=line_id).first()
        if line is None:
            raise Http404("There is no such line.")
        form = WhyForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            why = form.cleaned_data["reason"]

            def work() -> None:
                matches.decide_line(
                    line_id=line.pk, is_stripes=is_stripes, why=why, actor=actor_of(request), now=clock.now()
                )

            if self.act(request, form, line, f"{'Stripe' if is_stripes else 'Not Stripe'}'s: {why}", work):
                self.message_user(request, "Kept.", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.bankline", line.pk))
        context = {
            "title": f"{line} is {'' if is_stripes else 'not '}Stripe's",
            "facts": showing.line_facts(line),
            "form": form,
            "button": "It is Stripe's" if is_stripes else "It is not Stripe's",
            "is_good": True,
            "back_url": page_url("billing.bankline", line.pk),
        }
        return self.page(request, "recovery/ask.html", context, status=422 if form.is_bound else 200)
