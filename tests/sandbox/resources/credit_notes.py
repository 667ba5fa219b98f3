"""Credit notes, and what they would be before they are issued."""

from typing import Any

from tests.sandbox.billing.invoices.credit_notes import drafted, issue, void_note
from tests.sandbox.core.lists import matching, ordered_page, page_of
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# `email_type` chooses whether a mail is sent; none leaves the sandbox.
CREATABLE = frozenset(
    {"amount", "credit_amount", "effective_at", "email_type", "invoice", "lines", "memo", "metadata"}
    | {"out_of_band_amount", "reason", "refund_amount", "refunds"}
)
PAGING = frozenset({"ending_before", "limit", "starting_after"})


@handles("POST /v1/credit_notes")
def create_credit_note(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/credit_notes")
    return issue(world, drafted(world, parameters))


@handles("GET /v1/credit_notes/preview")
def preview_credit_note(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "GET /v1/credit_notes/preview")
    return drafted(world, parameters).note


@handles("GET /v1/credit_notes/preview/lines")
def preview_credit_note_lines(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE | PAGING, "GET /v1/credit_notes/preview/lines")
    return ordered_page(drafted(world, parameters).lines, parameters, url="/v1/credit_notes/preview/lines")


@handles("GET /v1/credit_notes")
def list_credit_notes(world: World, parameters: Parameters) -> StripeObject:
    if "invoice" in parameters:
        notes = world.store.where("credit_note", "invoice", parameters["invoice"])
    else:
        notes = world.store.all("credit_note")
    return page_of(world.store, matching(notes, parameters, "customer"), parameters, url="/v1/credit_notes")


@handles("GET /v1/credit_notes/{id}")
def retrieve_credit_note(world: World, parameters: Parameters, note_id: str) -> StripeObject:
    return world.store.get("credit_note", note_id, noun="credit note")


@handles("POST /v1/credit_notes/{id}")
def update_credit_note(world: World, parameters: Parameters, note_id: str) -> StripeObject:
    note = world.store.get("credit_note", note_id, noun="credit note")
    changes: dict[str, Any] = {"metadata": merged_metadata(note["metadata"], parameters)}
    if "memo" in parameters:
        changes["memo"] = parameters["memo"] or None
    world.update(note, "credit_note.updated", **changes)
    return note


@handles("POST /v1/credit_notes/{id}/void")
def void_credit_note(world: World, parameters: Parameters, note_id: str) -> StripeObject:
    note = world.store.get("credit_note", note_id, noun="credit note")
    void_note(world, note)
    return note


@handles("GET /v1/credit_notes/{credit_note}/lines")
def list_credit_note_lines(world: World, parameters: Parameters, note_id: str) -> StripeObject:
    world.store.get("credit_note", note_id, noun="credit note")
    return ordered_page(world.credit_note_lines[note_id], parameters, url=f"/v1/credit_notes/{note_id}/lines")
