"""Meter events of /v2, and the error reports that thin events bring."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import KEY, VERSION, Account, sdk
from tests.stripe_sandbox.test_meters import DAY, START, meter_of, total_of

ERROR_REPORT = "v1.billing.meter.error_report_triggered"
NO_METER = "v1.billing.meter.no_meter_found"
NOW = "2026-10-01T00:00:00Z"


def client(sandbox: SandboxProcess, key: str = KEY) -> Any:
    return sdk(sandbox, key=key)


@pytest.fixture
def v2(account: Account) -> Any:
    return client(account.sandbox).v2


class Listener:
    """A webhook endpoint that keeps what it gets: bodies and signatures."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, str]] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.received.append((body, self.headers["Stripe-Signature"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing: a test's failure tells enough."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/thin"


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    thread = Thread(target=listener.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield listener
    listener.server.shutdown()
    listener.server.server_close()
    thread.join()


def destination(v2: Any, listener: Listener, *events: str, **fields: Any) -> Any:
    return v2.core.event_destinations.create(
        {
            "name": "Meter errors",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": list(events or (ERROR_REPORT, NO_METER)),
            "webhook_endpoint": {"url": listener.url},
            "include": ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
            **fields,
        }
    )


def stream(account: Account, *events: dict[str, Any]) -> None:
    """Send `events` as a session of the stream."""
    session = client(account.sandbox).v2.billing.meter_event_session.create()
    client(account.sandbox, session.authentication_token).v2.billing.meter_event_stream.create({"events": list(events)})


def event(customer: Any, value: str = "1", **fields: Any) -> dict[str, Any]:
    return {"event_name": "calls", "payload": {"stripe_customer_id": customer.id, "value": value}, **fields}


def codes(v2: Any) -> list[list[str]]:
    """The error codes of each report, newest first."""
    reports = v2.core.events.list({"types": [ERROR_REPORT, NO_METER]}).data
    return [[error["code"] for error in report.data["reason"]["error_types"]] for report in reports]


def test_meter_event_of_v2(account: Account, v2: Any) -> None:
    meter = meter_of(account)
    customer = account.customer()

    made = v2.billing.meter_events.create(event(customer, "25", identifier="a", timestamp="2026-09-30T23:00:00.000Z"))

    assert (made.object, made.identifier, made.timestamp) == ("v2.billing.meter_event", "a", "2026-09-30T23:00:00.000Z")
    assert total_of(account, meter, customer, START - DAY) == 25


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"event_name": "nothing"}, "no_meter"),
        ({"identifier": "taken"}, "duplicate_meter_event"),
        ({"timestamp": "2026-08-01T00:00:00Z"}, "timestamp_too_far_in_past"),
        ({"timestamp": "2026-10-01T00:06:00Z"}, "timestamp_in_future"),
        ({"payload": {"value": "1"}}, "meter_event_no_customer_defined"),
        ({"payload": {"value": "1", "stripe_customer_id": "cus_none"}}, "meter_event_customer_not_found"),
    ],
)
def test_meter_event_of_v2_is_checked_at_once(account: Account, v2: Any, change: dict[str, Any], code: str) -> None:
    meter_of(account)
    customer = account.customer()
    v2.billing.meter_events.create(event(customer, identifier="taken"))

    with pytest.raises(stripe.InvalidRequestError) as refused:
        v2.billing.meter_events.create(event(customer) | change)

    assert refused.value.code == code
    assert codes(v2) == []


@pytest.mark.parametrize("value", ["1.5", "ten", ""])
def test_value_is_a_whole_number(account: Account, v2: Any, value: str) -> None:
    meter = meter_of(account)
    customer = account.customer()

    account.api.billing.meter_events.create(event(customer, value))  # /v1 takes it and reports it

    assert codes(v2) == [["meter_event_invalid_value"]]
    assert total_of(account, meter, customer) == 0


def test_unknown_customer_is_reported(account: Account, v2: Any) -> None:
    meter = meter_of(account)
    payload = {"stripe_customer_id": "cus_none", "value": "1"}

    account.api.billing.meter_events.create({"event_name": "calls", "identifier": "x", "payload": payload})

    report = v2.core.events.list({"object_id": meter.id}).data[0]
    assert report.type == ERROR_REPORT
    assert report.related_object["id"] == meter.id
    reason = report.data["reason"]
    assert reason["error_count"] == 1
    assert reason["error_types"][0]["code"] == "meter_event_customer_not_found"
    assert reason["error_types"][0]["sample_errors"][0]["request"]["identifier"] == "x"


def test_stream_takes_what_counts_and_reports_the_rest(account: Account, v2: Any) -> None:
    meter = meter_of(account)
    customer = account.customer()

    stream(
        account,
        event(customer, "2", identifier="a"),
        event(customer, "2", identifier="a"),  # dropped without a word
        event(customer, "3"),
        event(customer, "x"),
        event(customer, event_name="nothing"),
        event(customer, timestamp="2026-08-01T00:00:00Z"),
    )

    assert total_of(account, meter, customer) == 5
    assert sorted(codes(v2)) == [["meter_event_invalid_value", "timestamp_too_far_in_past"], ["no_meter"]]


