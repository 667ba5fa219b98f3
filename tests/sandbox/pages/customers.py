"""A customer's page: what they have, what they owe, and how their balance came to be."""

from collections import defaultdict

from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.charts import balance_chart, month_chart
from tests.sandbox.pages.layout import Html, day, facts, html, joined, moment, money, section, table
from tests.sandbox.pages.naming import link_to
from tests.sandbox.pages.tables import related_table
from tests.sandbox.world import World


def customer_parts(world: World, customer: StripeObject) -> list[Html]:
    key = customer["id"]
    of = world.store.where
    subscriptions, invoices = of("subscription", "customer", key), of("invoice", "customer", key)
    intents, methods = of("payment_intent", "customer", key), of("payment_method", "customer", key)
    parts = [
        section("In short", _facts(world, customer, subscriptions, invoices)),
        section(
            f"Subscriptions ({len(subscriptions)})",
            related_table(world, "subscription", subscriptions, without="customer"),
        ),
        section(f"Invoices ({len(invoices)})", related_table(world, "invoice", invoices, without="customer")),
        *_invoiced(invoices),
        section(f"Payments ({len(intents)})", related_table(world, "payment_intent", intents, without="customer")),
        _balance(world, customer),
    ]
    if methods:
        table_of_methods = related_table(world, "payment_method", methods, without="customer")
        parts.append(section(f"Payment methods ({len(methods)})", table_of_methods))
    return parts


def _facts(
    world: World, customer: StripeObject, subscriptions: list[StripeObject], invoices: list[StripeObject]
) -> Html:
    currency = customer["currency"] or "usd"
    owed: dict[str, int] = defaultdict(int)
    for invoice in invoices:
        if invoice["status"] in ("open", "uncollectible"):
            owed[invoice["currency"]] += invoice["amount_remaining"]
    alive = [item for item in subscriptions if item["status"] not in ("canceled", "incomplete_expired")]
    pairs: list[tuple[str, object]] = [
        ("E-mail", customer["email"] or "–"),
        ("Balance", _balance_text(customer["balance"], currency)),
        ("Owed on open invoices", ", ".join(money(amount, name) for name, amount in owed.items()) or "nothing"),
        ("Subscriptions", f"{len(alive)} running of {len(subscriptions)}"),
        ("Card", link_to(world, customer["invoice_settings"]["default_payment_method"])),
    ]
    if customer.get("test_clock"):
        pairs.append(("Test clock", link_to(world, customer["test_clock"])))
    return facts(pairs)


def _balance(world: World, customer: StripeObject) -> Html:
    transactions = world.store.where("customer_balance_transaction", "customer", customer["id"])
    currency = customer["currency"] or "usd"
    rows = [
        [
            moment(item["created"]),
            link_to(world, item["id"]) if item["description"] else html(item["type"].replace("_", " ")),
            link_to(world, item["invoice"]),
            money(item["amount"], item["currency"]),
            money(item["ending_balance"], item["currency"]),
        ]
        for item in transactions[-50:]
    ]
    points = [(item["created"], item["ending_balance"]) for item in transactions]
    chart = (
        balance_chart(
            points, now=max(world.clock_with(customer.get("test_clock")).now, points[-1][0]), currency=currency
        )
        if points
        else Html("")
    )
    content = table(
        ["At", "Why", "Invoice", "#Amount", "#Balance after"],
        rows,
        nothing="It never moved. Negative is credit for the next invoice, positive is owed with it.",
    )
    return section("Balance", chart, content, aside=html(_balance_text(customer["balance"], currency)))


def _invoiced(invoices: list[StripeObject]) -> list[Html]:
    """A chart for each currency of what was invoiced and what of it was paid, by the month of the invoice."""
    by_currency: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for invoice in invoices:
        if invoice["status"] not in ("draft", "void"):
            months = by_currency[invoice["currency"]]
            month = day(invoice["created"])[:7]
            invoiced, paid = months.get(month, (0, 0))
            months[month] = (invoiced + invoice["total"], paid + invoice["amount_paid"])
    return [
        section(
            f"Invoiced and paid, {currency.upper()}",
            joined([month_chart([(month, *sums) for month, sums in sorted(months.items())], currency=currency)]),
        )
        for currency, months in by_currency.items()
    ]


def _balance_text(balance: int, currency: str) -> str:
    side = "credit" if balance < 0 else "owed" if balance > 0 else ""
    return f"{money(abs(balance), currency)} {side}".strip()
