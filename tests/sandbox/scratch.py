"""A scratch world: what an account would become, without becoming it.

It starts as the account of a moment, as seen by one customer, and whatever happens in it happens to copies:
* objects, and what else the world keeps in dictionaries and sets, are copied when they are first read;
* the clock in force is a copy, and so is the work waiting on it that concerns the customer: the functions left with
  `clock.at(…)` are made anew with the scratch world's objects in place of the real ones that they had captured;
* identifiers come from another source, events go nowhere.
Shared is only what no operation changes (the document, the settings) or only requests about meters do (their events).
Problems of strict checking are shared on purpose: an event that would be invalid is worth knowing.
"""

import copy
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

from tests.sandbox.core.belonging import customer_of
from tests.sandbox.core.clock import Clock
from tests.sandbox.core.store import INDEXED, Store, StripeObject, copied
from tests.sandbox.world import World


@contextmanager
def scratch_of(world: World, customer_id: str | None) -> Iterator[World]:
    """A scratch world of the account as it is now, by the clock in force, for the length of the block.

    What waits on that clock comes along for one customer, as far as time is to pass; for None nothing does.
    """
    scratch = _scratch_of(world, customer_id)
    try:
        yield scratch
    finally:
        scratch.close()


def _scratch_of(world: World, customer_id: str | None) -> World:
    scratch = copy.copy(world)
    for name, value in vars(world).items():
        if isinstance(value, dict):
            setattr(scratch, name, CopiedOnRead(value))
        elif isinstance(value, set):
            setattr(scratch, name, set(value))
    scratch.store = ScratchStore(world.store)
    scratch.ids = world.ids.aside()
    scratch.new_events, scratch.new_thin_events = [], []
    scratch.request = None
    scratch.account_clock = Clock(world.account_clock.now)
    scratch.test_clocks = {name: Clock(clock.now, test_clock_id=name) for name, clock in world.test_clocks.items()}
    scratch.clock = scratch.clock_with(world.clock.id)
    if customer_id is not None:
        rebinding = Rebinding(world, scratch)
        for due in world.clock.waiting():
            if rebinding.concerns(due.work, customer_id):
                scratch.clock.at(due.moment, rebinding.of(due.work), due.what, first=due.sequence < 0)
    return scratch


class ScratchStore(Store):
    """A store over another one, which it only reads."""

    def __init__(self, base: Store) -> None:
        super().__init__()
        self._base = base
        self._removed: set[str] = set()

    def add(self, thing: StripeObject) -> StripeObject:
        self._places[thing["id"]] = self._base.created_count + len(self._places)
        self._removed.discard(thing["id"])
        return self._file(thing)

    def remove(self, thing: StripeObject) -> None:
        self._removed.add(thing["id"])
        super().remove(thing)

    def find(self, kind: str, object_id: str | None) -> StripeObject | None:
        if object_id is None:
            return None
        return super().find(kind, object_id) or self._adopted(self._base.find(kind, object_id))

    def get(self, kind: str, object_id: str, *, noun: str | None = None, param: str = "id") -> StripeObject:
        self.find(kind, object_id)
        return super().get(kind, object_id, noun=noun, param=param)

    def by_id(self, object_id: str) -> StripeObject | None:
        return super().by_id(object_id) or self._adopted(self._base.by_id(object_id))

    def all(self, kind: str) -> list[StripeObject]:
        for thing in self._base.all(kind):
            self.find(kind, thing["id"])
        return sorted(super().all(kind), key=lambda thing: self.place(thing["id"]))

    def where(self, kind: str, field: str, value: str) -> list[StripeObject]:
        assert field in INDEXED.get(kind, ()), (kind, field)
        before = [thing["id"] for thing in self._base.where(kind, field, value)]
        for object_id in before:
            self.find(kind, object_id)
        found = {thing["id"]: thing for thing in super().where(kind, field, value)}
        kept = [found.pop(object_id) for object_id in before if object_id in found]
        return kept + list(found.values())

    def place(self, object_id: str) -> int:
        return self._places[object_id] if object_id in self._places else self._base.place(object_id)

    def _adopted(self, thing: StripeObject | None) -> StripeObject | None:
        if thing is None or thing["id"] in self._removed:
            return None
        return self._file(copied(thing))


