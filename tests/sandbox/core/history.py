"""What was asked of the account, for the page: the latest requests with what they sent and what they got.

Bodies are kept as they came and read only when somebody looks, so that a request costs no more for it.
"""

from collections import deque
from dataclasses import dataclass

REQUESTS_REMEMBERED = 2_000
BODY_SIZE_KEPT_MAX = 64 * 1024
BYTES_REMEMBERED_MAX = 32 * 1024 * 1024


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

    @property
    def size(self) -> int:
        return len(self.body) + len(self.answer)


@dataclass(frozen=True, slots=True)
class FaultHit:
    """A request that a fault switch hit; `call` is "METHOD path"."""

    mode: str
    call: str
    body: bytes
    at: int
    place: int


class History:
    """The latest requests, and those that a fault hit; oldest first.

    No more are kept than `REQUESTS_REMEMBERED`, and fewer where their bodies come to more than `BYTES_REMEMBERED_MAX`.
    """

    def __init__(self) -> None:
        self.requests: deque[PastRequest] = deque()
        self.hits: deque[FaultHit] = deque(maxlen=REQUESTS_REMEMBERED)
        self._size = 0

    def note(self, request: PastRequest) -> None:
        self.requests.append(request)
        self._size += request.size
        while len(self.requests) > REQUESTS_REMEMBERED or self._size > BYTES_REMEMBERED_MAX:
            self._size -= self.requests.popleft().size

    def hit(self, mode: str, call: str, *, body: bytes, at: int, place: int) -> None:
        self.hits.append(FaultHit(mode, call, kept(body), at, place))

    def find(self, request_id: str) -> PastRequest | None:
        return next((request for request in reversed(self.requests) if request.id == request_id), None)


def kept(body: bytes) -> bytes:
    """The body, or nothing of one too long to keep."""
    return body if len(body) <= BODY_SIZE_KEPT_MAX else b""
