"""`invoice.upcoming`: some days before a renewal, what it will bill as things stand.

Stripe's document asks for an identifier of every invoice, so this one has that of a preview (`upcoming_in_…`).
"""

from tests.sandbox.billing.invoices.invoicing import item_subscription, pending_items
from tests.sandbox.billing.invoices.lines import line_of_item, shown_lines
from tests.sandbox.billing.invoices.totals import invoice_totals, sum_lines, summed_line, taxability
from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.billing.subscriptions.cycles import add_cycle_lines, current_period, next_spans, period_end
from tests.sandbox.billing.subscriptions.item_terms import items_of
from tests.sandbox.billing.subscriptions.subscription_invoices import subscription_invoice
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def tell_upcoming(world: World, subscription: StripeObject, moment: int) -> None:
    """Tell the renewal at `moment`, unless it is closer than the account's setting or will not be by then."""
    days = world.settings.upcoming_invoice_days

    def due() -> None:
        ends_at = subscription["cancel_at"]
        goes_on = subscription["status"] in ("active", "past_due", "trialing")
        told = world.told_upcoming.get(subscription["id"]) == moment
        if goes_on and not told and period_end(subscription) == moment and (ends_at is None or ends_at > moment):
            world.told_upcoming[subscription["id"]] = moment
            world.emit("invoice.upcoming", _upcoming_invoice(world, subscription))

    if moment - days * DAY_SECONDS > world.now:
        world.clock.at(moment - days * DAY_SECONDS, due, f"notice of the renewal of {subscription['id']}")


def _upcoming_invoice(world: World, subscription: StripeObject) -> StripeObject:
    """The renewal's draft, made and taken away again: nothing is attached, used up or kept."""
    moment = period_end(subscription)
    ended = [item for item in items_of(subscription) if item["current_period_end"] == moment]
    period = current_period(subscription)
    invoice = subscription_invoice(world, subscription, reason="upcoming", period=period)
    invoice["next_payment_attempt"] = (
        moment + 3600 if subscription["collection_method"] == "charge_automatically" else None
    )
    lines = world.lines[invoice["id"]]
    for item in reversed(pending_items(world, subscription["customer"])):
        if item_subscription(item) in (None, subscription["id"]) and item["currency"] == invoice["currency"]:
            lines.append(line_of_item(world, invoice, item))
    spans = next_spans(subscription, ended)
    add_cycle_lines(world, invoice, ended, spans, with_usage=subscription["status"] != "trialing")
    sums = sum_lines(world, invoice)
    reason = taxability(invoice)
    summed = [summed_line(line, line_sum, reason) for line, line_sum in zip(lines, sums, strict=True)]
    totals = invoice_totals(sums, reason)
    due = max(0, totals["total"] + invoice["starting_balance"]) if totals["total"] > 0 else 0
    world.store.remove(invoice)
    for line in world.lines.pop(invoice["id"]):
        world.line_tax_rates.pop(line["id"], None)
    invoice |= {"id": f"upcoming_{invoice['id']}", "amount_due": due, "amount_remaining": due, **totals}
    for line in summed:
        line["invoice"] = invoice["id"]
    invoice["lines"] = shown_lines(invoice["id"], summed)
    return invoice
