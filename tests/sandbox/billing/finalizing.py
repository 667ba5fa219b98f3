"""From draft to open: number, customer balance, the payment intent; and at once to paid when nothing is due."""

from tests.sandbox.billing import collecting
from tests.sandbox.billing.balance import move_balance
from tests.sandbox.billing.charging import new_payment_intent
from tests.sandbox.billing.lines import resum
from tests.sandbox.billing.money import charge_minimum
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def finalize_when_due(world: World, invoice: StripeObject) -> None:
    """Finalise and pay at `automatically_finalizes_at`, unless that was changed or taken away by then."""
    moment: int = invoice["automatically_finalizes_at"]

    def due() -> None:
        if invoice["status"] == "draft" and invoice["automatically_finalizes_at"] == moment:
            finalize(world, invoice)
            collect_soon(world, invoice)

    world.clock.at(moment, due)


def finalize(world: World, invoice: StripeObject) -> None:
    """Make a draft final. Raises `StripeError` for any other status."""
    if invoice["status"] != "draft":
        raise StripeError(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
            code="invoice_not_editable",
        )
    customer = world.store.get("customer", invoice["customer"])
    invoice["starting_balance"] = customer["balance"]
    resum(world, invoice, event=False)
    due, ending = _apply_balance(world, invoice, customer)
    transitions = {**invoice["status_transitions"], "finalized_at": world.now}
    world.update(
        invoice,
        None,
        amount_due=due,
        amount_remaining=due,
        automatically_finalizes_at=None,
        effective_at=invoice["effective_at"] or world.now,
        ending_balance=ending,
        hosted_invoice_url=f"https://invoice.stripe.com/i/{invoice['id']}",
        invoice_pdf=f"https://pay.stripe.com/invoice/{invoice['id']}/pdf",
        number=invoice["number"] or _next_number(world, customer),
        status="open",
        status_transitions=transitions,
    )
    world.emit("invoice.finalized", invoice)
    if due == 0:
        invoice["attempted"] = True
        collecting.mark_paid(world, invoice)
    elif invoice["collection_method"] == "charge_automatically":
        _open_payment(world, invoice)


def collect_soon(world: World, invoice: StripeObject) -> None:
    """Charge at this same instant, after the current request is answered, if the invoice is still to be charged."""

    def due() -> None:
        if invoice["status"] == "open" and invoice["auto_advance"] and not invoice["attempted"]:
            collecting.collect_automatically(world, invoice)

    if invoice["collection_method"] == "charge_automatically":
        world.clock.at(world.now, due)


def _apply_balance(world: World, invoice: StripeObject, customer: StripeObject) -> tuple[int, int]:
    """Move the customer's balance onto the invoice, or an uncollectable total onto the balance.

    The answer is (amount due, ending balance). A total below the smallest charge is not collected: it is owed on the
    balance (`invoice_too_small`). A negative total becomes credit.
    """
    total, starting = invoice["total"], customer["balance"]
    wanted = total + starting
    moves: list[tuple[str, int]] = []
    if total <= 0 or wanted <= 0:  # nothing was bought, or credit covers it: what is owed waits for the next invoice
        due = 0
        moves.append(("applied_to_invoice", total))
    elif wanted < charge_minimum(invoice["currency"]):
        due = 0
        credit = -min(starting, 0)
        moves += [("applied_to_invoice", credit), ("invoice_too_small", total - credit)]
    else:
        due = wanted
        moves.append(("applied_to_invoice", -starting))
    for kind, amount in moves:
        if amount:
            move_balance(world, customer, amount=amount, kind=kind, currency=invoice["currency"], invoice=invoice["id"])
    return due, customer["balance"]


def _next_number(world: World, customer: StripeObject) -> str:
    sequence: int = customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] = sequence + 1
    return f"{customer['invoice_prefix']}-{sequence:04d}"


def _open_payment(world: World, invoice: StripeObject) -> None:
    description = "Subscription update" if invoice["billing_reason"] == "subscription_cycle" else None
    if invoice["billing_reason"] == "subscription_create":
        description = "Subscription creation"
    intent = new_payment_intent(
        world,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description=description or "Payment for Invoice",
    )
    world.new(
        "invoice_payment",
        "inpay",
        amount_requested=invoice["amount_due"],
        currency=invoice["currency"],
        invoice=invoice["id"],
        is_default=True,
        payment={"payment_intent": intent["id"], "type": "payment_intent"},
        status="open",
    )
