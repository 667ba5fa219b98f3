"""Search: the query language, its pages, and what it refuses."""

from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.account import Account


def names(account: Account, query: str, **parameters: Any) -> list[str]:
    found = account.api.customers.search({"query": query, **parameters})
    return [customer.name for customer in found.data]


@pytest.fixture
def people(account: Account) -> Account:
    account.api.customers.create({"name": "Ada Lovelace", "email": "ada@example.com", "metadata": {"team": "red"}})
    account.sandbox.advance(account.sandbox.now() + 100)
    account.api.customers.create({"name": "Grace Hopper", "email": "grace@example.com", "metadata": {"team": "blue"}})
    account.api.customers.create({"name": 'Edsger "D" Dijkstra', "email": "edsger@example.org"})
    return account


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('name:"ada lovelace"', ["Ada Lovelace"]),
        ('name:"ada"', []),
        ('name~"ada"', ["Ada Lovelace"]),
        ('name:"Edsger \\"D\\" Dijkstra"', ['Edsger "D" Dijkstra']),
        ("email:'grace@example.com'", ["Grace Hopper"]),
        ('email~"example.com"', ["Grace Hopper", "Ada Lovelace"]),
        ('-email~"example.com"', ['Edsger "D" Dijkstra']),
        ('metadata["team"]:"red"', ["Ada Lovelace"]),
        ("metadata['team']:'RED'", ["Ada Lovelace"]),
        ('-metadata["team"]:null', ["Grace Hopper", "Ada Lovelace"]),
        ('metadata["team"]:null', ['Edsger "D" Dijkstra']),
        ("phone:null", ['Edsger "D" Dijkstra', "Grace Hopper", "Ada Lovelace"]),
        ('email~"example" AND metadata["team"]:"blue"', ["Grace Hopper"]),
        ('email~"example" metadata["team"]:"blue"', ["Grace Hopper"]),
        ('name:"grace hopper" or metadata["team"]:"red"', ["Grace Hopper", "Ada Lovelace"]),
        ("created>1790812800", ['Edsger "D" Dijkstra', "Grace Hopper"]),
        ("created>=1790812800 AND created<1790812900", ["Ada Lovelace"]),
        ("created<=1790812800", ["Ada Lovelace"]),
        ("created:1790812900", ['Edsger "D" Dijkstra', "Grace Hopper"]),
    ],
)
def test_query_language(people: Account, query: str, found: list[str]) -> None:
    assert names(people, query) == found


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("ada", "unable to parse"),
        ("", "unable to parse"),
        ('name:"ada" AND', "unable to parse"),
        ('metadata:"red"', "unable to parse"),
        ('(name:"ada")', "unable to parse"),
        ('shoe:"ada"', "`shoe` is an unsupported search field for resource `customers`"),
        ('name:"a" AND email:"b" OR email:"c"', "cannot mix AND and OR"),
        ('name~"ad"', "at least 3 characters"),
        ('metadata["team"]~"red"', "operator `~` is not supported"),
        ('name>"ada"', "operator `>` is not supported"),
        ("created>soon", "`created` is a number"),
        (" ".join(["created>0"] * 11), "at most 10 clauses"),
    ],
)
def test_bad_queries(people: Account, query: str, message: str) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=message) as refused:
        names(people, query)
    assert refused.value.param == "query"


def test_pages(people: Account) -> None:
    first = people.api.customers.search({"query": "created>0", "limit": 2, "expand": ["total_count"]})
    assert ([item.name for item in first.data], first.has_more) == (['Edsger "D" Dijkstra', "Grace Hopper"], True)
    assert first.total_count == 3

    people.api.customers.create({"name": "New meanwhile"})
    second = people.api.customers.search({"query": "created>0", "limit": 2, "page": first.next_page})
    assert ([item.name for item in second.data], second.has_more) == (["Ada Lovelace"], False)
    assert second.next_page is None
    assert "total_count" not in second
    assert len(list(people.api.customers.search({"query": "created>0", "limit": 1}).auto_paging_iter())) == 4
    with pytest.raises(stripe.InvalidRequestError, match="Invalid page"):
        people.api.customers.search({"query": "created>0", "page": "nonsense"})


def test_every_noun(account: Account) -> None:
    customer = account.customer(name="Ada")
    subscription = account.subscription(customer, unit_amount=2000, metadata={"plan": "pro"})
    api, price = account.api, subscription["items"].data[0].price
    invoice = account.invoices(customer)[0]

    def ids(service: Any, query: str) -> list[str]:
        return [item.id for item in service.search({"query": query}).data]

    assert ids(api.subscriptions, 'status:"active" AND metadata["plan"]:"pro"') == [subscription.id]
    assert ids(api.subscriptions, "canceled_at:null") == [subscription.id]
    assert ids(api.invoices, f'subscription:"{subscription.id}" AND total>1999') == [invoice.id]
    assert ids(api.invoices, 'total<2000 OR status:"draft"') == []
    assert ids(api.prices, f'product:"{price.product}" AND active:"true" AND type:"recurring"') == [price.id]
    assert ids(api.products, 'name~"pro"') == [price.product]
    found = api.subscriptions.search({"query": 'status:"active"', "expand": ["data.customer"]})
    assert found.data[0].customer.name == "Ada"
    [charge] = ids(api.charges, 'amount=2000 AND payment_method_details.card.last4:"4242"')
    assert ids(api.charges, 'refunded:"true"') == []
    [intent] = ids(api.payment_intents, f'customer:"{customer.id}" AND currency:"usd" AND status:"succeeded"')
    assert api.charges.retrieve(charge).payment_intent == intent
