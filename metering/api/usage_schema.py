"""
Usage's part of the API's description: parameters, answers and refusals of every address.

The serializers describe the bodies that `metering/api/bodies.py` writes; they are never run.
"""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from metering.api.parameters import LIMIT_DEFAULT, LIMIT_MAX
from metering.spans import WINDOW_SIZES

TAG = "usage"
QUANTITY = "Decimal string in the meter's unit, exact, every place it has."
STATES = "counted, excluded (by every meter), void, waiting (for aggregation), or unmetered."


def _text(**options: Any) -> serializers.CharField:
    return serializers.CharField(**options)


def _instant(**options: Any) -> serializers.DateTimeField:
    return serializers.DateTimeField(**options)


def _dimensions() -> serializers.DictField:
    return serializers.DictField(child=_text(allow_null=True), help_text="Null: the events have no such value.")


class MeterBody(serializers.Serializer[Any]):
    code = _text(help_text="The name usage and prices refer to. Versions of one meter share it.")
    version = serializers.IntegerField()
    active = serializers.BooleanField(help_text="Whether events recorded now are counted by this version.")
    event_type = _text()
    aggregation = _text(help_text="sum, count, max, min, last, unique_count, time_weighted_average or window_max.")
    value_path = _text(help_text="Such as data.input_tokens; empty for a count.")
    filters = serializers.ListField(
        child=serializers.DictField(child=serializers.ListField(child=_text())),
        help_text="Alternatives, each paths with the texts allowed there; an event that matches any counts once.",
    )
    dimensions = serializers.ListField(child=_text())
    unit = _text()
    defined_at = _instant(help_text="It counts what was recorded from here on.")


class MetersBody(serializers.Serializer[Any]):
    meters = MeterBody(many=True, help_text="Every version, by code, the latest first.")


class UsageRowBody(serializers.Serializer[Any]):
    # "from" is a word of Python's; the field is added below.
    to = _instant(help_text="Not included.")
    dimensions = _dimensions()
    quantity = _text(help_text=QUANTITY)
    events = serializers.IntegerField()

    def get_fields(self) -> dict[str, Any]:
        return {"from": _instant(help_text="Included."), **super().get_fields()}


class CustomerUsageBody(serializers.Serializer[Any]):
    customer_key = _text()
    meter = _text()
    aggregation = _text()
    unit = _text()
    to = _instant(help_text="As asked, not included.")
    window = serializers.ChoiceField(choices=WINDOW_SIZES)
    time_zone = _text()
    group_by = serializers.ListField(child=_text())
    aggregated_through = _instant(help_text="Every event acknowledged before this instant is in the figures.")
    rows = UsageRowBody(many=True, help_text="In order; a window without usage has no row.")

    def get_fields(self) -> dict[str, Any]:
        return {"from": _instant(help_text="As asked, included."), **super().get_fields()}


class PairFields(serializers.Serializer[Any]):
    meter = _text()
    version = serializers.IntegerField()
    unit = _text()
    window_start = _instant(help_text="The hour it counts in, UTC.")
    dimensions = _dimensions()
    quantity = _text(allow_null=True, help_text=f"{QUANTITY} Null: excluded.")
    excluded = _text(allow_null=True, help_text="value_absent, value_invalid or filtered_out. Null: counted.")


class EventFields(serializers.Serializer[Any]):
    key = _text(help_text="What the event is found by: 32 hexadecimal digits, made of source and id.")
    id = _text()
    type = _text()
    subject = _text(help_text="The customer's key.")
    time = _instant(help_text="When the usage happened, to the microsecond.")
    received_at = _instant()
    state = _text(help_text=STATES)
    url = serializers.URLField(help_text="The life of this event.")

    def get_fields(self) -> dict[str, Any]:
        # Names that a serializer has a meaning of its own for.
        return {**super().get_fields(), "source": _text()}


class EventBody(EventFields):
    meters = PairFields(many=True, help_text="Every meter of its type, counted or excluded.")


class EventsBody(serializers.Serializer[Any]):
    events = EventBody(many=True, help_text="In order of time, the newest first.")
    next = serializers.URLField(allow_null=True, help_text="Where the list goes on; null: this is its end.")
    looked_back_to = _instant(
        allow_null=True,
        help_text="Set where a page is not full because so many events were looked at: follow `next`, or name a "
        "customer and a range.",
    )


class ImportBody(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    file = _text()


class SentAgainBody(serializers.Serializer[Any]):
    received_at = _instant()
    type = _text()
    subject = _text()
    time = _instant()

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), "data": serializers.DictField(help_text="Numbers as they were sent.")}


class CorrectionBody(serializers.Serializer[Any]):
    correction = serializers.IntegerField()
    kind = _text()
    role = _text(help_text="voided, restored, replacement, backfilled or replaced.")
    reason = _text()
    why = _text()
    by = _text()
    at = _instant(allow_null=True, help_text="Null until it is applied.")
    other_event = _text(allow_null=True, help_text="Key of the event that it replaces, or that replaces it.")


class WindowNowBody(serializers.Serializer[Any]):
    quantity = _text(help_text=QUANTITY)
    events = serializers.IntegerField()
    updated_at = _instant()


