"""The page of a checkout session: what is bought on one side, the payment method and one button on the other."""

from html import escape

from tests.sandbox.billing.prices.pricing import is_metered
from tests.sandbox.billing.selling.checking_out import adjust_quantities, apply_promotion_code
from tests.sandbox.billing.selling.completing import preset_email
from tests.sandbox.billing.selling.confirming import confirm_session, needs_payment_method, waiting_intent
from tests.sandbox.billing.selling.line_items import is_recurring
from tests.sandbox.billing.selling.linking import HOSTED_CONFIRMATION_URL
from tests.sandbox.billing.selling.session_fields import customer_details
from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.layout import Html, joined, money
from tests.sandbox.pages.payer import (
    ADDRESS,
    SELLER,
    Form,
    card,
    field,
    heading,
    method_choice,
    notice,
    pairs,
    payer_document,
    read_method,
    said,
    sum_lines,
)
from tests.sandbox.world import World

WORDS = {"book": "Book", "donate": "Donate", "pay": "Pay", "subscribe": "Subscribe"}


def checkout_page(world: World, session: StripeObject, *, form: Form | None = None, refusal: str | None = None) -> str:
    """The page as it is now; after a refused try with what was entered, and why."""
    if session["status"] != "open":
        return _ended(world, session)
    back = (session["cancel_url"], "Back to the shop") if session["cancel_url"] else None
    return payer_document(
        "Checkout", [_summary(world, session), _order(world, session, form or {}, refusal)], wide=True, back=back
    )


def act_on_checkout(world: World, session: StripeObject, form: Form) -> str:
    """Do what the page's button asks; the answer is where the person goes. Raises `StripeError` for a refusal."""
    if form.get("do") == "apply":
        apply_promotion_code(world, session, form.get("code", ""))
        return f"/pay/checkout/{session['id']}"
    if form.get("do") == "adjust":
        wanted = {item["id"]: form.get(item["id"], "") for item in world.line_items[session["id"]]}
        adjust_quantities(world, session, {name: int(text) for name, text in wanted.items() if text.isdecimal()})
        return f"/pay/checkout/{session['id']}"
    payment_method = read_method(world, form) if needs_payment_method(session) else None
    _note_person(world, session, form)
    confirm_session(world, session, payment_method, phone=form.get("phone") or None)
    intent = waiting_intent(world, session)
    if intent is not None:
        return f"/pay/authenticate/{intent['id']}"
    return after_checkout(session)


def after_checkout(session: StripeObject) -> str:
    """Where a completed session leads: the shop's page with the session's id in it, or the page's own thanks."""
    url = session.get("return_url") or session["success_url"]
    stays = url == HOSTED_CONFIRMATION_URL or session.get("redirect_on_completion") == "never"
    if session["status"] != "complete" or stays:
        return f"/pay/checkout/{session['id']}"
    return str(url).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _note_person(world: World, session: StripeObject, form: Form) -> None:
    """Who buys is asked even where no payment method is, and goes with the session."""
    known = session["customer_details"] or {}
    email = preset_email(world, session) or form.get("email") or known.get("email")
    details = customer_details(email=email, name=form.get("name") or known.get("name"))
    world.update(session, None, customer_details=details | {"tax_exempt": known.get("tax_exempt", "none")})


def _ended(world: World, session: StripeObject) -> str:
    if session["status"] == "expired":
        return payer_document(
            "Checkout", [card(heading("This page has expired", level=1), said("Nothing was bought."))]
        )
    link = world.store.find("payment_link", session["payment_link"])
    text = "Thank you. Everything is done."
    if session["payment_status"] == "unpaid":
        text = "Thank you. Your bank will confirm the payment in a few days."
    parts = [heading("Completed", level=1), said(text)]
    message = (link or {}).get("after_completion", {}).get("hosted_confirmation", {}).get("custom_message")
    if message:
        parts.append(said(message))
    if session["amount_total"] is not None:
        parts.append(pairs([("Total", money(session["amount_total"], session["currency"]))]))
    onward = after_checkout(session)
    if not onward.startswith("/pay/"):
        parts.append(Html(f'<p><a href="{escape(onward)}">On to the shop</a></p>'))
    return payer_document("Completed", [card(Html(f'<div class="stack">{joined(parts)}</div>'))])


