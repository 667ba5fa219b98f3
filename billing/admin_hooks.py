"""
Tells the apps below where the pages are that theirs should lead to.

They know a customer by a key and a cause by its name; that there are pages for these, only billing knows.
"""

from collections.abc import Callable

from django.urls import reverse

from billing.admin_links import list_url, page_url
from ledger.causes import cause_links
from metering import page_links as metering_pages
from promotions import page_links as promotion_pages


def customer_url(customer_key: str) -> str:
    """Address that leads to the page of the customer with this key, without asking the database."""
    return reverse("admin:billing_customer_by_key", args=[customer_key])


def drawdowns_url(grant_id: int) -> str:
    return list_url("billing.grantdrawdown", grant__id__exact=grant_id)


def _search_in(model: str) -> Callable[[str], str]:
    def url(value: str) -> str:
        return list_url(model, q=value)

    return url


def _page_in(model: str) -> Callable[[str], str | None]:
    def url(value: str) -> str | None:
        return page_url(model, value) if value.isdecimal() else None

    return url


def connect() -> None:
    """Register every page that another app may lead to."""
    metering_pages.register(customer=customer_url)
    promotion_pages.register(customer=customer_url, drawdowns=drawdowns_url)
    cause_links.update(
        {
            "customer": customer_url,
            "grant": _page_in("promotions.creditgrant"),
            "period": _page_in("billing.billingperiod"),
            "invoice": _search_in("billing.invoice"),
            "charge": _search_in("billing.payment"),
            "balance_transaction": _search_in("billing.balancetransaction"),
            "customer_balance_transaction": _search_in("billing.customerbalancetransaction"),
        }
    )
