"""Taking back what a refused request has done.

While an `Undo` is on, whatever an operation can reach is noted before it can be changed: objects as the store hands
them out, and what the world keeps beside them, with all that is nested in it. Taken back, they are the same objects
with their former contents, since work that waits on a clock has captured them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

Step = Callable[[], object]
MISSING = object()


class Undo:
    """`on` from `begin` to `keep` or `take_back`."""

    def __init__(self) -> None:
        self.on = False
        self.added: set[str] = set()  # ids of objects that will be gone: no need to note what they were
        self._steps: list[Step] = []
        self._former: dict[int, tuple[Any, Any]] = {}  # containers and copies of them, by identity

    def begin(self) -> None:
        self.on = True

    def keep(self) -> None:
        """What was done, stays."""
        self.on = False
        self.added.clear()
        self._steps.clear()
        self._former.clear()

    def take_back(self) -> None:
        steps, former = self._steps[::-1], list(self._former.values())
        self.keep()
        for step in steps:
            step()
        for container, contents in former:
            container.clear()
            if isinstance(container, dict):
                container.update(contents)
            else:
                container.extend(contents)

    def step(self, step: Step) -> None:
        """Note how to take back what is about to be done."""
        self._steps.append(step)

    def note(self, value: Any) -> None:
        """Note a dictionary or list as it is, and those within. Other values are not changed in place."""
        kind = type(value)
        if (kind is not dict and kind is not list) or id(value) in self._former:
            return
        self._former[id(value)] = (value, value.copy())  # held, so that no other object gets its identity
        for part in value.values() if kind is dict else value:
            kind_of_part = type(part)
            if kind_of_part is dict or kind_of_part is list:
                self.note(part)

    def note_list(self, value: Any) -> None:
        """Note which elements a list has, not what they are: they are objects of the store."""
        if isinstance(value, list) and id(value) not in self._former:
            self._former[id(value)] = (value, value.copy())


class NotedDict(defaultdict[Any, Any]):
    """A dictionary that an `Undo` can take back. `of_objects`: its values are lists of stored objects."""

    def __init__(self, undo: Undo, base: dict[Any, Any], *, of_objects: bool = False) -> None:
        super().__init__(base.default_factory if isinstance(base, defaultdict) else None, base)
        self._undo = undo
        self._note = undo.note_list if of_objects else undo.note

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        if self._undo.on:
            self._note(value)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        self._note_key(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        self._note_key(key)
        super().__delitem__(key)

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401  # this is that `get`

    def pop(self, key: Any, *default: Any) -> Any:
        self._note_key(key)
        return super().pop(key, *default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *others: Any, **named: Any) -> None:
        for key, value in dict(*others, **named).items():
            self[key] = value

    def clear(self) -> None:
        for key in list(self):
            del self[key]

    def values(self) -> Any:
        self._note_all(super().values())
        return super().values()

    def items(self) -> Any:
        self._note_all(super().values())
        return super().items()

    def _note_all(self, values: Iterable[Any]) -> None:
        if self._undo.on:
            for value in values:
                self._note(value)

    def _note_key(self, key: Any) -> None:
        if not self._undo.on:
            return
        former = super().get(key, MISSING)
        if former is MISSING:
            self._undo.step(lambda: dict.pop(self, key, None))
        else:
            self._note(former)
            self._undo.step(lambda: dict.__setitem__(self, key, former))


class NotedSet(set[Any]):
    """A set that an `Undo` can take back to what it was. It only grows."""

    def __init__(self, undo: Undo, base: set[Any]) -> None:
        super().__init__(base)
        self._undo = undo

    def add(self, value: Any) -> None:
        if self._undo.on and value not in self:
            self._undo.step(lambda: set.discard(self, value))
        super().add(value)
