"""What customers open: everything under /pay/. Checkout, payment links, invoices, the portal, and the bank's page.

Each is a plain form. What a button does is done by the clock that the customer lives by, and is told as theirs, not as
a request of the API's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl

from tests.sandbox.billing.payments.bank_page import NothingToAuthenticate, authenticate
from tests.sandbox.billing.payments.invoice_payments import payment_of
from tests.sandbox.billing.selling.linking import new_session_of
from tests.sandbox.core.belonging import test_clock_of
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.pages.actions import from_own_page
from tests.sandbox.pages.hosted_checkout import act_on_checkout, after_checkout, checkout_page
from tests.sandbox.pages.hosted_invoices import act_on_invoice, invoice_page
from tests.sandbox.pages.hosted_portal import act_on_portal, after_flow, done_text, portal_page
from tests.sandbox.pages.layout import Html, address, money, object_path
from tests.sandbox.pages.payer import STYLE, STYLE_PATH, Form, card, heading, notice, payer_document, said
from tests.sandbox.wire import Request, Response
from tests.sandbox.world import World

# A browser holds the redirect after a form to the policy too, and these pages lead back to shops.
POLICY = "default-src 'none'; style-src 'self'; form-action *; frame-ancestors 'none'; base-uri 'none'"
KINDS = {
    "authenticate": ("payment_intent", "setup_intent"),
    "checkout": ("checkout.session",),
    "invoices": ("invoice",),
    "links": ("payment_link",),
    "portal": ("billing_portal.session",),
}


@dataclass(frozen=True, slots=True)
class Place:
    """One page: its kind, and what it is about."""

    kind: str
    thing: StripeObject

    @property
    def path(self) -> str:
        return f"/pay/{self.kind}/{self.thing['id']}"


def answer_payer(world: World, request: Request) -> Response:
    """The page of a path under /pay/, or what its form does."""
    if request.path == STYLE_PATH:
        return Response(200, STYLE, "text/css; charset=utf-8", {"Cache-Control": "no-cache"})
    place = _find(world, request.path)
    if place is None:
        text = said("It may have been of an earlier world.")
        return _page(payer_document("Not found", [card(heading("There is no such page", level=1), text)]), 404)
    query = dict(parse_qsl(request.query))
    if request.method == "GET":
        return _show(world, place, query)
    if request.method != "POST" or not from_own_page(request):
        return _page(payer_document("Refused", [card(heading("The form is not of this page", level=1))]), 403)
    form = dict(parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True))
    return _act(world, place, form)


def _find(world: World, path: str) -> Place | None:
    _, _, rest = path.partition("/pay/")
    kind, _, name = rest.partition("/")
    thing = world.store.by_id(name)
    if thing is None or thing["object"] not in KINDS.get(kind, ()):
        return None
    if kind == "invoices" and thing["status"] == "draft":
        return None
    return Place(kind, thing)


def _show(world: World, place: Place, query: Form) -> Response:
    if place.kind == "links":
        try:
            with _theirs(world, place.thing):
                session = new_session_of(
                    world,
                    place.thing,
                    client_reference_id=query.get("client_reference_id"),
                    email=query.get("prefilled_email"),
                )
        except StripeError as error:
            return _page(payer_document("Not available", [card(heading(str(error), level=1))]), 410)
        return _redirect(f"/pay/checkout/{session['id']}")
    if place.kind == "authenticate":
        return _page(_bank_page(world, place.thing))
    if place.kind == "portal" and "done" in query:
        return _page(portal_page(world, place.thing, done=done_text(place.thing)))
    tried = world.store.by_id(query.get("refused", ""))
    return _page(_with_refusal(world, place, {}, _refusal(tried) if tried is not None else None))


def _act(world: World, place: Place, form: Form) -> Response:
    actions: dict[str, Callable[[World, StripeObject, Form], str]] = {
        "authenticate": _act_on_bank_page,
        "checkout": act_on_checkout,
        "invoices": act_on_invoice,
        "portal": act_on_portal,
    }
    if place.kind not in actions:
        return _redirect(place.path)
    try:
        with _theirs(world, place.thing):
            target = actions[place.kind](world, place.thing, form)
    except (StripeError, NothingToAuthenticate) as error:
        status = error.status if isinstance(error, StripeError) else 400
        return _page(_with_refusal(world, place, form, str(error)), status)
    finally:
        world.run_due()
    return _redirect(target)


def _with_refusal(world: World, place: Place, form: Form, text: str | None) -> str:
    """The page, with why the last button did nothing."""
    match place.kind:
        case "checkout":
            return checkout_page(world, place.thing, form=form, refusal=text)
        case "invoices":
            return invoice_page(world, place.thing, form=form, refusal=text)
        case "portal":
            return portal_page(world, place.thing, refusal=text)
        case _:
            return payer_document("Refused", [card(notice(text))])


def _bank_page(world: World, intent: StripeObject) -> str:
    """Stands for the page on which a bank asks for a code (3-D Secure)."""
    if intent["status"] != "requires_action":
        onward = Html(f'<p><a href="{_onward(world, intent)}">Go on</a></p>')
        return payer_document("Your bank", [card(heading("There is nothing to confirm", level=1), onward)])
    amount = f" of {money(intent['amount'], intent['currency'])}" if "amount" in intent else ""
    form = Html(
        f'<form method="post" action="/pay/authenticate/{intent["id"]}"><div class="row">'
        '<button class="main" name="result" value="succeed">Confirm</button>'
        '<button name="result" value="fail">Refuse</button></div></form>'
    )
    text = f"Confirm the payment{amount}, as with a code from your bank's app (3-D Secure)."
    if "amount" not in intent:
        text = "Confirm that the card is yours, as with a code from your bank's app (3-D Secure)."
    return payer_document("Your bank", [card(heading("Your bank asks you to confirm", level=1), said(text), form)])


def _act_on_bank_page(world: World, intent: StripeObject, form: Form) -> str:
    authenticate(world, intent["id"], "succeed" if form.get("result") == "succeed" else "fail")
    if _refusal(intent) is None:
        return _onward(world, intent)
    return address(_onward(world, intent), {"refused": intent["id"]})


def _onward(world: World, intent: StripeObject) -> str:
    """Back to what the person was doing: checkout, the portal, or the invoice that the intent pays."""
    session = world.store.find("checkout.session", world.checkouts.get(intent["id"]))
    if session is not None:
        return after_checkout(session)
    portal = world.store.find("billing_portal.session", world.portal_setups.get(intent["id"]))
    if portal is not None:
        return after_flow(portal) if intent["status"] == "succeeded" else f"/pay/portal/{portal['id']}"
    for invoice in world.store.where("invoice", "customer", str(intent["customer"])):
        payment = payment_of(world, invoice)
        if payment is not None and payment["payment"]["payment_intent"] == intent["id"]:
            return f"/pay/invoices/{invoice['id']}"
    return object_path(intent["id"])


def _refusal(intent: StripeObject) -> str | None:
    """Why the last try failed, in words for the payer."""
    error = intent.get("last_payment_error") or intent.get("last_setup_error")
    return str(error["message"]) if error else None


@contextmanager
def _theirs(world: World, thing: StripeObject) -> Iterator[None]:
    """By the clock of the customer that `thing` belongs to; events say whose doing they are."""
    clock = world.clock_with(test_clock_of(world.store, thing))
    with world.by_clock(clock):
        clock.doing = f"the customer on the page of {thing['id']}"
        try:
            yield
        finally:
            clock.doing = ""


def _page(text: str, status: int = 200) -> Response:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return Response(status, text.encode(), "text/html; charset=utf-8", headers)


def _redirect(target: str) -> Response:
    return Response(303, b"", "text/plain", {"Location": target})
