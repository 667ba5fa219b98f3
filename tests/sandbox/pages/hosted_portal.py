"""The customer portal's page: subscriptions with what may be done to them, the card, the customer's data, invoices."""

from html import escape

from tests.sandbox.billing.selling.self_service import (
    cancel,
    change_card,
    features_of,
    keep,
    offers,
    portal_subscriptions,
    switch,
    update_customer,
)
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.layout import Html, day, joined, money, unit_price
from tests.sandbox.pages.payer import (
    Form,
    card,
    field,
    heading,
    mark,
    method_choice,
    notice,
    payer_document,
    read_method,
    said,
    sum_lines,
)
from tests.sandbox.world import World

MARKS = {"active": "good", "trialing": "good", "past_due": "bad", "unpaid": "bad", "paid": "good", "open": "wait"}
# What a flow shows; without a flow everything is shown.
FLOW_SHOWS = {
    "customer_update": ("customer",),
    "payment_method_update": ("card",),
    "subscription_cancel": ("subscriptions",),
    "subscription_update": ("subscriptions",),
    "subscription_update_confirm": ("confirm",),
}


def portal_page(
    world: World,
    session: StripeObject,
    *,
    refusal: str | None = None,
    done: str | None = None,
    form: Form | None = None,
) -> str:
    """The page as it is now, with what came of the last button."""
    flow = session["flow"]
    shown = FLOW_SHOWS[flow["type"]] if flow else ("subscriptions", "card", "customer", "invoices")
    makers = {
        "subscriptions": _subscriptions,
        "card": _card,
        "customer": _customer,
        "invoices": _invoices,
        "confirm": _confirmation,
    }
    parts = [makers[name](world, session) for name in shown]
    top = Html(f"{notice(refusal)}{notice(done, good=True)}")
    back = (session["return_url"], "Back to the shop") if session["return_url"] else None
    configuration = world.store.get("billing_portal.configuration", session["configuration"])
    headline = configuration["business_profile"]["headline"] or "Your account"
    title = Html(f"<div>{heading(headline, level=1)}{top}</div>")
    return payer_document("Your account", [title, *(part for part in parts if part)], back=back)


def act_on_portal(world: World, session: StripeObject, form: Form) -> str:
    """Do what a button asks; the answer is where the customer goes. Raises `StripeError` for a refusal."""
    match form.get("do"):
        case "card":
            intent = change_card(world, session, read_method(world, form))
            if intent["status"] == "requires_action":
                return f"/pay/authenticate/{intent['id']}"
        case "cancel":
            subscription = _named(world, form)
            details = {name: form[name] for name in ("comment", "feedback") if form.get(name)}
            cancel(world, session, subscription, details)
        case "keep":
            keep(world, session, _named(world, form))
        case "switch":
            item = {"id": form.get("item", ""), "price": form.get("price", "")}
            quantity = form.get("quantity", "")
            switch(
                world,
                session,
                _named(world, form),
                [item | ({"quantity": int(quantity)} if quantity.isdigit() else {})],
            )
        case "customer":
            update_customer(world, session, {name: form[name] for name in ("email", "name", "phone") if name in form})
        case _:
            raise StripeError("There is no such action.")
    return after_flow(session)


def after_flow(session: StripeObject) -> str:
    flow = session["flow"]
    if flow and flow["after_completion"]["type"] == "redirect":
        return str(flow["after_completion"]["redirect"]["return_url"])
    return f"/pay/portal/{session['id']}?done=yes"


def done_text(session: StripeObject) -> str:
    flow = session["flow"]
    confirmation = flow["after_completion"]["hosted_confirmation"] if flow else None
    return str((confirmation or {}).get("custom_message") or "Saved.")


def _named(world: World, form: Form) -> StripeObject:
    return world.store.get("subscription", form.get("subscription", ""), param="subscription")


def _button(session: StripeObject, do: str, text: str, content: str = "", **hidden: str) -> Html:
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in {"do": do, **hidden}.items()
    )
    return Html(
        f'<form method="post" action="/pay/portal/{session["id"]}">{fields}<div class="row">{content}'
        f"<button>{escape(text)}</button></div></form>"
    )


def _subscriptions(world: World, session: StripeObject) -> Html:
    flow = session["flow"]
    only = (flow["subscription_cancel"] or flow["subscription_update"] or {}).get("subscription") if flow else None
    found = [item for item in portal_subscriptions(world, session) if only in (None, item["id"])]
    if not found:
        return card(heading("Subscriptions"), said("There is none."))
    return card(heading("Subscriptions"), *(_subscription(world, session, item) for item in found))


