"""What follows for others when an invoice is settled or given up, or a card set up: they register here, and are told.

The modules that collect money know nothing of subscriptions, checkout pages and the like.
"""

from collections.abc import Callable

from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

Consequence = Callable[[World, StripeObject], None]
OF_PAYMENT: list[Consequence] = []
OF_GIVING_UP: list[Consequence] = []
OF_SETTING_UP: list[Consequence] = []


def when_invoice_paid(consequence: Consequence) -> Consequence:
    """Register a function (world, invoice) for the moment in which an invoice becomes paid."""
    OF_PAYMENT.append(consequence)
    return consequence


def when_invoice_given_up(consequence: Consequence) -> Consequence:
    """Register a function (world, invoice) for the moment in which an invoice becomes void or uncollectible."""
    OF_GIVING_UP.append(consequence)
    return consequence


def when_set_up(consequence: Consequence) -> Consequence:
    """Register a function (world, setup intent) for the moment in which a setup intent succeeds."""
    OF_SETTING_UP.append(consequence)
    return consequence


def invoice_paid(world: World, invoice: StripeObject) -> None:
    for consequence in OF_PAYMENT:
        consequence(world, invoice)


def invoice_given_up(world: World, invoice: StripeObject) -> None:
    for consequence in OF_GIVING_UP:
        consequence(world, invoice)


def set_up(world: World, intent: StripeObject) -> None:
    for consequence in OF_SETTING_UP:
        consequence(world, intent)
