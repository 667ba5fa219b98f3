"""Orders that came to nothing at Stripe: which nobody took care of, and having one made once more by a person."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from billing.accounting.people import may
from billing.customers.operations import lock_customer
from billing.invoicing.holding import RELEASE
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.orders.operations import OrderedLine, ordered
from billing.invoicing.orders.reissuing import obstacle
from billing.subscriptions.models import BillingPeriod

Kind, State = InvoiceOrder.Kind, InvoiceOrder.State
CAME_TO_NOTHING = (State.REFUSED, State.LOST)
IN_FORCE = (State.INTENDED, State.DRAFTED, State.DROPPED)
# A one-off or a re-issue that nobody wants any more is not shown for ever; usage that nothing else asks for is.
SHOWN = timedelta(days=30)
REASON_CHARS_MAX = 500


class OrderRefused(Exception):
    """An order cannot be made once more as asked; nothing was written. `field` names what to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def waiting_for_a_person(*, now: datetime) -> QuerySet[InvoiceOrder]:
    """Orders that Stripe refused or whose draft was lost there, and that no other one follows."""
    found = InvoiceOrder.objects.filter(state__in=CAME_TO_NOTHING, repeated_by=None)
    later = InvoiceOrder.objects.filter(kind=OuterRef("kind"), state__in=IN_FORCE, pk__gt=OuterRef("pk"))
    followed = Exists(later.filter(replaces=OuterRef("replaces"))) | Exists(later.filter(period=OuterRef("period")))
    is_of_now = Q(kind=Kind.CLOSING) | Q(finished_at__gte=now - SHOWN)
    is_over = Q(kind=Kind.THRESHOLD) & ~Q(period__state=BillingPeriod.State.OPEN)
    return found.filter(is_of_now).exclude(is_over).exclude(followed)


def order_again(*, order_id: int, words: str, actor: str, now: datetime) -> InvoiceOrder:
    """
    Order once more what came to nothing at Stripe, after somebody mended why; it says what the first one said.

    Each is repeated once; said twice it is the same one. The draft is asked for anew, taxed and collected as the latest
    invoice is then. Raises OrderRefused.
    """
    if not may(actor, RELEASE):
        raise OrderRefused("words", f"Having an invoice made once more takes the permission {RELEASE}.")
    if not words.strip():
        raise OrderRefused("words", "Say what was mended, for whoever asks later.")
    with transaction.atomic():
        found = InvoiceOrder.objects.filter(pk=order_id).first()
        if found is None:
            raise OrderRefused("", f"There is no order {order_id}.")
        lock_customer(customer_id=found.customer_id)
        order = InvoiceOrder.objects.select_related("customer", "period", "replaces").get(pk=order_id)
        before = InvoiceOrder.objects.filter(repeats=order).first()
        if before is not None:
            return before
        _require_repeatable(order)
        repeated = InvoiceOrder(
            kind=order.kind,
            customer=order.customer,
            subscription_id=order.subscription_id,
            period=order.period,
            replaces=order.replaces,
            repeats=order,
            amount_minor=order.amount_minor,
            reason=f"{words.strip()} (again: {order.reason})"[:REASON_CHARS_MAX],
            idempotency_key=f"again:{order.pk}",
        )
        lines = [OrderedLine(line.description, line.amount_minor, line.is_taxed) for line in order.lines.all()]
        return ordered(repeated, lines, actor=actor, now=now)


def _require_repeatable(order: InvoiceOrder) -> None:
    if order.state not in CAME_TO_NOTHING:
        raise OrderRefused("words", f"It is {order.get_state_display().lower()}: there is nothing to make once more.")
    others = InvoiceOrder.objects.filter(kind=order.kind, state__in=IN_FORCE).exclude(state=State.DROPPED)
    if order.kind == Kind.CLOSING:
        other = InvoiceOrder.objects.filter(kind=order.kind, period=order.period, state__in=IN_FORCE).first()
    elif order.kind == Kind.REISSUE:
        other = others.filter(replaces=order.replaces).first()
    elif order.kind == Kind.THRESHOLD:
        other = others.filter(period=order.period, state=State.INTENDED).first()
    else:
        other = None
    if other is not None:
        raise OrderRefused("words", f"Order {other.pk} asks for the same: {other.get_state_display().lower()}.")
    if order.kind == Kind.THRESHOLD and order.period is not None and order.period.state != BillingPeriod.State.OPEN:
        raise OrderRefused("words", "The period was invoiced as a whole meanwhile: there is nothing to ask for.")
    if order.replaces is not None and (why_not := obstacle(order.replaces)):
        raise OrderRefused("words", why_not)
