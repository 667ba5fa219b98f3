"""Who may open which page, that no page can be used to write, and that lists do not ask once per row."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import Resolver404, resolve, reverse

from config.roles import CUSTOMER_SUCCESS, ENGINEERING, FINANCE
from tests.billing.admin.stories import tell_story

SignIn = Callable[[str], Client]
EVERYBODY = frozenset({CUSTOMER_SUCCESS, FINANCE, ENGINEERING})
# Written out, not derived from config.roles: a permission given by mistake must fail here.
OPENED_BY = {
    "billing.customer": EVERYBODY,
    "billing.subscription": EVERYBODY,
    "billing.billingperiod": EVERYBODY,
    "billing.plan": EVERYBODY,
    "billing.planversion": EVERYBODY,
    "billing.ratecard": EVERYBODY,
    "billing.rate": EVERYBODY,
    "billing.usageaccrual": EVERYBODY,
    "billing.backtest": EVERYBODY,
    "billing.approvalrequest": EVERYBODY,
    "billing.rollout": EVERYBODY,
    "billing.rolloutmove": EVERYBODY,
    "billing.shadowperiod": EVERYBODY,
    "billing.shadowrating": EVERYBODY,
    "billing.usageaccrualline": EVERYBODY,
    "billing.grantdrawdown": EVERYBODY,
    "billing.invoice": EVERYBODY,
    "billing.invoiceclose": EVERYBODY,
    "billing.creditnote": EVERYBODY,
    "billing.absorbedusage": EVERYBODY,
    "billing.lateusage": EVERYBODY,
    "billing.payment": {CUSTOMER_SUCCESS, FINANCE},
    "billing.refund": {CUSTOMER_SUCCESS, FINANCE},
    "billing.dispute": {CUSTOMER_SUCCESS, FINANCE},
    "billing.payout": {FINANCE},
    "billing.balancetransaction": {FINANCE},
    "billing.customerbalancetransaction": {CUSTOMER_SUCCESS, FINANCE},
    "billing.manualentry": {CUSTOMER_SUCCESS, FINANCE},
    "billing.inboxevent": {ENGINEERING},
    "billing.outboxintent": {FINANCE, ENGINEERING},
    "billing.reconciliationrun": {FINANCE, ENGINEERING},
    "billing.discrepancy": {FINANCE, ENGINEERING},
    "promotions.creditgrant": {CUSTOMER_SUCCESS, FINANCE},
}
# Whose pages with rows are opened by the tests of their own rooms; here their lists are, without a row.
LISTS_OPENED_BY = {
    "billing.bankaccount": {FINANCE},
    "billing.bankline": {FINANCE},
    "billing.bankmatch": {FINANCE},
    "billing.bankstatement": {FINANCE},
    "billing.billinggroup": EVERYBODY,
    "billing.disputeacceptance": {FINANCE},
    "billing.inboxreplay": {ENGINEERING},
    "billing.invoiceorder": EVERYBODY,
    "billing.invoicerequest": EVERYBODY,
    "billing.member": EVERYBODY,
    "billing.message": {CUSTOMER_SUCCESS, FINANCE},
    "billing.meteredevent": EVERYBODY,
    "billing.meteredshortfall": EVERYBODY,
    "billing.meteredprice": EVERYBODY,
    "billing.mirrorrebuild": {ENGINEERING},
    "billing.openingentry": {FINANCE},
    "billing.paymentcard": {CUSTOMER_SUCCESS, FINANCE},
    "billing.pollposition": {ENGINEERING},
    "billing.recoverycase": {CUSTOMER_SUCCESS, FINANCE},
    "billing.recoverypolicy": {FINANCE},
    "billing.refundbatch": {FINANCE},
    "billing.refundrequest": {CUSTOMER_SUCCESS, FINANCE},
    "billing.takenover": {FINANCE},
    "billing.takeover": {FINANCE},
    "billing.takeovercheck": {FINANCE},
    "billing.teamchange": EVERYBODY,
    "billing.writeoffrequest": {FINANCE},
}
# Session, user, count, rows; and what a list reads besides, such as the choices of a filter.
LIST_QUERIES = dict.fromkeys(OPENED_BY, 4) | {
    "billing.customer": 5,
    "billing.subscription": 5,
    "billing.billingperiod": 5,
    "billing.planversion": 5,
    "billing.approvalrequest": 5,
    "billing.rollout": 5,
    "billing.rate": 6,
    "billing.dispute": 5,
    "billing.discrepancy": 5,
}


def registered() -> dict[str, type[models.Model]]:
    return {
        model._meta.label_lower: model
        for model in admin.site._registry
        if model._meta.app_label in ("billing", "promotions")
    }


def list_address(label: str) -> str:
    return reverse(f"admin:{label.replace('.', '_')}_changelist")


def page_address(label: str) -> str:
    newest = registered()[label]._default_manager.order_by("-pk")[0]
    return reverse(f"admin:{label.replace('.', '_')}_change", args=[newest.pk])


def test_every_registered_page_is_listed_here() -> None:
    assert set(registered()) == {*OPENED_BY, *LISTS_OPENED_BY}


@pytest.mark.parametrize("role", sorted(EVERYBODY))
def test_lists_without_a_row_open_for_those_who_may(sign_in: SignIn, role: str) -> None:
    client = sign_in(role)

    found = {label: client.get(list_address(label)).status_code for label in LISTS_OPENED_BY}

    assert found == {label: 200 if role in roles else 403 for label, roles in LISTS_OPENED_BY.items()}


@pytest.mark.parametrize("role", sorted(EVERYBODY))
def test_lists_and_pages_open_for_those_who_may(sign_in: SignIn, role: str) -> None:
    """And none of them leads where its reader may not go."""
    tell_story(1)
    client = sign_in(role)

    answers = {label: (client.get(list_address(label)), client.get(page_address(label))) for label in OPENED_BY}

    found = {label: {answer.status_code for answer in both} for label, both in answers.items()}
    assert found == {label: {200} if role in roles else {403} for label, roles in OPENED_BY.items()}
    led_astray = {label: set().union(*map(closed_links, both)) for label, both in answers.items()}
    assert {label: closed for label, closed in led_astray.items() if closed} == {}


def test_who_closes_the_books_is_led_nowhere_they_may_not_go(sign_in: SignIn) -> None:
    tell_story(1)

    answer = sign_in(FINANCE).post(reverse("admin:ledger_periodclosing_close"), {"day": "2026-11-03", "reason": "Sent"})

    text = answer.content.decode()
    assert ("event of Stripe" in text, "/inboxevent/" in text) == (True, False)
    assert "/invoiceclose/" in text


def closed_links(answer: Any) -> set[str]:
    """Links of a page to lists and pages of rows that its reader may not see."""
    reader: User = answer.wsgi_request.user
    linked = set(re.findall(r'href="(/[^"?#]*)', answer.content.decode()))
    return {address for address in linked if not reader.has_perms(needed_for(address))}


@cache
def needed_for(address: str) -> tuple[str, ...]:
    """The permission to see the list or the row of this address; none for other addresses."""
    try:
        name = resolve(address).url_name or ""
    except Resolver404:  # files, and what the browser fetches by itself
        return ()
    room, _, rest = name.partition("_")
    model, _, kind = rest.partition("_")
    return (f"{room}.view_{model}",) if kind in ("changelist", "change") else ()


@pytest.mark.usefixtures("without_menu")
def test_a_superuser_can_open_a_page_but_not_write_to_it(sign_in: SignIn) -> None:
    tell_story(1)
    client = sign_in("superuser")
    answers, changed = {}, []
    for label in sorted(OPENED_BY):
        model, page = registered()[label], page_address(label)
        before = list(model._default_manager.order_by("pk").values())
        answers[label] = [
            client.get(page).status_code,
            client.post(page, {"name": "changed"}).status_code,
            client.get(page.replace("/change/", "/delete/")).status_code,
            client.post(page.replace("/change/", "/delete/"), {"post": "yes"}).status_code,
            client.get(f"{list_address(label)}add/").status_code,
            client.post(f"{list_address(label)}add/", {"name": "new"}).status_code,
        ]
        chosen = [str(row[model._meta.pk.attname]) for row in before]
        client.post(list_address(label), {"action": "delete_selected", "_selected_action": chosen, "post": "yes"})
        if list(model._default_manager.order_by("pk").values()) != before:
            changed.append(label)

    assert {label: seen for label, seen in answers.items() if seen != [200, 403, 403, 403, 403, 403]} == {}
    assert changed == []


@pytest.mark.usefixtures("without_menu")
def test_a_list_asks_as_often_for_three_rows_as_for_one(sign_in: SignIn) -> None:
    client = sign_in("superuser")

    def asked() -> dict[str, int]:
        counts = {}
        for label in sorted(OPENED_BY):
            with CaptureQueriesContext(connection) as queries:
                assert client.get(list_address(label)).status_code == 200
            counts[label] = len(queries)
        return counts

    tell_story(1)
    for label in sorted(OPENED_BY):
        client.get(list_address(label))
    assert asked() == LIST_QUERIES
    tell_story(2)
    tell_story(3)
    assert asked() == LIST_QUERIES


def test_people_and_roles_are_for_superusers(sign_in: SignIn) -> None:
    addresses = [reverse(f"admin:auth_{model}_changelist") for model in ("user", "group")]
    addresses += [
        reverse("admin:auth_user_add"),
        reverse("admin:auth_user_change", args=[User.objects.create(username="x").pk]),
    ]

    found = {role: {sign_in(role).get(address).status_code for address in addresses} for role in (FINANCE, "superuser")}

    assert found == {FINANCE: {403}, "superuser": {200}}


def test_nobody_opens_anything_without_signing_in(db: None) -> None:
    tell_story(1)

    answers = {label: Client().get(list_address(label)).status_code for label in OPENED_BY}

    assert answers == dict.fromkeys(OPENED_BY, 302)
