"""An invoice's page: its lines, sums that can be followed downwards, and how it was paid or why it was not."""

from tests.sandbox.billing.invoices.invoicing import subscription_of
from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.circle import intents_of
from tests.sandbox.pages.layout import (
    Html,
    badge,
    code,
    facts,
    html,
    joined,
    link,
    moment,
    money,
    scrolling,
    section,
    table,
)
from tests.sandbox.pages.naming import link_to, reason
from tests.sandbox.world import World

LINES_SHOWN = 100


def invoice_parts(world: World, invoice: StripeObject) -> list[Html]:
    lines = world.lines.get(invoice["id"], [])
    return [
        section("In short", facts(_facts(world, invoice))),
        section(f"Lines ({len(lines)})", _lines(world, invoice, lines), _sums(world, invoice, lines)),
        section("Payment", _attempts(world, invoice), facts(_next(world, invoice))),
    ]


def _facts(world: World, invoice: StripeObject) -> list[tuple[str, object]]:
    transitions = invoice["status_transitions"]
    pairs: list[tuple[str, object]] = [
        ("Customer", link_to(world, invoice["customer"])),
        ("Reason", str(invoice["billing_reason"])),
        ("Subscription", link_to(world, subscription_of(invoice))),
        ("Period", joined([moment(invoice["period_start"]), " – ", moment(invoice["period_end"])])),
        (
            "Collected",
            "by the default card" if invoice["collection_method"] == "charge_automatically" else "by invoice",
        ),
        ("Goes on by itself", "yes" if invoice["auto_advance"] else "no"),
    ]
    names = (
        ("Finalised", "finalized_at"), ("Paid", "paid_at"), ("Voided", "voided_at"),
        ("Given up", "marked_uncollectible_at"),
    )  # fmt: skip
    pairs += [(name, moment(transitions[field])) for name, field in names if transitions.get(field)]
    if invoice["due_date"]:
        pairs.append(("Due", moment(invoice["due_date"])))
    if invoice["hosted_invoice_url"]:
        url = html(invoice["hosted_invoice_url"])
        pairs.append(("For the payer", Html(f'<a href="{url}">hosted page</a>') if _is_ours(world, url) else code(url)))
    return pairs


def _is_ours(world: World, url: str) -> bool:
    return bool(world.settings.address) and url.startswith(world.settings.address)


def _lines(world: World, invoice: StripeObject, lines: list[StripeObject]) -> Html:
    rows = [
        [
            joined([line["description"] or "–", *([" ", badge("proration")] if _is_proration(line) else [])]),
            joined([moment(line["period"]["start"]), " – ", moment(line["period"]["end"])]),
            line["quantity"] if line["quantity"] is not None else "–",
            money(line["amount"], line["currency"]),
            _amounts(line["discount_amounts"], line["currency"], sign=-1),
            _taxes(world, line),
        ]
        for line in lines[:LINES_SHOWN]
    ]
    more = Html(f'<p class="soft">and {len(lines) - LINES_SHOWN} more</p>') if len(lines) > LINES_SHOWN else Html("")
    heads = ["Description", "Period", "#Quantity", "#Amount", "#Discount", "#Tax"]
    return joined([table(heads, rows, nothing="No lines. POST /v1/invoiceitems with this invoice adds some."), more])


def _sums(world: World, invoice: StripeObject, lines: list[StripeObject]) -> Html:
    """From the lines down to what is still to be paid. A sum that is not the one above it plus its parts is marked."""
    currency, subtotal = invoice["currency"], invoice["subtotal"]
    parts = _reductions(world, invoice)
    taxes = invoice["total_taxes"] or []
    parts += [(_tax(world, "Tax", tax), tax["amount"]) for tax in taxes if tax["tax_behavior"] == "exclusive"]
    rows = [_sum("Subtotal", subtotal, currency, sum(line["amount"] for line in lines))]
    rows += [_part(name, amount, currency) for name, amount in parts]
    rows.append(_sum("Total", invoice["total"], currency, subtotal + sum(amount for _, amount in parts)))
    rows += [
        _part(_tax(world, "of which tax", tax), tax["amount"], currency)
        for tax in taxes
        if tax["tax_behavior"] == "inclusive"
    ]
    if invoice["status"] == "draft":
        balance = f"Balance of the customer ({money(invoice['starting_balance'], currency)}), taken when it is final"
        return _sum_table([*rows, _part(balance, None, currency)])
    return _sum_table(rows + _payable(invoice))


def _reductions(world: World, invoice: StripeObject) -> list[tuple[Html, int]]:
    """Discounts and billing credits with their (negative) amounts."""
    reductions = [
        (joined(["Discount ", _coupon(world, item["discount"])]), -item["amount"])
        for item in invoice["total_discount_amounts"] or []
    ]
    before_tax = invoice["total_pretax_credit_amounts"] or []
    granted = sum(item["amount"] for item in before_tax if item["type"] == "credit_balance_transaction")
    return [*reductions, (html("Billing credits"), -granted)] if granted else reductions


