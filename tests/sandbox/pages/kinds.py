"""What the pages know of each kind of object: its name, the columns of its list, what one searches and filters by.

A kind that is not declared here has a list too, with the columns that most objects have.
"""

from dataclasses import dataclass

from tests.sandbox.core.store import StripeObject


@dataclass(frozen=True, slots=True)
class Kind:
    """`columns` and `filters` are fields, or paths of fields joined by dots; "name" stands for what it is called."""

    name: str
    title: str
    columns: tuple[str, ...]
    filters: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return "/" + path_name(self.name)


def _kind(name: str, title: str, columns: str, filters: str = "") -> Kind:
    return Kind(name, title, tuple(columns.split()), tuple(filters.split()))


def _group(title: str, kinds: str) -> tuple[str, tuple[str, ...]]:
    return title, tuple(kinds.split())


DECLARED = (
    _kind(
        "customer",
        "Customers",
        "name email balance currency invoice_settings.default_payment_method created",
        "delinquent currency",
    ),
    _kind(
        "subscription",
        "Subscriptions",
        "id status customer items period_end latest_invoice created",
        "status collection_method",
    ),
    _kind(
        "invoice",
        "Invoices",
        "name status customer billing_reason total amount_remaining next_payment_attempt created",
        "status billing_reason",
    ),
    _kind(
        "payment_intent", "Payments", "name status customer payment_method last_payment_error.code created", "status"
    ),
    _kind("charge", "Charges", "name status customer failure_message payment_method amount_refunded created", "status"),
    _kind("refund", "Refunds", "name status charge reason created", "status reason"),
    _kind("dispute", "Disputes", "name status reason charge evidence_details.due_by created", "status reason"),
    _kind("payout", "Payouts", "name status automatic arrival_date created", "status"),
    _kind("balance_transaction", "Balance transactions", "id type amount fee net status source created", "type status"),
    _kind("setup_intent", "Setup intents", "id status customer payment_method created", "status"),
    _kind("payment_method", "Payment methods", "name type customer created", "type"),
    _kind("invoiceitem", "Invoice items", "name customer amount invoice proration date", "proration"),
    _kind(
        "invoice_payment", "Invoice payments", "id status invoice amount_paid payment.payment_intent created", "status"
    ),
    _kind("credit_note", "Credit notes", "name status invoice customer total reason created", "status reason"),
    _kind(
        "customer_balance_transaction",
        "Customer balance transactions",
        "id type customer amount ending_balance invoice created",
        "type",
    ),
    _kind("product", "Products", "name active default_price created", "active"),
    _kind(
        "price",
        "Prices",
        "id product unit recurring.interval recurring.usage_type active created",
        "active type currency",
    ),
    _kind(
        "coupon", "Coupons", "name id percent_off amount_off duration times_redeemed valid created", "valid duration"
    ),
    _kind("promotion_code", "Promotion codes", "code active customer times_redeemed created", "active"),
    _kind("discount", "Discounts", "id customer subscription source start end"),
    _kind("tax_rate", "Tax rates", "name percentage inclusive active jurisdiction created", "active"),
    _kind("billing.meter", "Meters", "name event_name status default_aggregation.formula created", "status"),
    _kind(
        "billing.credit_grant", "Credit grants", "name customer category effective_at expires_at created", "category"
    ),
    _kind("subscription_schedule", "Schedules", "id status customer subscription end_behavior created", "status"),
    _kind("test_helpers.test_clock", "Test clocks", "name status frozen_time created", "status"),
    _kind(
        "checkout.session",
        "Checkout sessions",
        "id status mode customer amount_total payment_status created",
        "status mode",
    ),
    _kind("quote", "Quotes", "id status customer amount_total created", "status"),
    _kind("payment_link", "Payment links", "id active url created", "active"),
    _kind("webhook_endpoint", "Webhook endpoints", "url status enabled_events created", "status"),
)
KINDS = {kind.name: kind for kind in DECLARED}
# Columns of a kind nobody declared, as far as its objects have them.
USUAL_COLUMNS = ("id", "status", "type", "amount", "customer", "active", "created")
# The order of groups on the overview.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    _group("Customers", "customer payment_method customer_balance_transaction tax_id test_helpers.test_clock"),
    _group("Billing", "subscription subscription_schedule invoice invoiceitem credit_note quote"),
    _group(
        "Money",
        "payment_intent charge invoice_payment refund dispute balance_transaction payout setup_intent topup",
    ),
    _group(
        "Catalogue",
        "product price coupon promotion_code discount tax_rate billing.meter billing.credit_grant payment_link "
        "checkout.session",
    ),
)


def kind_of(name: str, example: StripeObject | None = None) -> Kind:
    """The declared kind, or one made up from an example of it."""
    if name in KINDS:
        return KINDS[name]
    columns = tuple(field for field in USUAL_COLUMNS if example is None or field in example)
    filters = tuple(
        field for field in ("status", "type") if example is not None and isinstance(example.get(field), str)
    )
    return Kind(name, plural(name), columns, filters)


def plural(name: str) -> str:
    words = name.replace("test_helpers.", "").replace("_", " ").replace(".", " ")
    ending = "ies" if words.endswith("y") else "es" if words.endswith("s") else "s"
    return (words[:-1] if ending == "ies" else words).capitalize() + ending


def singular(name: str) -> str:
    words = name.replace("test_helpers.", "").replace("_", " ").replace(".", " ")
    return {"invoiceitem": "invoice item", "payment intent": "payment"}.get(words, words)


def path_name(kind: str) -> str:
    """The kind in an address: `test_helpers.test_clock` is at /test-clocks."""
    return plural(kind).lower().replace(" ", "-")
