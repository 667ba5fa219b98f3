"""The pages of customers, subscriptions and invoices, and of any object as it is."""

from collections.abc import Sequence

from tests.sandbox.billing.invoicing import subscription_of
from tests.sandbox.billing.renewing import items_of
from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.layout import Html, badge, facts, link, moment, money, section, source, table, unit_price
from tests.sandbox.world import World

ROWS_MAX = 200


def customer_table(world: World, customers: Sequence[StripeObject]) -> Html:
    rows = [
        [
            link(customer["id"], customer["name"] or customer["email"] or customer["id"]),
            customer["id"],
            money(customer["balance"], customer["currency"] or "usd"),
            _card(world, customer["invoice_settings"]["default_payment_method"]),
            moment(customer["created"]),
        ]
        for customer in _newest(customers)
    ]
    return table(["Customer", "Id", "#Balance (negative: credit)", "Card", "Created"], rows)


def subscription_table(subscriptions: Sequence[StripeObject]) -> Html:
    rows = []
    for subscription in _newest(subscriptions):
        items = items_of(subscription)
        rows.append(
            [
                link(subscription["id"]),
                badge(subscription["status"]),
                link(subscription["customer"]),
                ", ".join(f"{item['quantity']} × {unit_price(item['price'])}" for item in items),
                moment(items[0]["current_period_start"]),
                moment(items[0]["current_period_end"]),
                link(subscription["latest_invoice"]),
            ]
        )
    return table(["Subscription", "Status", "Customer", "Items", "Period from", "to", "Latest invoice"], rows)


def invoice_table(invoices: Sequence[StripeObject]) -> Html:
    rows = [
        [
            link(invoice["id"], invoice["number"] or invoice["id"]),
            badge(invoice["status"]),
            link(invoice["customer"]),
            invoice["billing_reason"],
            money(invoice["total"], invoice["currency"]),
            money(invoice["amount_remaining"], invoice["currency"]),
            moment(invoice["created"]),
        ]
        for invoice in _newest(invoices)
    ]
    return table(["Invoice", "Status", "Customer", "Reason", "#Total", "#Remaining", "Created"], rows)


def object_page(world: World, thing: StripeObject) -> list[Html]:
    """What there is to say about one object, and the object itself."""
    makers = {"customer": _customer, "subscription": _subscription, "invoice": _invoice}
    maker = makers.get(thing["object"])
    related = [
        event
        for event in world.store.all("event")
        if event["data"]["object"].get("id") == thing["id"] and thing["object"] != "event"
    ]
    parts = maker(world, thing) if maker else []
    if related:
        rows = [[link(event["id"]), event["type"], moment(event["created"])] for event in related[::-1][:ROWS_MAX]]
        parts.append(section("Events about it", table(["Event", "Type", "At"], rows)))
    return [*parts, section(f"{thing['object']} {thing['id']}", source(thing))]


def _customer(world: World, customer: StripeObject) -> list[Html]:
    key = customer["id"]
    transactions = world.store.where("customer_balance_transaction", "customer", key)
    rows = [
        [
            item["type"],
            money(item["amount"], item["currency"]),
            money(item["ending_balance"], item["currency"]),
            link(item["invoice"]),
            moment(item["created"]),
        ]
        for item in _newest(transactions)
    ]
    return [
        section(customer["name"] or customer["email"] or key, customer_table(world, [customer])),
        section("Subscriptions", subscription_table(world.store.where("subscription", "customer", key))),
        section("Invoices", invoice_table(world.store.where("invoice", "customer", key))),
        section("Balance transactions", table(["Type", "#Amount", "#Balance after", "Invoice", "At"], rows)),
    ]


def _subscription(world: World, subscription: StripeObject) -> list[Html]:
    invoices = [
        invoice
        for invoice in world.store.where("invoice", "customer", subscription["customer"])
        if subscription_of(invoice) == subscription["id"]
    ]
    return [
        section("Subscription", subscription_table([subscription])),
        section("Its invoices", invoice_table(invoices)),
    ]


def _invoice(world: World, invoice: StripeObject) -> list[Html]:
    currency = invoice["currency"]
    lines = [
        [
            line["description"] or "–",
            line["quantity"],
            f"{moment(line['period']['start'])} – {moment(line['period']['end'])}",
            money(line["amount"], currency),
        ]
        for line in world.lines[invoice["id"]]
    ]
    payments = [
        [
            link(payment["payment"].get("payment_intent")),
            badge(payment["status"]),
            money(payment["amount_paid"], currency),
        ]
        for payment in world.store.where("invoice_payment", "invoice", invoice["id"])
    ]
    sums = facts(
        [
            ("Total", money(invoice["total"], currency)),
            ("Starting balance", money(invoice["starting_balance"], currency)),
            ("Due", money(invoice["amount_due"], currency)),
            ("Paid", money(invoice["amount_paid"], currency)),
            ("Ending balance", money(invoice["ending_balance"], currency)),
            ("Attempts", invoice["attempt_count"]),
            ("Finalises itself at", moment(invoice["automatically_finalizes_at"])),
            ("Next attempt", moment(invoice["next_payment_attempt"])),
            ("Subscription", link(subscription_of(invoice))),
        ]
    )
    return [
        section("Invoice", invoice_table([invoice]), sums),
        section(f"{len(lines)} lines", table(["Description", "#Quantity", "Period", "#Amount"], lines)),
        section("Payments", table(["Payment intent", "Status", "#Paid"], payments)),
    ]


def _card(world: World, payment_method: str | None) -> Html:
    found = world.store.find("payment_method", payment_method)
    return link(payment_method, f"{found['card']['brand']} {found['card']['last4']}" if found else None)


def _newest(things: Sequence[StripeObject]) -> Sequence[StripeObject]:
    return things[-ROWS_MAX:][::-1]