def _summary(world: World, session: StripeObject) -> Html:
    if session["mode"] == "setup":
        return card(
            heading("Save a payment method", level=1),
            said("It is kept for later payments. Nothing is charged today."),
            *_custom_text(session, "submit"),
        )
    currency = session["currency"]
    items = world.line_items[session["id"]]
    recurring = [item for item in items if is_recurring(item)]
    title = f"Subscribe to {recurring[0]['description']}" if recurring else f"Pay {SELLER}"
    rows: list[tuple[object, object, str]] = [
        (_described(item), money(item["amount_subtotal"], currency), "") for item in items
    ]
    details = session["total_details"]
    rows.append(("Subtotal", money(session["amount_subtotal"], currency), "soft"))
    if details["amount_discount"]:
        rows.append((_discount_name(world, session), money(-details["amount_discount"], currency), ""))
    if details["amount_tax"]:
        rows.append(("Tax", money(details["amount_tax"], currency), ""))
    rows.append(("Due today", money(session["amount_total"], currency), "total"))
    parts = [
        heading(title, level=1),
        Html(f'<p class="amount-large">{money(session["amount_total"], currency)}</p>'),
        *[said(text) for text in _terms(world, session, recurring)],
        sum_lines(rows),
    ]
    adjustable = [item for item in items if item.get("adjustable_quantity")]
    if adjustable:
        parts.append(_quantity_form(session, adjustable))
    if session["allow_promotion_codes"]:
        parts.append(_code_form(session))
    return card(Html(f'<div class="stack">{joined(parts)}</div>'))


def _described(item: StripeObject) -> str:
    if is_metered(item["price"]):
        return f"{item['description']} (by use)"
    return f"{item['quantity']} × {item['description']}"


def _discount_name(world: World, session: StripeObject) -> str:
    [entry] = session["discounts"] or [{}]
    code = world.store.find("promotion_code", entry.get("promotion_code"))
    coupon = world.store.find("coupon", code["promotion"]["coupon"] if code else entry.get("coupon"))
    return str((code and code["code"]) or (coupon and coupon["name"]) or "Discount")


def _terms(world: World, session: StripeObject, recurring: list[StripeObject]) -> list[str]:
    """What a subscription costs later, and when its trial ends."""
    if not recurring:
        return []
    every = recurring[0]["price"]["recurring"]
    count = every["interval_count"]
    period = every["interval"] if count == 1 else f"{count} {every['interval']}s"
    data = world.asked_for[session["id"]].get("subscription_data", {})
    days = data.get("trial_period_days")
    begins = f"{days} days free, then it renews" if days else "Renews"
    return [f"{begins} every {period} until canceled."]


def _quantity_form(session: StripeObject, items: list[StripeObject]) -> Html:
    fields = "".join(
        f'<label><span class="small soft">Quantity of {escape(item["description"])}</span><input type="number" '
        f'name="{item["id"]}" value="{item["quantity"]}" min="{item["adjustable_quantity"]["minimum"]}" '
        f'max="{item["adjustable_quantity"]["maximum"]}"></label>'
        for item in items
    )
    return Html(
        f'<form method="post" action="/pay/checkout/{session["id"]}"><input type="hidden" name="do" value="adjust">'
        f'<div class="row">{fields}<button>Change</button></div></form>'
    )


def _code_form(session: StripeObject) -> Html:
    return Html(
        f'<form method="post" action="/pay/checkout/{session["id"]}"><input type="hidden" name="do" value="apply">'
        '<div class="row"><label><span class="small soft">Promotion code</span><input name="code" autocomplete="off">'
        "</label><button>Apply</button></div></form>"
    )


def _order(world: World, session: StripeObject, form: Form, refusal: str | None) -> Html:
    known = session["customer_details"] or {}
    email = preset_email(world, session) or ""
    person = [
        field(
            "email",
            "E-mail",
            email or form.get("email") or known.get("email") or "",
            kind="email",
            fixed=bool(email),
            autocomplete="email",
        ),
        field("name", "Name", form.get("name") or known.get("name") or "", autocomplete="name"),
    ]
    if session["phone_number_collection"]["enabled"]:
        person.append(field("phone", "Phone", form.get("phone", ""), kind="tel", autocomplete="tel"))
    if session["billing_address_collection"] == "required":
        person += [field(name, label, form.get(name, "")) for name, label in ADDRESS]
    methods = Html("")
    if needs_payment_method(session):
        methods = method_choice(world, session["payment_method_types"], session["customer"], form.get("method", ""))
    return card(
        notice(refusal),
        Html(
            f'<form method="post" action="/pay/checkout/{session["id"]}"><input type="hidden" name="do" value="pay">'
            f"<fieldset><legend>Contact</legend>{joined(person)}</fieldset>{methods}"
            f'<button class="main">{_button(session)}</button></form>'
        ),
        *_custom_text(session, "after_submit"),
    )


def _button(session: StripeObject) -> str:
    if session["mode"] == "setup":
        return "Save"
    if session["mode"] == "subscription":
        return "Subscribe" if session["amount_total"] else "Start"
    word = WORDS.get(session["submit_type"], "Pay")
    return f"{word} {money(session['amount_total'], session['currency'])}"


def _custom_text(session: StripeObject, place: str) -> list[Html]:
    text = session["custom_text"][place]
    return [said(text["message"], "small soft")] if text else []