class CopiedOnRead(MutableMapping[Any, Any]):
    """A dictionary over another one, which it only reads: a value is copied when it is first asked for."""

    def __init__(self, base: dict[Any, Any]) -> None:
        self._base = base
        self._default = getattr(base, "default_factory", None)
        self._own: dict[Any, Any] = {}
        self._removed: set[Any] = set()

    def __getitem__(self, key: Any) -> Any:
        if key not in self._own:
            if key in self._base and key not in self._removed:
                self._own[key] = copy.deepcopy(self._base[key])
            elif self._default is not None:
                self._own[key] = self._default()
            else:
                raise KeyError(key)
        return self._own[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._own[key] = value

    def __delitem__(self, key: Any) -> None:
        if key not in self:
            raise KeyError(key)
        self._own.pop(key, None)
        self._removed.add(key)

    def __contains__(self, key: object) -> bool:
        return key in self._own or (key in self._base and key not in self._removed)

    def __iter__(self) -> Iterator[Any]:
        """Those of the base first, as they come in a dictionary."""
        yield from [key for key in self._base if key in self]
        yield from [key for key in self._own if key not in self._base]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401  # this is that `get`


class Rebinding:
    """Makes functions of the real world into the same functions of a scratch world."""

    def __init__(self, world: World, scratch: World) -> None:
        self._world = world
        self._scratch = scratch

    def concerns(self, work: Any, customer_id: str) -> bool:
        """Whether a function has captured the customer, or an object of theirs."""
        return any(customer_of(self._world.store, thing) == customer_id for thing in self._captured(work))

    def of(self, value: Any) -> Any:
        """The value with the scratch world, and its copies of objects, in place of the real ones."""
        if value is self._world:
            return self._scratch
        if isinstance(value, Clock):
            return self._scratch.clock_with(value.id)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, MethodType):
            return MethodType(value.__func__, self.of(value.__self__))
        if isinstance(value, partial):
            return partial(self.of(value.func), *self.of(value.args), **self.of(value.keywords))
        if isinstance(value, dict):
            stored = self._scratch.store.by_id(value["id"]) if _is_object(value) else None
            return stored if stored is not None else {key: self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.of(item) for item in value)
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{item.name: self.of(getattr(value, item.name)) for item in fields(value)})
        return value

    def _function(self, function: FunctionType) -> FunctionType:
        if function.__closure__ is None and not function.__defaults__:
            return function
        cells = tuple(CellType(self.of(cell.cell_contents)) for cell in function.__closure__ or ())
        defaults = self.of(function.__defaults__) if function.__defaults__ else None
        return FunctionType(function.__code__, function.__globals__, function.__name__, defaults, cells)

    def _captured(self, value: Any) -> Iterator[StripeObject]:
        """Stored objects that a function has captured, itself or by their id."""
        if isinstance(value, FunctionType):
            for cell in value.__closure__ or ():
                yield from self._captured(cell.cell_contents)
            yield from self._captured(value.__defaults__)
        elif isinstance(value, partial):
            yield from self._captured((value.func, *value.args, *value.keywords.values()))
        elif isinstance(value, str):
            found = self._world.store.by_id(value)
            if found is not None:
                yield found
        elif isinstance(value, dict) and _is_object(value):
            yield value
        elif isinstance(value, list | tuple):
            for item in value:
                yield from self._captured(item)
        elif is_dataclass(value) and not isinstance(value, type):
            yield from self._captured([getattr(value, item.name) for item in fields(value)])


def _is_object(value: dict[Any, Any]) -> bool:
    return isinstance(value.get("id"), str) and "object" in value
