"""Accounts as an accountant reads them: a list with balances, and of each its statement over a span."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from config import clock
from ledger import queries
from ledger.admin import customer_statements, trial_balance
from ledger.admin.balance_chart import balance_chart
from ledger.admin.choosing import choose
from ledger.admin.paging import LINES_A_PAGE, pages, turn_asked
from ledger.admin.read_only import ReadOnlyAdmin, id_of
from ledger.downloads import statements as documents
from ledger.downloads.answers import download, formats
from ledger.downloads.document import Document
from ledger.exact import less
from ledger.models import Account
from ledger.showing import NOTHING, customer_link, places_of, shown

VIEW_PERMISSION = "ledger.view_account"


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ["code", "kind", "customer_linked", "currency", "balance_shown"]
    list_filter = ["kind", "currency", "normal_side"]
    search_fields = ["code", "customer_key__exact"]
    search_help_text = "Part of an account's code, or a customer's key"
    ordering = ["code"]
    # The page is the template's; these keep Django from making a form of the rest.
    fields = ["code"]

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The page's balances are read together, also those of system accounts, which are in no row."""
        found: ChangeList = super().get_changelist_instance(request)
        rows = list(found.result_list)
        balances = queries.current_balances(rows)
        for account in rows:
            account.balance_now = balances[account.pk]
        found.result_list = rows
        return found

    @admin.display(description="customer", ordering="customer_key")
    def customer_linked(self, account: Account) -> SafeString | str:
        return customer_link(account.customer_key) if account.customer_key else NOTHING

    @admin.display(description="balance now")
    def balance_shown(self, account: Any) -> str:
        return shown(account.balance_now)

    def get_urls(self) -> list[URLPattern]:
        def view(address: str, function: Callable[..., HttpResponseBase], name: str) -> URLPattern:
            found: URLPattern = path(address, self.admin_site.admin_view(function), name=f"ledger_{name}")
            return found

        customer = "customers/<path:customer_key>/"
        return [
            view("<int:account_id>/statement.<str:suffix>", self.download_view, "account_download"),
            view("trial-balance/", trial_balance.trial_balance_view, "trial_balance"),
            view("trial-balance.<str:suffix>", trial_balance.download_view, "trial_balance_download"),
            view(customer, customer_statements.statement_view, "customer_statement"),
            view(f"{customer}statement.<str:suffix>", customer_statements.download_view, "customer_statement_download"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        account_id = id_of(object_id)
        account = None if account_id is None else Account.objects.filter(pk=account_id).first()
        if account is None or not self.has_view_permission(request, account):
            response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
            return response
        with queries.one_look():
            context = {**(extra_context or {}), **self._page(request, account)}
        response = super().change_view(request, object_id, form_url, context)
        if not context["choice"].is_valid:
            response.status_code = 422
        return response

    def _page(self, request: HttpRequest, account: Account) -> dict[str, Any]:
        newest = queries.newest_lines([account], limit=1)
        choice = choose(request.GET, now=clock.now(), latest=newest[0].effective_at if newest else None)
        statement = queries.account_statement_of(account, choice.span)
        turn = turn_asked(request.GET)
        lines = queries.statement_page(statement, limit=LINES_A_PAGE, after=turn.after, before=turn.before)
        balances = [statement.balance_when(line.moved) for line in lines]
        # What stands above the first line of a later page.
        carried = statement.balance_when(less(lines[0].moved, lines[0].amount)) if lines else statement.opening
        sums = (statement.debit, statement.credit, statement.closing)
        address = reverse("admin:ledger_account_download", args=[account.pk, "csv"]).removesuffix("csv")
        return {
            "title": account.code,
            "subtitle": None,
            "account": account,
            "balance": queries.balance_of_account(account),
            "choice": choice,
            "statement": statement,
            "carried": carried,
            "lines": list(zip(lines, balances, strict=True)),
            "places": places_of((carried, *sums, *balances, *(line.amount for line in lines))),
            "pages": pages(lines, count=statement.line_count, query=f"?{choice.query}"),
            "chart": balance_chart(statement, title=f"Balance of {account.code}, {choice.label}"),
            "downloads": formats(address, query=choice.query, line_count=statement.line_count),
        }

    def download_view(self, request: HttpRequest, account_id: int, suffix: str) -> HttpResponseBase:
        if not request.user.has_perm(VIEW_PERMISSION):
            raise PermissionDenied
        account = Account.objects.filter(pk=account_id).first()
        if account is None:
            raise Http404("There is no such account.")
        choice = choose(request.GET, now=clock.now(), latest=None)
        if not choice.is_valid:
            return HttpResponseBadRequest("This span cannot be read. Choose it on the account's page.")

        def make() -> Document:
            return documents.of_account(queries.account_statement_of(account, choice.span), made_at=clock.now())

        return download(suffix, name=documents.name_of_account_statement(account.code, choice.span), make=make)
