"""The lines of an invoice: pages of them, and changing many at once on a draft."""

from tests.sandbox.billing.invoices.discounts import new_discounts
from tests.sandbox.billing.invoices.items import new_item
from tests.sandbox.billing.invoices.lines import item_of_line, line_of_item, resum, set_line_tax_rates
from tests.sandbox.billing.invoices.tax_rates import find_tax_rates
from tests.sandbox.core.errors import StripeError, not_implemented, resource_missing
from tests.sandbox.core.lists import ordered_page
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.resources.invoice_items import VALUE, change_item, remove_item, require_draft
from tests.sandbox.world import World

LINES_A_CALL_MAX = 250
LINE_FIELDS = VALUE | {"description", "discountable", "discounts", "metadata", "period", "tax_rates"}


@handles("GET /v1/invoices/{invoice}/lines")
def list_lines(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    lines = world.previewed_lines.get(invoice_id)
    if lines is None:
        world.store.get("invoice", invoice_id)
        lines = world.lines[invoice_id]
    return ordered_page(lines, parameters, url=f"/v1/invoices/{invoice_id}/lines")


@handles("POST /v1/invoices/{invoice}/add_lines")
def add_lines(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    invoice = _draft(world, invoice_id, parameters)
    customer = world.store.get("customer", invoice["customer"])
    items: list[StripeObject] = []
    for given in parameters["lines"]:
        refuse_unsupported(given, LINE_FIELDS | {"invoice_item"}, "POST /v1/invoices/{invoice}/add_lines (lines)")
    for given in parameters["lines"]:
        if "invoice_item" in given:
            items.append(_waiting_item(world, given["invoice_item"], invoice))
        else:
            item = new_item(
                world, given, customer=customer, currency=invoice["currency"], invoice=invoice, subscription=None
            )
            world.emit("invoiceitem.created", item)
            items.append(item)
    for item in items:
        item["invoice"] = invoice_id
        world.lines[invoice_id].append(line_of_item(world, invoice, item))
    return _finish(world, invoice, parameters)


@handles("POST /v1/invoices/{invoice}/update_lines")
def update_lines(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    invoice = _draft(world, invoice_id, parameters)
    for given in parameters["lines"]:
        _find_line(world, invoice_id, given["id"])
        refuse_unsupported(given, LINE_FIELDS | {"id"}, "POST /v1/invoices/{invoice}/update_lines (lines)")
    for given in parameters["lines"]:
        _change_line(world, invoice, given["id"], given)
    return _finish(world, invoice, parameters)


@handles("POST /v1/invoices/{invoice}/remove_lines")
def remove_lines(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    invoice = _draft(world, invoice_id, parameters)
    removals = {given["id"]: given["behavior"] for given in parameters["lines"]}
    for line_id, behavior in removals.items():
        item_id = item_of_line(_find_line(world, invoice_id, line_id))
        item = world.store.find("invoiceitem", item_id)
        if item is None:
            raise StripeError("Lines of a subscription cannot be removed.", code="invoice_not_editable", param="lines")
        if behavior == "delete":
            remove_item(world, item)
        else:
            item["invoice"] = None
    world.lines[invoice_id] = [line for line in world.lines[invoice_id] if line["id"] not in removals]
    return _finish(world, invoice, parameters)


@handles("POST /v1/invoices/{invoice}/lines/{line_item_id}")
def update_line(world: World, parameters: Parameters, invoice_id: str, line_id: str) -> StripeObject:
    refuse_unsupported(parameters, LINE_FIELDS, "POST /v1/invoices/{invoice}/lines/{line_item_id}")
    invoice = world.store.get("invoice", invoice_id)
    require_draft(invoice)
    _find_line(world, invoice_id, line_id)
    _change_line(world, invoice, line_id, parameters)
    resum(world, invoice, event=True)
    return _find_line(world, invoice_id, line_id)


def _draft(world: World, invoice_id: str, parameters: Parameters) -> StripeObject:
    invoice = world.store.get("invoice", invoice_id)
    require_draft(invoice)
    if len(parameters["lines"]) > LINES_A_CALL_MAX:
        raise StripeError(
            f"Array must have at most {LINES_A_CALL_MAX} elements.", code="parameter_invalid_array", param="lines"
        )
    return invoice


def _finish(world: World, invoice: StripeObject, parameters: Parameters) -> StripeObject:
    if "invoice_metadata" in parameters:
        given = {"metadata": parameters["invoice_metadata"]}
        invoice["metadata"] = merged_metadata(invoice["metadata"] or {}, given)
    resum(world, invoice, event=True)
    return invoice


def _find_line(world: World, invoice_id: str, line_id: str) -> StripeObject:
    line = next((line for line in world.lines[invoice_id] if line["id"] == line_id), None)
    if line is None:
        raise resource_missing("line item", line_id, param="lines", status=400)
    return line


def _change_line(world: World, invoice: StripeObject, line_id: str, given: Parameters) -> None:
    line = _find_line(world, invoice["id"], line_id)
    item = world.store.find("invoiceitem", item_of_line(line))
    if item is not None:
        change_item(world, item, {name: value for name, value in given.items() if name != "id"})
        return
    if VALUE & given.keys():
        raise not_implemented("changing the amount of a subscription's line", param="lines")
    changed = {**line, "metadata": merged_metadata(line["metadata"], given)}
    if "description" in given:
        changed["description"] = unset(given["description"])
    for name in ("discountable", "period"):
        if name in given:
            changed[name] = given[name]
    if "discounts" in given:
        owner = {"customer": invoice["customer"], "invoice_item": line_id, "currency": invoice["currency"]}
        changed["discounts"] = new_discounts(world, given["discounts"], **owner)
    if "tax_rates" in given:
        rates = find_tax_rates(world, given["tax_rates"], param="tax_rates")
        set_line_tax_rates(world, line_id, [rate["id"] for rate in rates] or None)
    lines = world.lines[invoice["id"]]
    lines[lines.index(line)] = changed


def _waiting_item(world: World, item_id: str, invoice: StripeObject) -> StripeObject:
    item = world.store.get("invoiceitem", item_id, param="lines")
    if item["invoice"] is not None or item["customer"] != invoice["customer"]:
        raise StripeError("The invoice item is on an invoice already, or another customer's.", param="lines")
    return item
