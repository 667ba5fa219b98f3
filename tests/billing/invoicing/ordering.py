"""Orders and requests carried out as the tasks do, until nothing moves; and people who may ask and decide."""

from datetime import timedelta

from django.contrib.auth.models import Permission, User

from billing.invoicing.holding import RELEASE
from billing.invoicing.models import Invoice
from billing.invoicing.orders.carrying_out import carry_out, due_orders
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.requests.carrying_out import carry_out_request, due_requests
from billing.invoicing.requests.operations import APPROVE, PERMISSIONS
from config import roles
from tests.billing.thread import Thread

FINANCE, SECOND, SUCCESS = "user:fiona", "user:frank", "user:sam"
ROUNDS_MAX = 20
ABOUT_INVOICES = frozenset({*PERMISSIONS.values(), APPROVE, RELEASE})


def people() -> None:
    """Fiona and Frank of finance, and Sam of customer success, each with what their role may do about invoices."""
    for actor, role in ((FINANCE, roles.FINANCE), (SECOND, roles.FINANCE), (SUCCESS, roles.CUSTOMER_SUCCESS)):
        user, _ = User.objects.get_or_create(username=actor.removeprefix("user:"), is_staff=True)
        held = [name.split(".")[1] for name in roles.ROLES[role] if name in ABOUT_INVOICES]
        user.user_permissions.set(Permission.objects.filter(codename__in=held))


def carry_out_all(thread: Thread) -> None:
    """Requests, orders, events and closes, until nothing moves any more."""
    for _ in range(ROUNDS_MAX):
        requests = due_requests(now=thread.now, limit=100)
        for request_id in requests:
            carry_out_request(request_id=request_id, now=thread.now)
        orders = due_orders(now=thread.now, limit=100)
        for order_id in orders:
            carry_out(order_id=order_id, now=thread.now)
        if not requests and not orders:
            thread.settle()
            return
        thread.now += timedelta(seconds=1)
        thread.settle()
    raise AssertionError("orders do not come to rest")


def invoice_of(order: InvoiceOrder) -> Invoice:
    order.refresh_from_db()
    assert order.invoice is not None, order.outcome or order.error
    return order.invoice
