"""
Tells the apps below where the pages are that theirs should lead to.

They know a customer by a key and a cause by its name; that there are pages for these, only billing knows.
"""

from collections.abc import Callable

from django.urls import reverse

from billing.accounting import manual_entry_page, period_close_checks
from billing.admin_links import list_url, page_url
from billing.catalog.publication_checks import publication_checks
from billing.catalog.version_actions import version_actions
from billing.rating import event_life as life_stages
from billing.rating import preview
from billing.rollouts import version_buttons
from billing.rollouts.approvals.operations import changed_since_approval
from ledger.causes import cause_links, cause_permissions
from ledger.entry_actions import entry_actions
from ledger.period_checks import period_checks
from metering import effects, event_life
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


def _page_named(model: str) -> Callable[[str], str]:
    """Of a model whose key is Stripe's own identifier."""

    def url(value: str) -> str:
        return page_url(model, value)

    return url


def connect() -> None:
    """Register every page that another app may lead to."""
    metering_pages.register(customer=customer_url)
    effects.register(preview.money_effects)
    event_life.register(life_stages.stages)
    promotion_pages.register(customer=customer_url, drawdowns=drawdowns_url)
    cause_links.update(
        {
            "customer": customer_url,
            "grant": _page_in("promotions.creditgrant"),
            "period": _page_in("billing.billingperiod"),
            "invoice": _search_in("billing.invoice"),
            "credit_note": _search_in("billing.creditnote"),
            "event": _page_named("billing.inboxevent"),
            "charge": _search_in("billing.payment"),
            "manual_entry": _page_in("billing.manualentry"),
            "refund": _search_in("billing.refund"),
            "dispute": _search_in("billing.dispute"),
            "payout": _search_in("billing.payout"),
            "balance_transaction": _search_in("billing.balancetransaction"),
            "customer_balance_transaction": _search_in("billing.customerbalancetransaction"),
        }
    )
    cause_permissions.update(
        {
            "customer": "billing.view_customer",
            "grant": "promotions.view_creditgrant",
            "period": "billing.view_billingperiod",
            "invoice": "billing.view_invoice",
            "credit_note": "billing.view_creditnote",
            "charge": "billing.view_payment",
            "manual_entry": "billing.view_manualentry",
            "refund": "billing.view_refund",
            "dispute": "billing.view_dispute",
            "payout": "billing.view_payout",
            "event": "billing.view_inboxevent",
            "balance_transaction": "billing.view_balancetransaction",
            "customer_balance_transaction": "billing.view_customerbalancetransaction",
        }
    )
    entry_actions.append(manual_entry_page.reverse_action)
    version_actions.extend(
        (version_buttons.backtest, version_buttons.shadow, version_buttons.simulate, version_buttons.roll_out)
    )
    publication_checks.append(changed_since_approval)
    period_checks.update(period_close_checks.CHECKS)
