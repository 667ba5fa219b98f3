"""Where the pages for customers are: of this sandbox when it knows its own address, otherwise in Stripe's form."""

from tests.sandbox.world import World

STRIPES_FORMS = {
    "checkout": "https://checkout.stripe.com/c/pay/",
    "invoices": "https://invoice.stripe.com/i/",
    "links": "https://buy.stripe.com/",
    "portal": "https://billing.stripe.com/p/session/",
}
SERVED_UNDER = "/pay/"


def page_address(world: World, kind: str, object_id: str) -> str:
    """The address of a page; `kind` is checkout, invoices, links or portal."""
    if not world.settings.address:
        return STRIPES_FORMS[kind] + object_id
    return f"{world.settings.address}{SERVED_UNDER}{kind}/{object_id}"
