"""POST /api/v1/events: usage events from services, one or a batch.

A plain Django view: DRF's parsing and serializers cost more than the database does. The access check (scope
usage:write) is wrapped around it where the address is declared.
"""

import zlib

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from config import clock
from config.problems import problem
from metering import operations


class _Unreadable(Exception):
    """The request's body cannot be had; carries the answer that says why."""

    def __init__(self, answer: HttpResponse) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


@csrf_exempt
def ingest_events(request: HttpRequest) -> HttpResponse:
    """Take CloudEvents in structured or batch mode, or plain JSON. Answers 200 when everything accepted is durable."""
    if request.method != "POST":
        return problem(
            status=405, title="Method not allowed", detail="Send events with POST.", headers={"Allow": "POST"}
        )
    received_at = clock.now()
    try:
        events = operations.decode_batch(_body(request))
        result = operations.ingest_events(events, received_at=received_at)
    except _Unreadable as unreadable:
        return unreadable.answer
    except operations.NotJSON as error:
        return problem(status=400, title="Not JSON", detail=str(error))
    except operations.TooManyEvents as error:
        return problem(status=413, title="Too many events", detail=f"{error} Send them in several requests.")
    return HttpResponse(msgspec.json.encode(_answer(result)), content_type="application/json")


def _answer(result: operations.IngestResult) -> dict[str, object]:
    return {
        "accepted": result.accepted,
        "duplicates": result.duplicates,
        "conflicts": result.conflicts,
        "quarantined": result.quarantined,
        "refused": len(result.refused),
        "results": result.outcomes,
    }


def _body(request: HttpRequest) -> bytes:
    """The request's body, unpacked. Reads no more than the limit, whatever its headers promise."""
    limit = settings.METERING_MAX_BODY_BYTES
    body = request.read(limit + 1)
    if len(body) > limit:
        raise _too_large(limit)
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "gzip":
        body = _gunzip(body, limit)
    elif encoding != "identity":
        raise _Unreadable(
            problem(status=415, title="Unknown content encoding", detail="Send the body plain or with gzip.")
        )
    return body


def _gunzip(packed: bytes, limit: int) -> bytes:
    """Unpack one gzip member, stopping at the limit: a few packed bytes can stand for gigabytes."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        body = unpacker.decompress(packed, limit + 1)
    except zlib.error as error:
        raise _Unreadable(
            problem(status=400, title="Not gzip", detail=f"The body cannot be unpacked: {error}.")
        ) from error
    if len(body) > limit:
        raise _too_large(limit)
    if not unpacker.eof or unpacker.unused_data:
        raise _Unreadable(
            problem(status=400, title="Not gzip", detail="The packed body is cut off, or goes on after its end.")
        )
    return body


def _too_large(limit: int) -> _Unreadable:
    return _Unreadable(
        problem(
            status=413,
            title="Body too large",
            detail=f"At most {limit:,} bytes are taken, unpacked; send the events in several requests.",
        )
    )