def _subscription(world: World, session: StripeObject, subscription: StripeObject) -> Html:
    features = features_of(world, session)
    items = subscription["items"]["data"]
    names = ", ".join(_offer(world, item["price"]) for item in items)
    end = day(max(item["current_period_end"] for item in items))
    ends = subscription["cancel_at_period_end"] or subscription["cancel_at"]
    text = f"Ends on {day(subscription['cancel_at'] or items[0]['current_period_end'])}" if ends else f"Renews on {end}"
    buttons: list[Html] = []
    if features["subscription_update"]["enabled"]:
        buttons += [_switch_form(world, session, subscription, item) for item in items]
    if features["subscription_cancel"]["enabled"]:
        if subscription["cancel_at_period_end"]:
            buttons.append(_button(session, "keep", "Do not cancel", subscription=subscription["id"]))
        else:
            reasons = _reasons(features["subscription_cancel"])
            buttons.append(_button(session, "cancel", "Cancel subscription", reasons, subscription=subscription["id"]))
    status = mark(subscription["status"], MARKS.get(subscription["status"], ""))
    return Html(
        f'<div class="item"><strong>{escape(names)}</strong> {status}<div class="soft">{escape(text)}</div>'
        f"{joined(buttons)}</div>"
    )


def _switch_form(world: World, session: StripeObject, subscription: StripeObject, item: StripeObject) -> Html:
    current = item["price"]["id"]
    prices = [item["price"], *(price for price in offers(world, session) if price["id"] != current)]
    names = {price["id"]: _offer(world, price) for price in prices}
    options = "".join(f'<option value="{escape(name)}">{escape(text)}</option>' for name, text in names.items())
    content = f'<label><span class="small soft">Plan</span><select name="price">{options}</select></label>'
    if "quantity" in features_of(world, session)["subscription_update"]["default_allowed_updates"]:
        content += (
            '<label><span class="small soft">Quantity</span>'
            f'<input type="number" name="quantity" min="1" value="{item.get("quantity", 1)}"></label>'
        )
    return _button(session, "switch", "Switch", Html(content), subscription=subscription["id"], item=item["id"])


def _offer(world: World, price: StripeObject) -> str:
    name = world.store.get("product", price["product"])["name"]
    return f"{name}: {unit_price(price)} a {price['recurring']['interval']}"


def _reasons(feature: StripeObject) -> Html:
    if not feature["cancellation_reason"]["enabled"]:
        return Html("")
    options = "".join(
        f'<option value="{name}">{name.replace("_", " ")}</option>'
        for name in feature["cancellation_reason"]["options"]
    )
    return Html(
        '<label><span class="small soft">Why do you cancel?</span><select name="feedback"><option value="">–</option>'
        f"{options}</select></label>"
    )


def _confirmation(world: World, session: StripeObject) -> Html:
    """`subscription_update_confirm`: one change, named when the session was made."""
    wanted = session["flow"]["subscription_update_confirm"]
    [item] = wanted["items"]
    price = world.store.get("price", item["price"])
    name = world.store.get("product", price["product"])["name"]
    text = f"{item['quantity']} × {name} at {unit_price(price)} a {price['recurring']['interval']}"
    button = _button(
        session,
        "switch",
        "Confirm",
        subscription=wanted["subscription"],
        item=item["id"],
        price=item["price"],
        quantity=str(item["quantity"]),
    )
    return card(heading("Confirm your change"), said(text), button)


def _card(world: World, session: StripeObject) -> Html:
    if not features_of(world, session)["payment_method_update"]["enabled"]:
        return Html("")
    customer = world.store.get("customer", session["customer"])
    current = world.store.find("payment_method", customer["invoice_settings"]["default_payment_method"])
    shown = "No card yet."
    if current is not None and current["type"] == "card":
        shown = f"{current['card']['brand'].capitalize()} •••• {current['card']['last4']}"
    form = Html(
        f'<form method="post" action="/pay/portal/{session["id"]}"><input type="hidden" name="do" value="card">'
        f'{method_choice(world, ["card"], session["customer"])}<button class="main">Use this card</button></form>'
    )
    if session["flow"]:
        return card(heading("Payment method"), said(shown), form)
    return card(heading("Payment method"), said(shown), Html(f"<details><summary>Change it</summary>{form}</details>"))


def _customer(world: World, session: StripeObject) -> Html:
    feature = features_of(world, session)["customer_update"]
    names = [name for name in ("name", "email", "phone") if name in feature["allowed_updates"]]
    if not feature["enabled"] or not names:
        return Html("")
    customer = world.store.get("customer", session["customer"])
    fields = joined(field(name, name.capitalize(), customer[name] or "") for name in names)
    return card(
        heading("Your data"),
        Html(
            f'<form method="post" action="/pay/portal/{session["id"]}"><input type="hidden" name="do" value="customer">'
            f"{fields}<button>Save</button></form>"
        ),
    )


def _invoices(world: World, session: StripeObject) -> Html:
    if not features_of(world, session)["invoice_history"]["enabled"]:
        return Html("")
    invoices = world.store.where("invoice", "customer", session["customer"])
    rows: list[tuple[object, object, str]] = [
        (
            Html(
                f'<a href="/pay/invoices/{invoice["id"]}">{escape(invoice["number"] or invoice["id"])}</a> '
                f"{mark(invoice['status'], MARKS.get(invoice['status'], ''))}"
                f'<br><span class="small soft">{day(invoice["created"])}</span>'
            ),
            money(invoice["total"], invoice["currency"]),
            "",
        )
        for invoice in reversed(invoices)
        if invoice["status"] != "draft"
    ]
    return card(heading("Invoices"), sum_lines(rows) if rows else said("There is none yet."))
