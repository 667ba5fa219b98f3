"""All objects of one Stripe account, in memory, in the shape they are answered in."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from tests.sandbox.core.errors import resource_missing
from tests.sandbox.core.undo import Undo

if TYPE_CHECKING:
    from tests.sandbox.core.journal import Journal

StripeObject = dict[str, Any]

# (object, field) pairs that lists filter on, so that a list costs its own length and not the account's.
INDEXED: dict[str, tuple[str, ...]] = {
    "customer": ("test_clock",),
    "subscription_schedule": ("customer",),
    "invoice": ("customer",),
    "invoiceitem": ("customer",),
    "invoice_payment": ("invoice",),
    "subscription": ("customer",),
    "payment_method": ("customer",),
    "customer_balance_transaction": ("customer",),
    "tax_id": ("customer",),
    "credit_note": ("invoice",),
    "charge": ("customer", "payment_intent"),
    "payment_intent": ("customer",),
    "refund": ("charge",),
    "balance_transaction": ("source",),
    "billing.credit_grant": ("customer",),
    "billing.credit_balance_transaction": ("credit_grant",),
    "dispute": ("charge", "payment_intent"),
    "setup_intent": ("customer",),
    "setup_attempt": ("setup_intent",),
    "card": ("customer",),
    "customer_cash_balance_transaction": ("customer",),
}


class Store:
    """Objects by kind and id. Insertion order is creation order."""

    def __init__(self, undo: Undo | None = None) -> None:
        self._undo = undo or Undo()
        self._tables: dict[str, dict[str, StripeObject]] = defaultdict(dict)
        self._places: dict[str, int] = {}
        self._made_count = 0
        self._index: dict[tuple[str, str, str], dict[str, StripeObject]] = defaultdict(dict)
        self._kinds: dict[str, str] = {}
        self.journal: Journal | None = None  # only while a fault wants to know how things were

    def add(self, thing: StripeObject) -> StripeObject:
        if self.journal is not None:
            self.journal.appearing(thing["id"])
        if self._undo.on:
            self._undo.added.add(thing["id"])
            self._undo.step(partial(self._unmake, thing["id"], self._places.get(thing["id"])))
        self._places[thing["id"]] = self._made_count
        self._made_count += 1
        return self._file(thing)

    def with_replaced(self, replaced: "dict[str, StripeObject | None]") -> "Store":
        """Another store of the same objects, but for those `replaced` by id; None leaves one out."""
        other = Store()
        other._places, other._made_count = self._places, self._made_count
        kept = [thing for table in self._tables.values() for thing in table.values() if thing["id"] not in replaced]
        kept += [thing for thing in replaced.values() if thing is not None]
        for thing in sorted(kept, key=lambda thing: self._places[thing["id"]]):
            other._file(thing)
        return other

    def _file(self, thing: StripeObject) -> StripeObject:
        kind = thing["object"]
        self._tables[kind][thing["id"]] = thing
        self._kinds[thing["id"]] = kind
        for field in INDEXED.get(kind, ()):
            self._index_under(thing, kind, field, thing.get(field))
        return thing

    def change(self, thing: StripeObject, changes: StripeObject) -> StripeObject:
        """Apply `changes`; the answer holds the former values of the fields that became different."""
        previous: StripeObject = {}
        kind = thing["object"]
        for field, value in changes.items():
            former = thing.get(field)
            if former == value:
                continue
            if self.journal is not None:
                self.journal.changing(thing)
            if self._undo.on:
                self._note(thing)
            previous[field] = former
            thing[field] = value
            if field in INDEXED.get(kind, ()):
                self._note_index(thing["id"], kind, field, former)
                self._index[kind, field, str(former)].pop(thing["id"], None)
                self._index_under(thing, kind, field, value)
        return previous

    def remove(self, thing: StripeObject) -> None:
        if self.journal is not None:
            self.journal.changing(thing)
        kind = thing["object"]
        if self._undo.on and thing["id"] in self._kinds:
            self._note(thing)
            self._undo.step(lambda: self._file_again(thing))
        self._tables[kind].pop(thing["id"], None)
        self._kinds.pop(thing["id"], None)
        for field in INDEXED.get(kind, ()):
            self._index[kind, field, str(thing.get(field))].pop(thing["id"], None)

    def find(self, kind: str, object_id: str | None) -> StripeObject | None:
        return self._noted(self._tables[kind].get(object_id)) if object_id else None

    def get(self, kind: str, object_id: str, *, noun: str | None = None, param: str = "id") -> StripeObject:
        """The object, or `StripeError` resource_missing: 404 for the object addressed, 400 for one referred to."""
        found = self._tables[kind].get(object_id)
        if found is None:
            raise resource_missing(noun or kind, object_id, param=param, status=404 if param == "id" else 400)
        return self._note(found) if self._undo.on else found

    def by_id(self, object_id: str) -> StripeObject | None:
        kind = self._kinds.get(object_id)
        return self._noted(self._tables[kind].get(object_id)) if kind else None

    def everything(self) -> list[StripeObject]:
        """Every object of every kind."""
        return [thing for table in self._tables.values() for thing in table.values()]

    def all(self, kind: str) -> list[StripeObject]:
        return self._all_noted(list(self._tables[kind].values()))

    def where(self, kind: str, field: str, value: str) -> list[StripeObject]:
        """Objects of an indexed field's value, oldest first."""
        assert field in INDEXED.get(kind, ()), (kind, field)
        return self._all_noted(list(self._index[kind, field, value].values()))

    def place(self, object_id: str) -> int:
        """The order of creation over all kinds."""
        return self._places[object_id]

    @property
    def created_count(self) -> int:
        """How many objects were ever made; the `place` of the next one."""
        return self._made_count

    def counts(self) -> Iterator[tuple[str, int]]:
        return ((kind, len(table)) for kind, table in sorted(self._tables.items()) if table)

    # Taking back: what is handed out while the undo is on can be put back to what it was.

    def _note(self, thing: StripeObject) -> StripeObject:
        if thing["id"] not in self._undo.added:
            self._undo.note(thing)
        return thing

    def _noted(self, thing: StripeObject | None) -> StripeObject | None:
        return self._note(thing) if thing is not None and self._undo.on else thing

    def _all_noted(self, things: list[StripeObject]) -> list[StripeObject]:
        if self._undo.on:
            for thing in things:
                self._note(thing)
        return things

    def _note_index(self, object_id: str, kind: str, field: str, former: Any) -> None:
        """`former` was the value of an indexed field, under which the object will be found again."""
        if self._undo.on and former is not None:
            bucket = dict(self._index[kind, field, str(former)])
            self._undo.step(lambda: self._index.__setitem__((kind, field, str(former)), bucket))

    def _unmake(self, object_id: str, former_place: int | None) -> None:
        """An object was never made; `former_place` is that of one with the same id, which is gone."""
        kind = self._kinds.pop(object_id, None)
        if former_place is None:
            del self._places[object_id]
        else:
            self._places[object_id] = former_place
        if kind is not None:
            self._tables[kind].pop(object_id)

    def _file_again(self, thing: StripeObject) -> None:
        """A removed object is back in its place."""
        kind = thing["object"]
        self._file(thing)
        self._tables[kind] = dict(sorted(self._tables[kind].items(), key=lambda pair: self._places[pair[0]]))
        for field in INDEXED.get(kind, ()):
            bucket = self._index[kind, field, str(thing.get(field))]
            in_order = sorted(bucket.items(), key=lambda pair: self._places[pair[0]])
            bucket.clear()  # the same bucket, from which an earlier step may take the object out again
            bucket.update(in_order)

    def _index_under(self, thing: StripeObject, kind: str, field: str, value: Any) -> None:
        if value is not None:
            bucket = self._index[kind, field, str(value)]
            bucket[thing["id"]] = thing
            if self._undo.on:
                self._undo.step(lambda: bucket.pop(thing["id"], None))


def copied(thing: StripeObject) -> StripeObject:
    """A deep copy, by way of JSON: several times quicker than copy.deepcopy on these shapes."""
    copy: StripeObject = msgspec.json.decode(msgspec.json.encode(thing))
    return copy
