"""
Usage over HTTP, for services and people, to read: how much, by which meters, from which events.

A service's key needs the scope usage:read; a person who is signed in needs to be staff who may see usage. Each answer
takes a constant number of queries. What became of usage in money is told to a key that has billing:read as well.
"""

import re
from typing import Any, ClassVar
from urllib.parse import urlencode

import msgspec
from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.views import APIView

from metering import queries
from metering.api import bodies, parameters
from metering.api import usage_schema as described
from metering.api.refusals import BadParameter, NotThere, Refusal
from metering.events import TEXT_LIMITS
from metering.spans import MAX_SPANS, WINDOW_SIZES, WindowSize

MONEY_SCOPE = "billing:read"
_KEY = re.compile(r"[0-9a-f]{32}", re.ASCII)
_STATES = ("counted", "excluded", "void", "waiting", "unmetered")


class UsageView(APIView):
    """What all have in common: who may read, which parameters there are, and how a refusal is told."""

    required_scopes: ClassVar = {"GET": "usage:read"}
    permission: ClassVar[str]
    takes: ClassVar[frozenset[str]] = frozenset()
    takes_prefix: ClassVar[str] = ""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.auth is None and not request.user.has_perm(self.permission):
            self.permission_denied(request, message="Your role may not see this usage.")
        parameters.require_known(request.query_params, self.takes, prefix=self.takes_prefix)

    def handle_exception(self, exc: Exception) -> Any:
        return exc.answer() if isinstance(exc, Refusal) else super().handle_exception(exc)


def _json(body: bodies.Body) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(body), content_type="application/json")


class CustomerUsage(UsageView):
    permission = "metering.view_aggregationwindow"
    takes = frozenset({"meter", "from", "to", "window", "time_zone", "group_by"})
    takes_prefix = parameters.WHERE

    @described.customer_usage
    def get(self, request: Request, customer_key: str) -> HttpResponse:
        query = request.query_params
        _require_subject(customer_key)
        meter = _meter(parameters.required_text(query, "meter", "Name the meter; /api/v1/meters lists them."))
        zone = parameters.zone(query)
        start, end = parameters.required_span(query, zone)
        size: WindowSize = parameters.choice(query, "window", WINDOW_SIZES, default="day")  # type: ignore[assignment]
        group_by, where = parameters.group_by(query, meter.dimensions), parameters.where(query, meter.dimensions)
        try:
            rows = queries.usage(
                customer_key,
                meter.code,
                start,
                end,
                window_size=size,
                time_zone=zone.key,
                group_by=group_by,
                where=where,
            )
        except queries.InvalidRange as error:
            raise BadParameter("window", str(error)) from None
        if len(rows) > MAX_SPANS:
            raise _too_many_rows(size)
        return _json(
            {
                "customer_key": customer_key,
                "meter": meter.code,
                "aggregation": meter.aggregation,
                "unit": meter.unit,
                "from": bodies.instant_text(start),
                "to": bodies.instant_text(end),
                "window": size,
                "time_zone": zone.key,
                "group_by": group_by,
                "aggregated_through": bodies.instant_text(queries.aggregated_through()),
                "rows": [bodies.usage_row_body(row) for row in rows],
            }
        )


def _too_many_rows(size: str) -> BadParameter:
    return BadParameter(
        "window",
        f"The answer would have over {MAX_SPANS:,} rows. Ask for a shorter range, a window larger than {size}, "
        "fewer dimensions in group_by, or values of one with where.",
    )


def _require_subject(customer_key: str) -> None:
    if not parameters.is_text(customer_key, limit=TEXT_LIMITS["subject"]) or not queries.is_subject(customer_key):
        raise NotThere("customer_key", f"No usage is recorded for a customer {customer_key[:128]!r}. Check the key.")


def _meter(code: str) -> queries.MeterInUse:
    meter = queries.meters_in_use().get(code)
    if meter is None:
        raise NotThere("meter", f"There is no meter {code!r}; /api/v1/meters lists them.")
    return meter


class Meters(UsageView):
    permission = "metering.view_meter"

    @described.meters
    def get(self, request: Request) -> HttpResponse:
        return _json({"meters": [bodies.meter_body(meter) for meter in queries.meter_versions()]})


class UsageEvents(UsageView):
    permission = "metering.view_usageevent"
    takes = frozenset(
        {"customer", "type", "source", "id", "meter", "state", "from", "to", "time_zone", "limit", "cursor"}
    )

    @described.usage_events
    def get(self, request: Request) -> HttpResponse:
        query = request.query_params
        start, end = parameters.span(query, parameters.zone(query))
        meter = parameters.text(query, "meter")
        if meter:
            _meter(meter)
        wanted = queries.EventFilter(
            customer_key=parameters.text(query, "customer", limit=TEXT_LIMITS["subject"]),
            event_type=parameters.text(query, "type", limit=TEXT_LIMITS["type"]),
            source=parameters.text(query, "source"),
            event_id=parameters.text(query, "id"),
            meter_code=meter,
            start=start,
            end=end,
            state=parameters.choice(query, "state", _STATES) or None,  # type: ignore[arg-type]  # one of _STATES
        )
        asked = {name: value for name, value in query.dict().items() if name not in ("cursor", "limit")}
        page = queries.find_events(wanted, limit=parameters.limit(query), after=parameters.place_of(query, of=asked))
        following = None
        if page.next is not None:
            cursor = parameters.cursor_after(page.next, of=asked)
            following = request.build_absolute_uri(f"{request.path}?{urlencode({**query.dict(), 'cursor': cursor})}")
        return _json(
            {
                "events": [bodies.event_body(row, url=_event_url(request, row.key)) for row in page.rows],
                "next": following,
                "looked_back_to": bodies.instant_text(page.looked_back_to),
            }
        )


def _event_url(request: Request, key: str) -> str:
    return str(request.build_absolute_uri(reverse("usage-api:event", args=[key])))


def _life(request: Request, key: str, *, field: str, named: str) -> HttpResponse:
    life = queries.life_of_event(key)
    if life is None:
        raise NotThere(
            field, f"No event {named} is kept here: it was never accepted, or its month lies in the archive."
        )
    sees_money = request.auth is not None and request.auth.allows(MONEY_SCOPE)  # type: ignore[union-attr]  # ApiKey
    stages = [
        [
            stage
            for stage in living.stages
            if not stage.permission or sees_money or (request.auth is None and request.user.has_perm(stage.permission))
        ]
        for living in life.pairs
    ]
    return _json(bodies.life_body(life, url=_event_url(request, key), stages=stages))


class UsageEventLife(UsageView):
    permission = "metering.view_usageevent"

    @described.event_life
    def get(self, request: Request, key: str) -> HttpResponse:
        if not _KEY.fullmatch(key):
            raise NotThere("key", "A key has 32 hexadecimal digits. Without it, ask by-id with source and id.")
        return _life(request, key, field="key", named=key)


class UsageEventLifeById(UsageView):
    permission = "metering.view_usageevent"
    takes = frozenset({"source", "id"})

    @described.event_life_by_id
    def get(self, request: Request) -> HttpResponse:
        query = request.query_params
        source = parameters.required_text(query, "source", "Name the event's source, and its id.")
        event_id = parameters.required_text(query, "id", "Name the event's id, and its source.")
        key = queries.find_key(source, event_id)
        if key is None:
            raise NotThere("id", f"No event {event_id!r} of the source {source!r} was accepted.")
        return _life(request, key, field="id", named=repr(event_id))
