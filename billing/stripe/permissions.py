"""
What a restricted key (rk_…) of ours has to be allowed at Stripe, and how to find out what it is allowed.

Every kind of object that our code reads or writes is named here once. `manage.py stripe_check` asks for one page of
each, and, where we write, changes an object that does not exist: Stripe looks at permissions first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from billing.stripe import gateway
from billing.stripe.errors import StripeForbidden, StripeRefused
from billing.stripe.models import OutboxIntent
from billing.stripe.writes import OPERATIONS

# No id of Stripe's looks like this.
NOBODY = "permission_check_of_nothing"


@dataclass(frozen=True, slots=True)
class Need:
    """
    A kind of object, whether we write it, and where it is asked for with which parameters to see. One with `nothing`
    cannot be read: it is sent these parameters, which make nothing.
    """

    name: str
    path: str
    writes: bool
    asked: Mapping[str, object] = field(default_factory=lambda: {"limit": 1})
    nothing: Mapping[str, object] = field(default_factory=dict)


NEEDS = (
    Need("Balance transactions", "/v1/balance_transactions", writes=False),
    Need("Balance", "/v1/balance", writes=False, asked={}),
    Need("Charges", "/v1/charges", writes=False),
    Need("Coupons", "/v1/coupons", writes=False),
    Need("Refunds", "/v1/refunds", writes=True),
    Need("Credit notes", "/v1/credit_notes", writes=True),
    Need("Customers", "/v1/customers", writes=True),
    Need("Disputes", "/v1/disputes", writes=True),
    Need("Events", "/v1/events", writes=False),
    Need("Events of API v2", "/v2/core/events", writes=False),
    Need("Event destinations", "/v2/core/event_destinations", writes=True),
    Need("Invoices", "/v1/invoices", writes=True),
    Need("Invoice payments", "/v1/invoice_payments", writes=False),
    Need("Meters", "/v1/billing/meters", writes=True),
    Need(
        "Meter events",
        "/v1/billing/meter_events",
        writes=True,
        nothing={"event_name": NOBODY, "payload": {"stripe_customer_id": NOBODY, "value": "0"}},
    ),
    Need("Payment intents", "/v1/payment_intents", writes=False),
    Need("Payment methods", "/v1/payment_methods", writes=True),
    Need("Payouts", "/v1/payouts", writes=False),
    Need("Prices", "/v1/prices", writes=True),
    Need("Products", "/v1/products", writes=True),
    Need("Promotion codes", "/v1/promotion_codes", writes=False),
    Need("Schedules", "/v1/subscription_schedules", writes=False),
    Need("Setup intents", "/v1/setup_intents", writes=False),
    Need("Subscriptions", "/v1/subscriptions", writes=True),
    Need("Tax rates", "/v1/tax_rates", writes=False),
    Need("Webhook endpoints", "/v1/webhook_endpoints", writes=True),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a key may do with one kind of object; what it lacks is said in `missing`, empty where nothing is."""

    need: Need
    missing: tuple[str, ...]


def check(need: Need) -> Found:
    """Ask Stripe what the configured key may do with a kind of object. Raises StripeUnavailable without an answer."""
    if need.nothing:
        lacking = _lacks("post", need.path, dict(need.nothing), "write")
        return Found(need, (lacking,) if lacking else ())
    missing = [_lacks("get", need.path, dict(need.asked), "read")]
    if need.writes:
        missing.append(_lacks("post", f"{need.path}/{NOBODY}", {}, "write"))
    return Found(need, tuple(one for one in missing if one))


def _lacks(method: str, path: str, params: dict[str, object], what: str) -> str:
    try:
        gateway.request(method, path, params)
    except StripeForbidden as forbidden:
        return forbidden.permission or what
    except StripeRefused:
        return ""  # there is no such object, which it was allowed to be told
    return ""


def unnamed_operations() -> list[str]:
    """Writes of ours that no kind above stands for; a test wants none."""
    written = tuple(need.path for need in NEEDS if need.writes)
    return sorted(name for name, operation in OPERATIONS.items() if not operation.path.startswith(written))


def forbidden_intents() -> int:
    """How many unfinished writes the key was not allowed when they were last tried."""
    return OutboxIntent.objects.filter(state="intended", error__startswith="The Stripe key lacks").count()
