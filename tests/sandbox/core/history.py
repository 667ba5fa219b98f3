"""What was asked of the account, for the page: the latest requests with what they sent and what they got.

Bodies are kept as they came and read only when somebody looks, so that a request costs no more for it.
"""

from collections import deque
from dataclasses import dataclass

REQUESTS_REMEMBERED = 2_000
BODY_SIZE_KEPT_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class PastRequest:
    """`at` is the clock's moment; `place` the number of objects made before it, which orders it among them."""

    id: str
    at: int
    place: int
    method: str
    path: str
    query: str
    body: bytes
    idempotency_key: str | None
    status: int
    answer: bytes
    replay_of: str | None = None


@dataclass(frozen=True, slots=True)
class FaultHit:
    """A request that a fault switch hit; `call` is "METHOD path"."""

    mode: str
    call: str
    body: bytes
    at: int
    place: int


class History:
    """The latest requests, and those that a fault hit; oldest first."""

    def __init__(self) -> None:
        self.requests: deque[PastRequest] = deque(maxlen=REQUESTS_REMEMBERED)
        self.hits: deque[FaultHit] = deque(maxlen=REQUESTS_REMEMBERED)

    def note(self, request: PastRequest) -> None:
        self.requests.append(request)

    def hit(self, mode: str, call: str, *, body: bytes, at: int, place: int) -> None:
        self.hits.append(FaultHit(mode, call, kept(body), at, place))

    def find(self, request_id: str) -> PastRequest | None:
        return next((request for request in reversed(self.requests) if request.id == request_id), None)


def kept(body: bytes) -> bytes:
    """The body, or nothing of one too long to keep."""
    return body if len(body) <= BODY_SIZE_KEPT_MAX else b""