def _tax(world: World, name: str, tax: StripeObject) -> Html:
    return joined([name, " ", link_to(world, (tax.get("tax_rate_details") or {}).get("tax_rate"))])


def _payable(invoice: StripeObject) -> list[Html]:
    """From the total of a final invoice, by the customer's balance and credit notes, to what is still to be paid."""
    currency, starting, ending = invoice["currency"], invoice["starting_balance"], invoice["ending_balance"] or 0
    credited, paid, due = invoice["pre_payment_credit_notes_amount"], invoice["amount_paid"], invoice["amount_due"]
    rows = []
    if starting or ending:
        rows.append(_part("Balance before", starting, currency))
        rows.append(_part("Left on the balance", -ending, currency))
    if credited:
        rows.append(_part("Credit notes before payment", -credited, currency))
    rows.append(_sum("Due", due, currency, invoice["total"] + starting - ending - credited))
    rows.append(_part("Paid", -paid, currency))
    rows.append(_sum("Remaining", invoice["amount_remaining"], currency, due - paid))
    if invoice["post_payment_credit_notes_amount"]:
        rows.append(_part("Credited after payment", -invoice["post_payment_credit_notes_amount"], currency))
    return rows


def _sum_table(rows: list[Html]) -> Html:
    return scrolling(Html(f'<table class="sums"><tbody>{joined(rows)}</tbody></table>'))


def _part(name: object, amount: int | None, currency: str) -> Html:
    return Html(f'<tr><td>{html(name)}</td><td class="amount">{money(amount, currency)}</td><td></td></tr>')


def _sum(name: str, amount: int, currency: str, expected: int) -> Html:
    """A sum, with a sign whether it is what the rows above it give."""
    sign = '<span class="good" title="the sum of the rows above">✓</span>'
    if expected != amount:
        sign = f'<span class="bad">✗ the rows above give {money(expected, currency)}</span>'
    return Html(
        f'<tr class="sum"><th scope="row">{html(name)}</th><td class="amount">{money(amount, currency)}</td>'
        f"<td>{sign}</td></tr>"
    )


def _attempts(world: World, invoice: StripeObject) -> Html:
    """Each charge that was tried, and each intent that waits for its payer."""
    rows = []
    for intent in intents_of(world, invoice):
        for charge in world.store.where("charge", "payment_intent", intent["id"]):
            why = charge["failure_message"] or (charge["outcome"] or {}).get("seller_message") or "–"
            decline = (charge["outcome"] or {}).get("reason") if charge["status"] == "failed" else None
            rows.append(
                [
                    moment(charge["created"]),
                    link(charge["id"], "charge"),
                    badge(charge["status"]),
                    joined([why, *([" ", code(decline)] if decline else [])]),
                    link_to(world, charge["payment_method"]),
                    money(charge["amount"], charge["currency"]),
                ]
            )
        if intent["status"] == "requires_action":
            waits = "waits for the payer to authenticate (open it for the button)"
            amount = money(intent["amount"], intent["currency"])
            rows.append(["now", link(intent["id"], "payment"), badge(intent["status"]), waits, "", amount])
    nothing = "Nothing was tried" + (": it is still a draft." if invoice["status"] == "draft" else ".")
    return table(["At", "What", "Status", "Why", "Card", "#Amount"], rows, nothing=nothing)


def _next(world: World, invoice: StripeObject) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = [
        ("Attempts counted", invoice["attempt_count"]),
        ("Next attempt", moment(invoice["next_payment_attempt"])),
    ]
    if invoice["automatically_finalizes_at"]:
        pairs.append(("Finalises itself", moment(invoice["automatically_finalizes_at"])))
    clock = world.clock_with(invoice.get("test_clock"))
    waiting = next((due for due in clock.waiting() if invoice["id"] in due.what), None)
    if waiting is not None:
        pairs.append(("The clock's next work", joined([reason(world, waiting.what), " at ", moment(waiting.moment)])))
    if invoice.get("last_finalization_error"):
        pairs.append(("Could not be finalised", invoice["last_finalization_error"].get("message", "")))
    return pairs


def _amounts(amounts: list[StripeObject] | None, currency: str, *, sign: int) -> str:
    total = sum(item["amount"] for item in amounts or [])
    return money(sign * total, currency) if total else ""


def _taxes(world: World, line: StripeObject) -> Html:
    parts = [
        joined([money(tax["amount"], line["currency"]), " incl." if tax["tax_behavior"] == "inclusive" else ""])
        for tax in line["taxes"] or []
    ]
    return joined(parts, ", ")


def _coupon(world: World, discount_id: str) -> Html:
    """The coupon behind a discount: what a person gave a name to."""
    discount = world.store.find("discount", discount_id)
    coupon = ((discount or {}).get("source") or {}).get("coupon")
    return link_to(world, coupon if isinstance(coupon, str) else discount_id)


def _is_proration(line: StripeObject) -> bool:
    parent = line["parent"] or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration"))
