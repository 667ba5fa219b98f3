"""
Every write to Stripe by its name, so that an intent can be stored, sent again, and looked for at Stripe.

A new write belongs into OPERATIONS with the way to find out whether it was carried out: an intent older than Stripe's
memory of keys is never sent again before it was looked for (DESIGN §3, rule 5).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from billing.stripe.comparing import shows
from billing.stripe.gateway import StripeDict, listed, retrieve
from billing.stripe.readers import id_of


def _by_intent(path: str, intent_id: str, **params: Any) -> StripeDict | None:
    for found in listed(path, **params):
        if (found.get("metadata") or {}).get("intent_id") == intent_id:
            return found
    return None


def _find_customer(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    """By its address, which may have been changed since; else by Stripe's search, which lags by a minute or so."""
    email = {"email": params["email"]} if params.get("email") else {}
    known_as = _by_intent("/v1/customers", intent_id, **email)
    if known_as is not None or not email:
        return known_as
    return _by_intent("/v1/customers/search", intent_id, query=f"metadata['intent_id']:'{intent_id}'")


def _find_subscription(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    return _by_intent("/v1/subscriptions", intent_id, customer=params["customer"], status="all")


def _find_canceled(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    subscription = retrieve(f"/v1/subscriptions/{target}")
    return subscription if subscription["status"] == "canceled" else None


def _find_product(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    return _by_intent("/v1/products", intent_id)


def _find_price(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    return _by_intent("/v1/prices", intent_id, product=params["product"])


def _find_added_lines(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    """Lines are added all or none, so one that carries the intent stands for the whole call."""
    found = _by_intent(f"/v1/invoices/{target}/lines", intent_id)
    return retrieve(f"/v1/invoices/{target}") if found else None


def _find_finalized(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    invoice = retrieve(f"/v1/invoices/{target}")
    return None if invoice["status"] == "draft" else invoice


def _find_voided(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    invoice = retrieve(f"/v1/invoices/{target}")
    return invoice if invoice["status"] == "void" else None


def _find_invoice(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    return _by_intent("/v1/invoices", intent_id, customer=params["customer"])


def _find_credit_note(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    return _by_intent("/v1/credit_notes", intent_id, invoice=params["invoice"])


def _find_paid(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    """Paid, or being paid by a debit: whoever did that, nothing is left to be charged."""
    invoice = retrieve(f"/v1/invoices/{target}", expand=("payments.data.payment.payment_intent",))
    intents = [(one.get("payment") or {}).get("payment_intent") for one in invoice["payments"]["data"]]
    is_under_way = any(isinstance(one, dict) and one["status"] == "processing" for one in intents)
    return invoice if invoice["status"] == "paid" or is_under_way else None


def _find_uncollectible(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    invoice = retrieve(f"/v1/invoices/{target}")
    return invoice if invoice["status"] == "uncollectible" else None


def _find_refund(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    payment = {name: params[name] for name in ("payment_intent", "charge") if name in params}
    return _by_intent("/v1/refunds", intent_id, **payment)


def _find_submitted(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    dispute = retrieve(f"/v1/disputes/{target}")
    return dispute if dispute["evidence_details"]["submission_count"] else None


def _find_accepted(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    dispute = retrieve(f"/v1/disputes/{target}")
    return dispute if dispute["status"] in ("lost", "warning_closed") else None


def _find_meter(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    """Meters bear no metadata; of active ones there is one for each name of events."""
    active = listed("/v1/billing/meters", status="active")
    return next((meter for meter in active if meter["event_name"] == params["event_name"]), None)


def _find_meter_event(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    """
    By the summary of its own minute on the meter `target`: events cannot be fetched, and identifiers are forgotten
    after a day. Nobody else sends to this meter, and no two events of ours for a customer have the same minute.
    """
    start = int(params["timestamp"])
    summaries = listed(
        f"/v1/billing/meters/{target}/event_summaries",
        customer=params["payload"]["stripe_customer_id"],
        start_time=start,
        end_time=start + 60,
    )
    counted = sum(int(summary["aggregated_value"]) for summary in summaries)
    if counted != int(params["payload"]["value"]):
        return None
    return {**params, "id": params["identifier"]}


def _find_attached(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    method = retrieve(f"/v1/payment_methods/{target}")
    return method if id_of(method.get("customer")) == params["customer"] else None


def _find_as_wanted(path: str) -> "Find":
    """An update was carried out if the object shows everything that it sets; who set it then makes no difference."""

    def find(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
        thing = retrieve(path.format(target=target))
        return thing if shows(thing, params) else None

    return find


def _find_meter_as(status: str) -> "Find":
    def find(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
        meter = retrieve(f"/v1/billing/meters/{target}")
        return meter if meter["status"] == status else None

    return find


Find = Callable[[str, str, StripeDict], StripeDict | None]


@dataclass(frozen=True, slots=True)
class Operation:
    """
    A write. `path` may name {target}; `retrieve_path` names {id}, the object in the answer.

    `find(intent_id, target, params)` looks at Stripe whether it was carried out. `marks` says where the intent's id
    goes: on the object made, on each line, or nowhere. `overwrites` says that it sets what others may have set since:
    when Stripe has forgotten its key and `find` does not find it, only a person has it sent again. That also holds of
    an operation without `find`. Each operation is tried in tests/billing/stripe/test_outbox_operations.py.
    """

    path: str
    retrieve_path: str
    find: Find | None = None
    marks: str = ""
    overwrites: bool = False
    method: str = "post"
    # The field of the answer that names what was made; without a `retrieve_path` that cannot be fetched again.
    named_by: str = "id"

    @property
    def has_key_memory(self) -> bool:
        """Whether Stripe knows a repeat by its key: of POSTs alone (https://docs.stripe.com/api/idempotent_requests)."""
        return self.method == "post"

    @property
    def is_blind(self) -> bool:
        """Whether sending it days later could undo what came after it."""
        return self.overwrites or self.find is None


def _update(path: str, retrieve_path: str) -> Operation:
    return Operation(path, retrieve_path, _find_as_wanted(path), overwrites=True)


OPERATIONS: dict[str, Operation] = {
    "customers.create": Operation("/v1/customers", "/v1/customers/{id}", _find_customer, "object"),
    "customers.update": _update("/v1/customers/{target}", "/v1/customers/{id}"),
    "payment_methods.attach": Operation(
        "/v1/payment_methods/{target}/attach", "/v1/payment_methods/{id}", _find_attached
    ),
    "products.create": Operation("/v1/products", "/v1/products/{id}", _find_product, "object"),
    "products.update": _update("/v1/products/{target}", "/v1/products/{id}"),
    "meters.create": Operation("/v1/billing/meters", "/v1/billing/meters/{id}", _find_meter),
    "meters.deactivate": Operation(
        "/v1/billing/meters/{target}/deactivate", "/v1/billing/meters/{id}", _find_meter_as("inactive")
    ),
    "meters.reactivate": Operation(
        "/v1/billing/meters/{target}/reactivate", "/v1/billing/meters/{id}", _find_meter_as("active")
    ),
    "meter_events.create": Operation("/v1/billing/meter_events", "", _find_meter_event, named_by="identifier"),
    "prices.create": Operation("/v1/prices", "/v1/prices/{id}", _find_price, "object"),
    "prices.update": _update("/v1/prices/{target}", "/v1/prices/{id}"),
    "subscriptions.create": Operation("/v1/subscriptions", "/v1/subscriptions/{id}", _find_subscription, "object"),
    "subscriptions.cancel": Operation(
        "/v1/subscriptions/{target}", "/v1/subscriptions/{id}", _find_canceled, method="delete"
    ),
    "subscriptions.update": _update("/v1/subscriptions/{target}", "/v1/subscriptions/{id}"),
    "invoices.create": Operation("/v1/invoices", "/v1/invoices/{id}", _find_invoice, "object"),
    "credit_notes.create": Operation("/v1/credit_notes", "/v1/credit_notes/{id}", _find_credit_note, "object"),
    "invoices.update": _update("/v1/invoices/{target}", "/v1/invoices/{id}"),
    "invoices.add_lines": Operation("/v1/invoices/{target}/add_lines", "/v1/invoices/{id}", _find_added_lines, "lines"),
    "invoices.void": Operation("/v1/invoices/{target}/void", "/v1/invoices/{id}", _find_voided),
    "invoices.finalize": Operation("/v1/invoices/{target}/finalize", "/v1/invoices/{id}", _find_finalized),
    # What was tried days ago is not tried again by itself: the customer may have paid in another way since.
    "invoices.pay": Operation("/v1/invoices/{target}/pay", "/v1/invoices/{id}", _find_paid, overwrites=True),
    "invoices.mark_uncollectible": Operation(
        "/v1/invoices/{target}/mark_uncollectible", "/v1/invoices/{id}", _find_uncollectible
    ),
    "refunds.create": Operation("/v1/refunds", "/v1/refunds/{id}", _find_refund, "object"),
    "disputes.submit": Operation("/v1/disputes/{target}", "/v1/disputes/{id}", _find_submitted, overwrites=True),
    "disputes.close": Operation("/v1/disputes/{target}/close", "/v1/disputes/{id}", _find_accepted),
}


def marked(operation: Operation, params: StripeDict, intent_id: str) -> StripeDict:
    """The parameters with the intent's id in the metadata of what they create."""

    def mark(thing: StripeDict) -> StripeDict:
        return {**thing, "metadata": {**thing.get("metadata", {}), "intent_id": intent_id}}

    if operation.marks == "object":
        return mark(params)
    if operation.marks == "lines":
        return {**params, "lines": [mark(line) for line in params["lines"]]}
    return params