def test_session_of_the_stream_expires(account: Account) -> None:
    meter_of(account)
    customer = account.customer()
    session = client(account.sandbox).v2.billing.meter_event_session.create()
    assert session.expires_at == "2026-10-01T00:15:00.000Z"

    account.sandbox.advance("2026-10-01T00:15:00Z")

    with pytest.raises(stripe.TemporarySessionExpiredError):
        client(account.sandbox, session.authentication_token).v2.billing.meter_event_stream.create(
            {"events": [event(customer)]}
        )
    with pytest.raises(stripe.AuthenticationError):
        client(account.sandbox).v2.billing.meter_event_stream.create({"events": [event(customer)]})


def test_adjustment_of_v2(account: Account, v2: Any) -> None:
    meter = meter_of(account)
    customer = account.customer()
    v2.billing.meter_events.create(event(customer, identifier="wrong"))

    adjustment = v2.billing.meter_event_adjustments.create(
        {"event_name": "calls", "type": "cancel", "cancel": {"identifier": "wrong"}}
    )

    assert adjustment.object == "v2.billing.meter_event_adjustment"
    assert total_of(account, meter, customer) == 0


def test_repeated_request_is_answered_from_its_key(account: Account, v2: Any) -> None:
    meter = meter_of(account)
    customer = account.customer()
    options = {"idempotency_key": "once"}

    first = v2.billing.meter_events.create(event(customer, identifier="a"), options)
    again = v2.billing.meter_events.create(event(customer, identifier="a"), options)

    assert first.to_dict() == again.to_dict()
    assert total_of(account, meter, customer) == 1


def test_report_is_delivered_and_fetched(account: Account, v2: Any, listener: Listener) -> None:
    made = destination(v2, listener)
    meter = meter_of(account)

    stream(account, {"event_name": "calls", "payload": {"value": "1"}}, {"event_name": "x", "payload": {}})
    account.sandbox.wait_until_idle()

    api = client(account.sandbox)
    secret = made.webhook_endpoint.signing_secret
    notifications = {
        notification.type: notification
        for notification in (api.parse_event_notification(*parts, secret) for parts in listener.received)
    }
    assert sorted(notifications) == [ERROR_REPORT, NO_METER]
    report = notifications[ERROR_REPORT]
    assert isinstance(report, stripe.events.V1BillingMeterErrorReportTriggeredEventNotification)
    assert report.fetch_related_object().id == meter.id
    fetched = report.fetch_event()
    assert fetched.data.reason.error_types[0].code == "meter_event_no_customer_defined"
    assert fetched.data.reason.error_types[0].sample_errors[0].error_message == (
        "Customer mapping key stripe_customer_id not found in payload."
    )


def test_destination_gets_only_what_it_asked_for(account: Account, v2: Any, listener: Listener) -> None:
    made = destination(v2, listener, NO_METER)
    stream(account, {"event_name": "x", "payload": {}})
    v2.core.event_destinations.disable(made.id)
    stream(account, {"event_name": "x", "payload": {}})
    account.sandbox.wait_until_idle()

    assert len(listener.received) == 1
    assert v2.core.event_destinations.enable(made.id).status == "enabled"
    ping = v2.core.event_destinations.ping(made.id)
    account.sandbox.wait_until_idle()
    assert ping.type == "v2.core.event_destination.ping"
    assert len(listener.received) == 2


def test_destination_of_snapshots(account: Account, v2: Any, listener: Listener) -> None:
    made = destination(v2, listener, "customer.created", event_payload="snapshot")

    customer = account.api.customers.create({})
    stream(account, {"event_name": "x", "payload": {}})
    account.sandbox.wait_until_idle()

    assert made.snapshot_api_version == VERSION
    (sent,) = listener.received
    told = stripe.Webhook.construct_event(*sent, made.webhook_endpoint.signing_secret)
    assert told.data.object.id == customer.id


def test_life_of_an_event_destination(account: Account, v2: Any, listener: Listener) -> None:
    made = destination(v2, listener, metadata={"team": "billing"})

    changed = v2.core.event_destinations.update(made.id, {"name": "Errors", "metadata": {"team": None, "at": "night"}})

    assert made.webhook_endpoint.url == listener.url
    assert (changed.name, changed.metadata.to_dict()) == ("Errors", {"at": "night"})
    read = v2.core.event_destinations.retrieve(made.id)
    assert (read.webhook_endpoint.url, read.webhook_endpoint.signing_secret) == (None, None)
    assert [item.id for item in v2.core.event_destinations.list().data] == [made.id]
    v2.core.event_destinations.delete(made.id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v2.core.event_destinations.retrieve(made.id)
    assert (refused.value.http_status, refused.value.code) == (404, "not_found")


def test_pages_of_thin_events(account: Account, v2: Any) -> None:
    for place in range(5):
        stream(account, {"event_name": f"x{place}", "payload": {}})

    page = v2.core.events.list({"limit": 2})

    assert len(page.data) == 2
    assert len(list(page.auto_paging_iter())) == 5
    assert v2.core.events.list({"created": {"gt": NOW}}).data == []
    assert len(v2.core.events.list({"created": {"gte": NOW}}).data) == 5


def test_thin_events_are_kept_for_thirty_days(account: Account, v2: Any) -> None:
    stream(account, {"event_name": "x", "payload": {}})
    event_id = v2.core.events.list().data[0].id

    account.sandbox.advance(START + 30 * DAY + 1)

    assert v2.core.events.list().data == []
    with pytest.raises(stripe.InvalidRequestError):
        v2.core.events.retrieve(event_id)


def test_unknown_field_is_refused(account: Account, v2: Any) -> None:
    meter_of(account)

    with pytest.raises(stripe.InvalidRequestError, match="unknown parameter"):
        v2.billing.meter_events.create({**event(account.customer()), "quantity": 3})
