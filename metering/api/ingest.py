"""POST /api/v1/events: usage events from services, one or a batch.

A plain Django view: DRF's parsing and serializers cost more than the database does. The access check (scope
usage:write), the rate limit and the answer's form are put together where the address is declared.
"""

import zlib
from collections.abc import Callable
from typing import IO, cast

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from config import clock
from config.problems import problem
from metering import operations
from metering.api.cloud_events import UnknownFormat, events_of

Admit = Callable[[HttpRequest, int], HttpResponse | None]
"""None when the sender of a request may send so many events now, else the answer that refuses the request whole."""
Answer = Callable[[operations.IngestResult], HttpResponse]


class _Unreadable(Exception):
    """The request's body cannot be had; carries the answer that says why."""

    def __init__(self, answer: HttpResponse) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


def every_outcome(result: operations.IngestResult) -> HttpResponse:
    """200 with counts, and every event that was not accepted by its index."""
    return HttpResponse(msgspec.json.encode(outcomes(result)), content_type="application/json")


def as_openmeter(result: operations.IngestResult) -> HttpResponse:
    """What OpenMeter's clients expect: 204 and no body when no event was lost, else an error that they raise.

    Duplicates are no loss, nor are quarantined events, which are kept: OpenMeter, too, takes events that no meter
    counts. A refused event (400) and one that contradicts an event already counted (409) are: these clients throw away
    the body of a success, so success would hide them. Every other event of the batch has been taken.
    """
    if result.refused:
        status, title = 400, "Some events were refused"
        detail = (
            f"{len(result.refused):,} events were refused and {result.conflicts:,} contradict events counted before"
        )
    elif result.conflicts:
        status, title = 409, "Some events contradict others"
        detail = f"{result.conflicts:,} events have the source and id of an event that was counted with another body"
    else:
        return HttpResponse(status=204)
    return problem(
        status=status,
        title=title,
        detail=f"{detail}; see results. All others were taken: sending them again changes nothing.",
        **msgspec.to_builtins(outcomes(result)),
    )


def ingest_view(*, admit: Admit, answer: Answer = every_outcome) -> Callable[[HttpRequest], HttpResponse]:
    """The view that takes events. It answers when everything accepted is durable."""

    @csrf_exempt
    def ingest_events(request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return problem(
                status=405, title="Method not allowed", detail="Send events with POST.", headers={"Allow": "POST"}
            )
        received_at = clock.now()
        try:
            content_type = request.headers.get("Content-Type", "")
            events = events_of(_body(request), content_type=content_type, meta=request.META)
            if refusal := admit(request, len(events)):
                return refusal
            return answer(operations.ingest_events(events, received_at=received_at))
        except _Unreadable as unreadable:
            return unreadable.answer
        except UnknownFormat as error:
            return problem(status=415, title="Unknown format", detail=str(error))
        except operations.NotJSON as error:
            return problem(status=400, title="Not JSON", detail=str(error))
        except operations.TooManyEvents as error:
            return problem(status=413, title="Too many events", detail=f"{error} Send them in several requests.")

    return ingest_events


def outcomes(result: operations.IngestResult) -> dict[str, object]:
    """The body of an answer."""
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
    body = _stream(request).read(limit + 1)
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


def _stream(request: HttpRequest) -> HttpRequest | IO[bytes]:
    """Where the body is read from. Django takes a body without a length for an empty one, also when it comes in chunks;
    the server, where it says so, ends its input at the body's end."""
    if "Content-Length" in request.headers or "Transfer-Encoding" not in request.headers:
        return request
    if not request.META.get("wsgi.input_terminated"):
        raise _Unreadable(problem(status=411, title="Length required", detail="Send the header Content-Length."))
    return cast("IO[bytes]", request.META["wsgi.input"])


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
