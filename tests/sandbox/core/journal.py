"""Former versions of objects, so that a list can answer as of a while ago. Kept only while a fault asks for it."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tests.sandbox.core.store import Store, StripeObject


@dataclass(frozen=True, slots=True)
class Former:
    """What an object was before the writing request number `write`, which changed it at `moment`; None: not there."""

    write: int
    moment: int
    body: bytes | None


class Journal:
    """Notes what each object was before it changed. `now` tells the account's time."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._writes = 0
        self._formers: dict[str, list[Former]] = {}

    def begin_write(self) -> None:
        """What changes from here on is the doing of another writing request (or of the clock after it)."""
        self._writes += 1

    def appearing(self, object_id: str) -> None:
        self._note(object_id, None)

    def changing(self, thing: StripeObject) -> None:
        self._note(thing["id"], thing)

    def store_as_of(self, store: Store, *, seconds: float, writes: int) -> Store:
        """The store without what the last `writes` requests, or the last `seconds` of the clock, did to it."""
        replaced: dict[str, StripeObject | None] = {}
        for object_id, formers in self._formers.items():
            for former in formers:  # oldest first: the first that is to be hidden is how the object was before
                if former.write > self._writes - writes or former.moment > self._now() - seconds:
                    replaced[object_id] = msgspec.json.decode(former.body) if former.body is not None else None
                    break
        return store.with_replaced(replaced)

    def _note(self, object_id: str, thing: StripeObject | None) -> None:
        formers = self._formers.setdefault(object_id, [])
        now = self._now()
        if formers and (formers[-1].write, formers[-1].moment) == (self._writes, now):
            return
        formers.append(Former(self._writes, now, msgspec.json.encode(thing) if thing is not None else None))
