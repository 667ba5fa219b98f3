"""What the pages of the reports share: who may open them, where their numbers lead, and the frame around them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from billing.accounting.reports.choosing import Choice
from billing.admin_links import list_url, page_url
from billing.customers.models import Customer
from config import clock
from ledger.downloads.answers import formats

VIEW_PERMISSION = "billing.view_financereport"
TEMPLATE = "admin/reports/report.html"
May = Callable[[str], bool]
_TABS = (("reports:ageing", "Ageing"), ("reports:credit", "Credit"), ("reports:income", "Revenue"))
# What each report can be asked for beside the two instants; the instants go with the reader from tab to tab.
_INSTANTS = ("before", "known_at")


class Links:
    """Addresses of what a figure is made of; "" where the reader may not open it."""

    def __init__(self, may: May, choice: Choice) -> None:
        self._may = may
        known_at = choice.asked.get("known_at")
        self._known = {"known_at": known_at.replace(tzinfo=None).isoformat()} if known_at else {}

    def customer(self, customer_key: str) -> str:
        if not self._may("billing.view_customer"):
            return ""
        return reverse("admin:billing_customer_by_key", args=[customer_key])

    def invoice(self, invoice_id: int) -> str:
        return page_url("billing.invoice", invoice_id) if self._may("billing.view_invoice") else ""

    def grant(self, grant_id: int) -> str:
        return page_url("promotions.creditgrant", grant_id) if self._may("promotions.view_creditgrant") else ""

    def account(self, account_id: int | None, **span: str) -> str:
        """The account's statement, as known then; of a month where `month` names it."""
        if account_id is None or not self._may("ledger.view_account"):
            return ""
        query = urlencode({**span, **self._known})
        return f"{page_url('ledger.account', account_id)}{'?' if query else ''}{query}"

    def accounts(self, kind: str, currency: str) -> str:
        return list_url("ledger.account", kind=kind, currency=currency) if self._may("ledger.view_account") else ""


def require_permission(request: HttpRequest) -> None:
    if not request.user.has_perm(VIEW_PERMISSION):
        raise PermissionDenied


def customer_names(keys: Iterable[str]) -> dict[str, str]:
    """By key; one query."""
    return dict(Customer.objects.filter(customer_key__in=set(keys)).order_by().values_list("customer_key", "name"))


def page(
    request: HttpRequest, *, here: str, title: str, told: str, choice: Choice, row_count: int, **context: Any
) -> HttpResponse:
    """The page called `here`. `told` says in a sentence what the figures are; 422 where the address cannot be read."""
    instants = {name: "" for name in choice.asked if name not in _INSTANTS}
    shared: Mapping[str, Any] = {
        **admin.site.each_context(request),
        "title": title,
        "told": told,
        "choice": choice,
        "presets": choice.presets(clock.now()),
        "tabs": [
            (name, f"{reverse(url)}?{choice.query_with(**instants)}", f"reports:{here}" == url) for url, name in _TABS
        ],
        "downloads": formats(
            reverse(f"reports:{here}-download", args=["csv"]).removesuffix("csv"),
            query=choice.query,
            line_count=row_count,
        ),
    }
    return TemplateResponse(request, TEMPLATE, {**shared, **context}, status=200 if choice.is_valid else 422)
