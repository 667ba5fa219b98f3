"""An invoice of a thousand lines: few calls, every line compared, and finalised as any other."""

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.invoicing.closing import LINES_PER_CALL_MAX
from billing.invoicing.orders.carrying_out import carry_out
from billing.invoicing.orders.operations import OrderedLine, order_one_off
from tests.billing.invoicing.ordering import invoice_of
from tests.billing.thread import Thread

LINES = 1_000


def test_are_pushed_in_as_few_calls_as_stripe_takes_and_compared_one_by_one(thread: Thread) -> None:
    """OM#3737: Stripe's limit of lines. It is of one call (250 elements of an array), and not of an invoice."""
    thread.subscribe()
    thread.settle()
    lines = [OrderedLine(f"Line {number} " + "x" * 200, number) for number in range(1, LINES + 1)]
    customer = Customer.objects.get()
    with transaction.atomic():
        lock_customer(customer_id=customer.pk)
        order = order_one_off(
            customer=customer, lines=lines, reason="a test", actor="user:x", idempotency_key="many", now=thread.now
        )
    with CaptureQueriesContext(connection) as queries:
        carry_out(order_id=order.pk, now=thread.now)
    assert len(queries) < 60
    thread.settle()

    invoice = invoice_of(order)
    assert (invoice.status, invoice.total_minor) == ("paid", LINES * (LINES + 1) // 2)
    assert invoice.lines.filter(stripe_line_id__isnull=False).count() == LINES
    assert [line.amount_minor for line in invoice.lines.order_by("position")] == list(range(1, LINES + 1))
    assert thread.calls_counted(f"POST /v1/invoices/{invoice.stripe_invoice_id}/add_lines") == -(
        -LINES // LINES_PER_CALL_MAX
    )
