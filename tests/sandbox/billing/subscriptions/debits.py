"""What a subscription item was billed and is not credited yet, read from the invoices and the items that wait."""

from collections.abc import Iterator
from dataclasses import replace

from tests.sandbox.billing.prices.pricing import is_metered
from tests.sandbox.billing.subscriptions.prorating import Debit
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def open_debits(world: World, subscription: StripeObject, item_id: str, moment: int) -> list[Debit]:
    """The debits of an item that reach beyond `moment`, oldest first.

    A void invoice counts for nothing; an unpaid one counts, because Stripe assumes that it will be paid. A trial gave
    for nothing, and usage is charged afterwards: neither has anything to credit.
    """
    until = _credited_until(world, item_id)
    trial_end = subscription["trial_end"] or 0
    found = []
    for debit in [*_invoiced(world, subscription, item_id), *_waiting(world, subscription, item_id)]:
        limit = min(debit.end, until.get(debit.id, debit.end))
        given = debit.net_amount == 0 and debit.end <= trial_end
        if limit > moment and not given and not is_metered(world.store.get("price", debit.price)):
            found.append(replace(debit, until=limit))
    return found


def _invoiced(world: World, subscription: StripeObject, item_id: str) -> Iterator[Debit]:
    for invoice in world.store.where("invoice", "customer", subscription["customer"]):
        if invoice["status"] == "void":
            continue
        for line in world.lines[invoice["id"]]:
            details = line["parent"]["subscription_item_details"]
            if details is None or details["subscription_item"] != item_id:
                continue
            if details["invoice_item"] not in world.credits[item_id]:
                net_amount = line["amount"] - sum(taken["amount"] for taken in line["discount_amounts"])
                yield _debit(details["invoice_item"] or line["id"], net_amount, line, (invoice["id"], line["id"]))


def _waiting(world: World, subscription: StripeObject, item_id: str) -> Iterator[Debit]:
    for item in world.store.where("invoiceitem", "customer", subscription["customer"]):
        if item["invoice"] is not None or not item["proration"] or item["id"] in world.credits[item_id]:
            continue
        if item["parent"]["subscription_details"]["subscription_item"] == item_id:
            yield _debit(item["id"], item["amount"], item, (None, None))


def _debit(debit_id: str, net_amount: int, source: StripeObject, place: tuple[str | None, str | None]) -> Debit:
    period = source["period"]
    return Debit(
        id=debit_id,
        net_amount=net_amount,
        start=period["start"],
        end=period["end"],
        until=period["end"],
        invoice=place[0],
        line=place[1],
        quantity=source["quantity"] or 0,
        price=source["pricing"]["price_details"]["price"],
    )


def _credited_until(world: World, item_id: str) -> dict[str, int]:
    """By debit, the moment from which it is credited. A credit on a void invoice, or deleted, counts for nothing."""
    until: dict[str, int] = {}
    for credit_id, (debit_id, moment) in world.credits[item_id].items():
        credit = world.store.find("invoiceitem", credit_id)
        invoice = world.store.find("invoice", credit["invoice"]) if credit else None
        if credit is not None and (invoice is None or invoice["status"] != "void"):
            until[debit_id] = min(moment, until.get(debit_id, moment))
    return until
