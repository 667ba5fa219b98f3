"""From draft to open: number, customer balance, the payment intent; and at once to paid when nothing is due."""

from tests.sandbox.billing.invoices.balance import move_balance
from tests.sandbox.billing.invoices.late_usage import refresh_usage
from tests.sandbox.billing.invoices.lines import resum
from tests.sandbox.billing.invoices.voiding import void_revised
from tests.sandbox.billing.money import CHARGE_MAXIMUM, charge_minimum
from tests.sandbox.billing.payments.collecting import collect_automatically
from tests.sandbox.billing.payments.invoice_payments import open_payment, subscription_of_invoice
from tests.sandbox.billing.payments.settling import mark_paid, set_delinquent
from tests.sandbox.billing.prices.credit_grants import apply_credit_grants
from tests.sandbox.billing.selling.hosting import page_address
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

LOCATION_INVALID = "customer_tax_location_invalid"


def finalize_when_due(world: World, invoice: StripeObject) -> None:
    """Finalise and pay at `automatically_finalizes_at`, unless that was changed or taken away by then."""
    moment: int = invoice["automatically_finalizes_at"]

    def due() -> None:
        if invoice["status"] == "draft" and invoice["automatically_finalizes_at"] == moment:
            try:
                finalize(world, invoice)
            except StripeError as error:
                if error.fields.get("code") != LOCATION_INVALID:  # that one is told already
                    _give_up(world, invoice, error)
            else:
                collect_soon(world, invoice)

    world.clock.at(moment, due, f"finalisation of draft {invoice['id']}")


def finalize(world: World, invoice: StripeObject, *, auto_advance: bool | None = None) -> None:
    """Make a draft final. Raises `StripeError` for any other status, and when its customer is gone.

    `auto_advance`, if given, replaces the invoice's own.
    """
    if invoice["status"] != "draft":
        raise StripeError(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
            code="invoice_not_editable",
        )
    customer = world.store.find("customer", invoice["customer"])
    if customer is None:
        raise StripeError(
            f"The customer {invoice['customer']} of this invoice was deleted, so it cannot be finalized.",
            code="resource_missing",
            param="customer",
        )
    _require_location(world, invoice, customer)
    void_revised(world, invoice)
    previous = resum(world, invoice, event=False) if refresh_usage(world, invoice) else {}
    apply_credit_grants(world, invoice)
    previous = {**world.update(invoice, None, starting_balance=customer["balance"]), **previous}
    previous = {**resum(world, invoice, event=False), **previous}
    due, ending = _apply_balance(world, invoice, customer)
    transitions = {**invoice["status_transitions"], "finalized_at": world.now}
    later = world.update(
        invoice,
        None,
        amount_due=due,
        amount_remaining=due,
        auto_advance=invoice["auto_advance"] if auto_advance is None else auto_advance,
        automatically_finalizes_at=None,
        effective_at=invoice["effective_at"] or world.now,
        ending_balance=ending,
        hosted_invoice_url=page_address(world, "invoices", invoice["id"]),
        invoice_pdf=f"https://pay.stripe.com/invoice/{invoice['id']}/pdf",
        last_finalization_error=None,
        number=invoice["number"] or _next_number(world, customer),
        status="open",
        status_transitions=transitions,
    )
    world.emit("invoice.updated", invoice, previous={**later, **previous})
    world.emit("invoice.finalized", invoice)
    if due == 0:
        mark_paid(world, invoice, attempted=True)
    elif invoice["collection_method"] == "charge_automatically":
        open_payment(world, invoice)
    elif invoice["due_date"] is not None:
        _overdue_when_due(world, invoice)


def collect_soon(world: World, invoice: StripeObject) -> None:
    """Charge at this same instant, after the current request is answered, if the invoice is still to be charged."""

    def due() -> None:
        if invoice["status"] == "open" and invoice["auto_advance"] and not invoice["attempted"]:
            collect_automatically(world, invoice)

    if invoice["collection_method"] == "charge_automatically":
        world.clock.at(world.now, due, f"first payment attempt for {invoice['id']}")


def _apply_balance(world: World, invoice: StripeObject, customer: StripeObject) -> tuple[int, int]:
    """Move the customer's balance onto the invoice, or an uncollectable total onto the balance.

    The answer is (amount due, ending balance). A total below the smallest charge is not collected: it is owed on the
    balance (`invoice_too_small`), and so is what is above the largest charge (`invoice_too_large`). A negative total
    becomes credit.
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
        due = min(wanted, CHARGE_MAXIMUM)
        moves += [("applied_to_invoice", -starting), ("invoice_too_large", wanted - due)]
    for kind, amount in moves:
        if amount:
            move_balance(world, customer, amount=amount, kind=kind, currency=invoice["currency"], invoice=invoice["id"])
    return due, customer["balance"]


def _next_number(world: World, customer: StripeObject) -> str:
    sequence: int = customer["next_invoice_sequence"]
    world.update(customer, "customer.updated", next_invoice_sequence=sequence + 1)
    return f"{customer['invoice_prefix']}-{sequence:04d}"


def _require_location(world: World, invoice: StripeObject, customer: StripeObject) -> None:
    """
    Taxes are computed for a place. A subscription's invoice goes out without them where that is not known; any other
    is not finalised, which also tells who asked for it (https://docs.stripe.com/tax/customer-locations).
    """
    is_known = bool((customer["address"] or {}).get("country"))
    if is_known or not invoice["automatic_tax"]["enabled"]:
        return
    if (invoice["parent"] or {}).get("subscription_details"):
        reason = "finalization_requires_location_inputs"
        tax = {**invoice["automatic_tax"], "enabled": False, "status": None, "disabled_reason": reason}
        world.update(invoice, "invoice.updated", automatic_tax=tax)
        return
    refusal = StripeError(
        "The customer's location isn't recognized. Set a valid customer address in order to automatically calculate "
        "tax.",
        code=LOCATION_INVALID,
    )
    _give_up(world, invoice, refusal)
    raise refusal


def _give_up(world: World, invoice: StripeObject, error: StripeError) -> None:
    """What cannot be finalised stays a draft, and says why."""
    told = {name: value for name, value in error.fields.items() if name in ("code", "message", "param", "type")}
    world.update(
        invoice,
        "invoice.updated",
        auto_advance=False,
        automatically_finalizes_at=None,
        last_finalization_error=told,
    )
    world.emit("invoice.finalization_failed", invoice)


def _overdue_when_due(world: World, invoice: StripeObject) -> None:
    """An invoice sent and not paid by its due date makes its customer delinquent, its subscription past due."""
    moment: int = invoice["due_date"]

    def due() -> None:
        if invoice["status"] != "open" or invoice["due_date"] != moment:
            return
        world.emit("invoice.overdue", invoice)
        set_delinquent(world, invoice["customer"], True)
        subscription = subscription_of_invoice(world, invoice)
        if subscription and subscription["status"] == "active" and subscription["latest_invoice"] == invoice["id"]:
            world.update(subscription, "customer.subscription.updated", status="past_due")

    world.clock.at(moment, due, f"due date of {invoice['id']}")
