"""What the database refuses of metered usage, whoever asks; and the pages."""

import psycopg
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from psycopg import errors

from billing.invoicing.closing import advance_close
from billing.invoicing.metered.models import MeteredEvent, MeteredPrice
from billing.invoicing.models import Invoice, InvoiceClose
from config import roles
from tests.billing.invoicing.metered.test_network import told_of_errors
from tests.billing.invoicing.metered.world import OCT_10, OCT_20, Metered
from tests.billing.thread import SECOND_MONTH

_EVENT = (
    "INSERT INTO billing_meteredevent (period_id, price_id, number, identifier, units, total_units, minute_at, state,"
    " error, made_at, made_by, reason) SELECT {} FROM billing_meteredevent ORDER BY id DESC LIMIT 1"
)


def event(**changes: str) -> str:
    columns = {
        "period_id": "period_id", "price_id": "price_id", "number": "number + 1", "identifier": "'other'",
        "units": "5", "total_units": "total_units + 5", "minute_at": "minute_at - interval '1 minute'",
        "state": "'intended'", "error": "''", "made_at": "now()", "made_by": "'x'", "reason": "''",
    } | changes  # fmt: skip
    return _EVENT.format(", ".join(columns.values()))


# The statement and the rule that refuses it, also to the owner of the tables: while the period is open.
WHILE_OPEN = [
    ("UPDATE billing_meteredevent SET units = 1", "billing_meteredevent_terms"),
    ("UPDATE billing_meteredevent SET identifier = 'x'", "billing_meteredevent_terms"),
    ("UPDATE billing_meteredevent SET state = 'intended', answered_at = NULL", "billing_meteredevent_ends"),
    ("UPDATE billing_meteredevent SET state = 'not_counted'", "billing_meteredevent_says_why"),
    ("DELETE FROM billing_meteredevent", "billing_meteredevent_kept"),
    ("UPDATE billing_meteredprice SET unit_minor = 100", "billing_meteredprice_append_only"),
    ("DELETE FROM billing_meteredprice", "billing_meteredprice_kept"),
    (event(number="number"), "billing_meteredevent_adds_up"),
    (event(total_units="total_units"), "billing_meteredevent_adds_up"),
    (event(state="'accepted'"), "billing_meteredevent_adds_up"),
    (event(units="-total_units - 5", total_units="-5"), "billing_meteredevent_total"),
    (event(minute_at="minute_at"), "billing_meteredevent_minute"),
    (event(minute_at="minute_at - interval '40 days'"), "billing_meteredevent_of_its_period"),
    (event(minute_at="minute_at - interval '90 seconds'"), "billing_meteredevent_of_its_period"),
    (
        "UPDATE billing_planversion SET usage_delivery = 'invoice_lines'",
        "billing_planversion_terms",
    ),
]
AFTER_THE_CLOSE = [
    (event(), "billing_meteredevent_before_comparison"),
    ("UPDATE billing_meteredsummary SET stripe_units = 0", "billing_meteredsummary_append_only"),
    ("UPDATE billing_invoiceline SET metered_price_id = NULL", "billing_invoiceline_written"),
]
# Said before the comparison of the next close: its line and what was sent are not the same.
_COMPARED = (
    "INSERT INTO billing_invoiceclosestep (close_id, step, recorded_at, detail)"
    " SELECT id, 'verified', now(), '' FROM billing_invoiceclose"
)
NOT_THE_SAME = (_COMPARED, "billing_invoiceclose_metered")


def signed_in(role: str) -> Client:
    user = User.objects.create(username=role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def rule(connection: psycopg.Connection, statement: str) -> str | None:
    """The name of the rule that refuses a statement, or that the role lacks the right. Nothing is kept."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except errors.IntegrityError as refusal:
        return refusal.diag.constraint_name
    except errors.InsufficientPrivilege:
        return "no right"
    return None


def assert_refused(attacks: list[tuple[str, str]], *connections: psycopg.Connection) -> None:
    for connection in connections:
        found = {statement: rule(connection, statement) for statement, _ in attacks}
        assert {statement: name for statement, name in attacks if found[statement] not in (name, "no right")} == {}


def test_the_database_refuses_and_the_pages_show(
    metered: Metered,
    owner_connection: psycopg.Connection,
    app_connection: psycopg.Connection,
) -> None:
    """One month for all: attacks while it is open, and after its close; an event that did not count on its page."""
    metered.subscribe()
    metered.settle()
    metered.at(OCT_10)
    metered.use(1_000_000, at=OCT_10)
    price = MeteredPrice.objects.get(rate__meter_code="input_tokens")
    metered.sandbox.alter(price.stripe_meter_id, customer_mapping={"type": "by_id", "event_payload_key": "somebody"})
    metered.send()
    told_of_errors(metered)
    mapping = {"type": "by_id", "event_payload_key": "stripe_customer_id"}
    metered.sandbox.alter(price.stripe_meter_id, customer_mapping=mapping)
    lost = MeteredEvent.objects.get()
    again = reverse("admin:billing_meteredevent_again", args=[lost.pk])
    roles.sync_roles()
    assert signed_in(roles.CUSTOMER_SUCCESS).get(again).status_code == 403
    finance = signed_in(roles.FINANCE)
    assert "<strong>300</strong> increments" in finance.get(again).content.decode()
    assert finance.post(again, {"reason": ""}).status_code == 422
    metered.at(OCT_20)
    metered.send()
    assert_refused(WHILE_OPEN, owner_connection, app_connection)
    metered.use(1_000_000, at=OCT_20)
    metered.at(SECOND_MONTH)
    metered.settle(is_closing=False)
    assert advance_close(close_id=InvoiceClose.objects.get().pk, now=metered.now) == "accrued"
    assert_refused([NOT_THE_SAME], owner_connection, app_connection)  # 6.00 are written, and 3.00 were sent
    metered.settle()
    assert_refused(AFTER_THE_CLOSE, owner_connection, app_connection)

    invoice = Invoice.objects.get(billing_reason="subscription_cycle")
    page = finance.get(reverse("admin:billing_invoice_change", args=[invoice.pk])).content.decode()
    assert "brought by Stripe&#x27;s meter" in page or "brought by Stripe's meter" in page
    assert lost.identifier in page
    shown = finance.get(reverse("admin:billing_meteredevent_change", args=[lost.pk])).content.decode()
    assert "sent again under a new identifier" in shown
    assert "Customer mapping key somebody" in shown
    for name in ("meteredevent", "meteredprice"):
        assert finance.get(reverse(f"admin:billing_{name}_changelist")).status_code == 200
    assert finance.get(reverse("admin:billing_meteredprice_change", args=[price.pk])).status_code == 200