class StageBody(serializers.Serializer[Any]):
    at = _instant(allow_null=True)
    title = _text()
    text = _text()
    url = _text(allow_null=True, help_text="The page that shows it, for people.")


class LivingPairBody(PairFields):
    window = WindowNowBody(allow_null=True, help_text="The whole hour as it stands now; null: not in a window.")
    stages = StageBody(many=True, help_text="What was made of it in money; empty unless the key may read billing.")


class EventLifeBody(EventFields):
    sent_again = SentAgainBody(many=True, help_text="Other bodies under the same source and id. They do not count.")
    corrections = CorrectionBody(many=True)
    meters = LivingPairBody(many=True)

    def get_fields(self) -> dict[str, Any]:
        return {
            **super().get_fields(),
            "data": serializers.DictField(help_text="As kept; numbers are exact."),
            "import": ImportBody(allow_null=True, help_text="The import that brought it."),
        }


class Problem(serializers.Serializer[Any]):
    """RFC 9457."""

    type = _text()
    title = _text()
    status = serializers.IntegerField()
    detail = _text(help_text="What is wrong and what to do instead.")
    field = _text(required=False, help_text="The parameter, or the part of the address, that is wrong.")


def _query(name: str, meaning: str, kind: Any = OpenApiTypes.STR, *, required: bool = False) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, required=required, description=meaning)


def _path(name: str, meaning: str, kind: Any = OpenApiTypes.STR) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.PATH, description=meaning)


def _span(*, required: bool) -> list[OpenApiParameter]:
    day = "a day (its midnight in time_zone), or RFC 3339 to the microsecond"
    return [
        _query("from", f"Start, included: {day}.", required=required),
        _query("to", f"End, not included: {day}.", required=required),
    ]


_ZONE = _query("time_zone", "IANA name in which days and months begin, such as Europe/Berlin; UTC if left out.")


def _described(
    operation_id: str,
    summary: str,
    body: type[serializers.Serializer[Any]],
    parameters: list[OpenApiParameter],
    *,
    description: str,
    not_found: str = "",
) -> Any:
    refusals = {
        400: "A parameter is unknown or not acceptable; `field` names it.",
        401: "The API key is missing, unknown, expired or revoked.",
        403: "The API key lacks the scope usage:read, or the person may not see usage.",
        **({404: not_found} if not_found else {}),
    }
    return extend_schema(
        operation_id=operation_id,
        summary=summary,
        description=description,
        tags=[TAG],
        parameters=parameters,
        responses={
            (200, "application/json"): body,
            **{
                (status, "application/problem+json"): OpenApiResponse(Problem, meaning)
                for status, meaning in refusals.items()
            },
        },
    )


customer_usage = _described(
    "usage_of_customer",
    "What a customer used",
    CustomerUsageBody,
    [
        _path("customer_key", "The customer's key."),
        _query("meter", "The meter's code.", required=True),
        *_span(required=True),
        OpenApiParameter(
            "window", OpenApiTypes.STR, enum=WINDOW_SIZES, description="How the range is cut; day if left out."
        ),
        _ZONE,
        _query("group_by", "Dimensions to tell apart, with commas between them."),
        _query("where.<dimension>", "Only this value of the dimension; again for another value of it."),
    ],
    description="Exact for every aggregation and to the microsecond. At most 10,000 rows: a larger answer is refused, "
    "saying what to ask instead. Events acknowledged before `aggregated_through` are in it.",
    not_found="There is no such customer or meter.",
)
meters = _described(
    "meters", "What is measured", MetersBody, [], description="Every version of every meter, as it was defined."
)
usage_events = _described(
    "usage_events",
    "Events, and what became of each",
    EventsBody,
    [
        _query("customer", "Only this customer's."),
        _query("type", "Only this type."),
        _query("source", "Only this source's. With an id: found at once."),
        _query("id", "Only this id."),
        _query("meter", "Only those that this meter counted."),
        _query("state", f"Only those that are {STATES}"),
        *_span(required=False),
        _ZONE,
        _query("limit", f"Events on a page, 1 to {LIMIT_MAX}; {LIMIT_DEFAULT} if left out.", OpenApiTypes.INT),
        _query("cursor", "Opaque; part of the address in `next`, which is to be followed as it is."),
    ],
    description="The newest first. New events appear before the first page and move nothing on the pages that follow.",
    not_found="There is no such meter.",
)
_LIFE = (
    "How it came, what else was sent under its source and id, where it counts and with how much, which corrections "
    "touched it, and, to a key that may read billing, what it came to in money."
)
event_life = _described(
    "usage_event",
    "The life of one event",
    EventLifeBody,
    [_path("key", "The event's key, as a list or another event names it.")],
    description=_LIFE,
    not_found="No such event is kept here.",
)
event_life_by_id = _described(
    "usage_event_by_id",
    "The life of the event with this source and id",
    EventLifeBody,
    [_query("source", "The event's source.", required=True), _query("id", "The event's id.", required=True)],
    description=_LIFE,
    not_found="No such event was accepted.",
)
