"""What the next invoice would be: found by letting things happen in a scratch world, and reading the draft.

The same code makes the preview and the invoice that then really appears, so they agree as long as nothing else happens
in between. `world` is a scratch world everywhere here.
"""

from dataclasses import dataclass

from tests.sandbox.billing.invoices.invoicing import pending_items, subscription_of
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

GOING_ON = frozenset({"active", "incomplete", "past_due", "trialing", "unpaid"})


@dataclass(frozen=True, slots=True)
class Sought:
    """Whose invoice: of one subscription, of what one schedule manages, or with neither of any of the customer's.

    With `reasons`, only an invoice for one of these billing reasons.
    """

    customer: str
    subscription: str | None = None
    schedule: str | None = None
    reasons: frozenset[str] | None = None

    def matches(self, world: World, invoice: StripeObject) -> bool:
        if invoice["customer"] != self.customer:
            return False
        if self.reasons is not None and invoice["billing_reason"] not in self.reasons:
            return False
        if self.schedule is not None:
            schedule = world.store.get("subscription_schedule", self.schedule)
            managed = schedule["subscription"] or schedule["released_subscription"]
            return managed is not None and subscription_of(invoice) == managed
        return self.subscription is None or subscription_of(invoice) == self.subscription


def next_draft(world: World, sought: Sought) -> StripeObject:
    """The first such invoice, made already or as time passes, as it was when it was created.

    Raises `StripeError` when none will come.
    """
    seen = 0
    while True:
        for event in world.new_events[seen:]:
            if event["type"] == "invoice.created" and sought.matches(world, event["data"]["object"]):
                invoice: StripeObject = event["data"]["object"]
                return invoice
        seen = len(world.new_events)
        due = world.clock.next_due()
        if due is None or not _something_goes_on(world, sought):
            raise no_upcoming_invoice(sought.customer)
        world.clock.advance(max(due, world.now))


def no_upcoming_invoice(customer: str) -> StripeError:
    return StripeError(f"No upcoming invoices for customer: {customer}", status=404, code="invoice_upcoming_none")


def forget_pending_items(world: World, customer: str) -> None:
    """What recurs has nothing that is billed once."""
    for item in pending_items(world, customer):
        world.store.remove(item)


def upcoming(world: World, draft: StripeObject) -> StripeObject:
    """The draft as a preview: with all its lines, under an identifier that names no invoice."""
    preview = copied(draft)
    preview_id = f"upcoming_{draft['id']}"
    lines = preview["lines"]["data"]
    if preview["lines"]["has_more"]:
        lines = [copied(line) for line in world.lines[draft["id"]]]
    for line in lines:
        line["invoice"] = preview_id
    preview["lines"] = {"object": "list", "data": lines, "has_more": False, "url": f"/v1/invoices/{preview_id}/lines"}
    return preview | {
        "id": preview_id,
        "auto_advance": False,
        "automatically_finalizes_at": None,
        "billing_reason": "upcoming",
    }


def _something_goes_on(world: World, sought: Sought) -> bool:
    """Whether a subscription still makes invoices, or a schedule will start one."""
    alone = sought.subscription
    if sought.schedule is not None:
        schedule = world.store.get("subscription_schedule", sought.schedule)
        if schedule["status"] == "not_started":
            return True
        alone = schedule["subscription"] or schedule["released_subscription"]
    if alone is not None:
        return world.store.get("subscription", alone)["status"] in GOING_ON
    if sought.schedule is not None:
        return False
    schedules = world.store.where("subscription_schedule", "customer", sought.customer)
    if any(schedule["status"] == "not_started" for schedule in schedules):
        return True
    subscriptions = world.store.where("subscription", "customer", sought.customer)
    return any(subscription["status"] in GOING_ON for subscription in subscriptions)
