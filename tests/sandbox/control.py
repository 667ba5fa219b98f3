"""The sandbox's own endpoints under /_sandbox: clock, faults, and a look at what happened. JSON in, JSON out."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from tests.sandbox.core.clock import ClockBackwards, iso, parse_moment
from tests.sandbox.core.faults import UnknownFault
from tests.sandbox.pages.actions import from_own_page
from tests.sandbox.payment_controls import authenticate_intent, choose_payout_account, renew_card_of
from tests.sandbox.wire import Request, Response, json_response
from tests.sandbox.world import AfterLastRetry, InvoiceAfterLastRetry, World

if TYPE_CHECKING:
    from tests.sandbox.server import Sandbox

Body = dict[str, Any]


class BadControl(ValueError):
    """A control request that cannot be carried out; its text is for people."""


class Control:
    """Answers /_sandbox/…"""

    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._routes: dict[str, Callable[[Body], Any]] = {
            "POST /_sandbox/reset": self._reset,
            "GET /_sandbox/clock": self._clock,
            "POST /_sandbox/clock": self._move_clock,
            "GET /_sandbox/faults": self._list_faults,
            "POST /_sandbox/faults": self._add_fault,
            "DELETE /_sandbox/faults": self._clear_faults,
            "POST /_sandbox/faults/release": self._release,
            "GET /_sandbox/held": self._held,
            "GET /_sandbox/state": self._state,
            "GET /_sandbox/counts": self._counts,
            "GET /_sandbox/cpu": self._cpu,
            "GET /_sandbox/deliveries": self._list_deliveries,
            "POST /_sandbox/deliveries/resend": self._resend,
            "GET /_sandbox/problems": self._problems,
            "GET /_sandbox/idle": self._idle,
            "POST /_sandbox/alter": self._alter,
            "POST /_sandbox/authenticate": lambda body: authenticate_intent(self._world, body),
            "POST /_sandbox/payout_account": lambda body: choose_payout_account(self._world, body),
            "POST /_sandbox/renew_card": lambda body: renew_card_of(self._world, body),
        }

    def answer(self, request: Request) -> Response:
        if request.method != "GET" and not from_own_page(request):
            return json_response({"error": "a web page of another origin may not steer the sandbox"}, 403)
        route = self._routes.get(f"{request.method} {request.path}")
        if route is None:
            known = sorted(self._routes)
            return json_response({"error": f"no {request.method} {request.path}", "known": known}, 404)
        try:
            body = msgspec.json.decode(request.body) if request.body else {}
            if not isinstance(body, dict):
                raise BadControl("the body is to be a JSON object")
            return json_response(route(body))
        except (BadControl, UnknownFault, ClockBackwards, ValueError, RecursionError) as error:
            return json_response({"error": str(error)}, 400)

    @property
    def _world(self) -> World:
        return self._sandbox.application.world

    def _reset(self, body: Body) -> Body:
        application = self._sandbox.application
        settings = application.world.settings
        if "after_last_retry" in body:
            if body["after_last_retry"] not in get_args(AfterLastRetry):
                raise BadControl(f"after_last_retry is one of {', '.join(get_args(AfterLastRetry))}")
            settings = replace(settings, after_last_retry=body["after_last_retry"])
        if "invoice_after_last_retry" in body:
            if body["invoice_after_last_retry"] not in get_args(InvoiceAfterLastRetry):
                raise BadControl(f"invoice_after_last_retry is one of {', '.join(get_args(InvoiceAfterLastRetry))}")
            settings = replace(settings, invoice_after_last_retry=body["invoice_after_last_retry"])
        if "late_balance_transactions" in body:
            settings = replace(settings, late_balance_transactions=body["late_balance_transactions"] in (True, "true"))
        now = parse_moment(body["now"]) if "now" in body else application.world.now
        self._sandbox.reset(now=now, settings=settings)
        return self._clock(body)

    def _clock(self, body: Body) -> Body:
        clock = self._sandbox.application.world.clock
        due = clock.next_due()
        return {"now": iso(clock.now), "unix": clock.now, "next_due": iso(due) if due is not None else None}

    def _move_clock(self, body: Body) -> Body:
        if "now" not in body:
            raise BadControl('give {"now": ISO 8601 with offset, or Unix seconds}')
        self._sandbox.application.world.clock.advance(parse_moment(body["now"]))
        return self._clock(body)

    def _list_faults(self, body: Body) -> list[Body]:
        return [fault.as_json() for fault in self._sandbox.application.world.faults.active()]

    def _add_fault(self, body: Body) -> Body:
        return self._sandbox.application.world.faults.add(body).as_json()

    def _clear_faults(self, body: Body) -> Body:
        self._sandbox.application.world.faults.clear()
        return {"active": 0}

    def _release(self, body: Body) -> Body:
        return {"released": self._sandbox.release()}

    def _held(self, body: Body) -> list[Body]:
        return [{"call": request.call, "mode": request.mode} for request in self._sandbox.held]

    def _state(self, body: Body) -> Body:
        """Every object by its kind, and what else there is to know."""
        world = self._sandbox.application.world
        return {
            "now": iso(world.now),
            "counts": dict(world.store.counts()),
            **{kind: world.store.all(kind) for kind, _ in world.store.counts()},
            "lines": sum(len(lines) for lines in world.lines.values()),
            "idempotency_keys": len(world.idempotency),
            "recent_requests": [
                {"id": past.id, "at": past.at, "call": f"{past.method} {past.path}", "status": past.status}
                for past in world.history.requests
            ],
        }

    def _counts(self, body: Body) -> dict[str, int]:
        """The number of objects of each kind."""
        return dict(self._sandbox.application.world.store.counts())

    def _cpu(self, body: Body) -> float:
        """Seconds of CPU this process has used."""
        return time.process_time()

    def _list_deliveries(self, body: Body) -> list[Body]:
        return [delivery.as_json() for delivery in self._sandbox.deliveries.log]

    def _resend(self, body: Body) -> Body:
        """Deliver an event once more, to every endpoint that wants it or the one named."""
        unknown = sorted(body.keys() - {"event", "endpoint"})
        if unknown or not isinstance(body.get("event"), str):
            raise BadControl('give {"event": "evt_…"}, and with {"endpoint": "we_…"} only there')
        try:
            return {"deliveries": self._sandbox.deliveries.resend(body["event"], body.get("endpoint"))}
        except KeyError as error:
            raise BadControl(f"there is no {error.args[0]}") from None

    def _problems(self, body: Body) -> list[str]:
        return self._sandbox.application.world.problems

    def _idle(self, body: Body) -> bool:
        return self._sandbox.deliveries.idle

    def _alter(self, body: Body) -> Body:
        """Plant a fault: change an object or an invoice line behind everybody's back. No event, no sums redone."""
        object_id, changes = body.get("id"), body.get("set")
        if not isinstance(object_id, str) or not isinstance(changes, dict):
            raise BadControl('give {"id": "in_… or il_… or any other", "set": {field: value}}')
        world = self._sandbox.application.world
        if re.match("il_", object_id):
            lines = (line for lines in world.lines.values() for line in lines)
            thing = next((line for line in lines if line["id"] == object_id), None)
        else:
            thing = world.store.by_id(object_id)
        if thing is None:
            raise BadControl(f"there is no {object_id}")
        thing.update(changes)
        return thing
