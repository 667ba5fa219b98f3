"""A proof against the tables as they stand: whatever of it was changed since is named with both values."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import Sum

from billing.catalog.models import Rate
from billing.invoicing.late_models import AbsorbedUsage, LateCreditLine
from billing.invoicing.metered.shortfalls import left_off
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.proofs import gathering
from billing.invoicing.proofs.reading import instant_text, line_row, number_text
from billing.invoicing.proofs.verifier.proof import Document, Proof, name_of
from billing.invoicing.proofs.verifier.usage import plain
from billing.invoicing.proofs.windows import hour_at, stored_windows
from billing.rating.models import GrantDrawdown
from billing.subscriptions.models import BillingPeriod
from metering import queries as metering_queries
from promotions import queries as promotions_queries

Row = Mapping[str, Any]


def differences_from_tables(document: Document, invoice: Invoice) -> list[str]:
    """Return a sentence for every value of the proof that the tables no longer hold."""
    proof = Proof(document)
    return [
        *_rates(document),
        *_meters(document),
        *_lines(document, invoice),
        *(text for period in document["periods"] for text in _period(proof, period, invoice)),
    ]


def _fields(name: str, held: Row, stored: Row | None) -> Iterator[str]:
    """What of a row differs; `held` is the proof's."""
    if stored is None:
        yield f"{name} is in the proof and in no table any more"
        return
    for field, value in held.items():
        if stored.get(field) != value:
            yield f"{name}: {field} is {stored.get(field)!r} in the tables, {value!r} in the proof"


def _rates(document: Document) -> Iterator[str]:
    held = {row["id"]: row for row in document["rates"]}
    stored = {rate.pk: gathering.rate_row(rate) for rate in Rate.objects.filter(pk__in=list(held))}
    for rate_id, row in held.items():
        yield from _fields(f"rate {rate_id}", row, stored.get(rate_id))


def _meters(document: Document) -> Iterator[str]:
    stored = {(one.code, one.version): gathering.meter_row(one) for one in metering_queries.meter_definitions()}
    for row in document["meters"]:
        # That a next version followed ends it; nothing that it counted changes by that.
        held = {name: value for name, value in row.items() if name != "counts_before" or value is not None}
        yield from _fields(f"meter {row['code']} v{row['version']}", held, stored.get((row["code"], row["version"])))


def _lines(document: Document, invoice: Invoice) -> Iterator[str]:
    lines = list(invoice.lines.filter(kind__in=gathering.OURS))
    prices = {line.pk: line.metered_price_id for line in lines}
    stored = {line.pk: line_row(line) for line in lines}
    # What Stripe left off a line is compared with the finalised invoice.
    lacking = left_off(invoice) if any(prices.values()) else {}
    for row in document["lines"]:
        held = row
        if lacking and (stored.get(row["id"], {}).get("period"), prices.get(row["id"])) in lacking:
            held = {name: value for name, value in row.items() if name not in ("exact", "rounding", "amount_minor")}
        yield from _fields(f"line {row['id']}", held, stored.pop(row["id"], None))
    for line_id in stored:
        yield f"line {line_id} is on the invoice and not in the proof"


def _period(proof: Proof, period: Document, invoice: Invoice) -> Iterator[str]:
    name = name_of(period)
    found = BillingPeriod.objects.select_related("plan_version__plan", "subscription__customer")
    stored = found.filter(pk=period["id"]).first()
    if stored is None:
        yield f"{name} is in the proof and in no table any more"
        return
    terms = gathering.terms_row(stored)
    yield from _fields(name, {field: period[field] for field in terms}, terms)
    chains = [[[rate.pk for rate in card] for card in chain] for chain in gathering.rates_of(stored)]
    yield from _fields(name, {"chains": period["chains"]}, {"chains": chains})
    if "scope" in period:
        yield from _fields(name, {"scope": period["scope"]}, {"scope": gathering.scope_of(invoice, stored.pk)})
    yield from _amounts(name, period)
    yield from _grants(name, period, stored)
    yield from _settled(name, period)
    yield from _windows(proof, period)


def _amounts(name: str, period: Document) -> Iterator[str]:
    """What accruals and drawdowns up to the proof's revision add up to."""
    stored = gathering.amounts_rows(period["id"], through=period["revision"])
    held, told = ({row[0]: row[1:] for row in one["rates"]} for one in (period, stored))
    for rate_id in sorted(held.keys() | told.keys()):
        if held.get(rate_id) != told.get(rate_id):
            yield (
                f"{name}, rate {rate_id}: lines of accruals come to {told.get(rate_id)}, the proof says"
                f" {held.get(rate_id)} (units, rated, included, credited, unbilled)"
            )
    held, told = ({tuple(row[:3]): row[3:] for row in one["paid"]} for one in (period, stored))
    for rate_id, kind, source_id in sorted(held.keys() | told.keys()):
        of_both = [" and ".join(one.get((rate_id, kind, source_id), ["nothing"])) for one in (told, held)]
        if of_both[0] != of_both[1]:
            yield (
                f"{name}, rate {rate_id}: drawdowns on {kind} {source_id} come to {of_both[0]} units, the proof says"
                f" {of_both[1]} units"
            )


def _grants(name: str, period: Document, stored: BillingPeriod) -> Iterator[str]:
    customer = stored.subscription.customer
    balances = {
        one.grant_id: one for one in promotions_queries.grants_of(customer.customer_key, currency=customer.currency)
    }
    named = promotions_queries.grants_by_id(balances)
    for row in period["grants"]:
        one = balances.get(row["id"])
        told = one and {
            "kind": one.kind,
            "priority": one.priority,
            "effective_at": instant_text(one.effective_at),
            "expires_at": None if one.expires_at is None else instant_text(one.expires_at),
            "recorded_at": instant_text(one.recorded_at),
            "amount": number_text(named[one.grant_id].amount),
        }
        held = {field: row[field] for field in told or {}}
        yield from _fields(f"{name}, grant {row['id']}", held, told or None)
        for other in row["others"]:
            drawn = GrantDrawdown.objects.filter(
                grant_id=row["id"],
                accrual__period_id=other["period"],
                accrual__revision__lte=other["revision"],
            ).aggregate(sum=Sum("amount"))["sum"]
            amount = number_text(drawn or 0)
            if amount != other["amount"]:
                yield (
                    f"{name}, grant {row['id']}: period {other['period']} took {amount} of it by its drawdowns, the"
                    f" proof says {other['amount']}"
                )


def _settled(name: str, period: Document) -> Iterator[str]:
    """The documents that had billed, absorbed or given back before."""
    rows = period["settled"]
    ids = {kind: [row["id"] for row in rows if row["kind"] == kind] for kind in ("line", "absorbed", "credit")}
    stored: dict[tuple[str, int], Row] = {}
    for line in InvoiceLine.objects.filter(pk__in=ids["line"]):
        stored["line", line.pk] = _amount_of(line.quantity, line.exact_amount)
    for absorbed in AbsorbedUsage.objects.filter(pk__in=ids["absorbed"]):
        stored["absorbed", absorbed.pk] = _amount_of(absorbed.quantity, absorbed.amount)
    for credit in LateCreditLine.objects.filter(pk__in=ids["credit"]):
        stored["credit", credit.pk] = _amount_of(credit.quantity, credit.exact_amount)
    for row in rows:
        held = {"quantity": row["quantity"], "amount": row["amount"]}
        yield from _fields(f"{name}, earlier {row['kind']} {row['id']}", held, stored.get((row["kind"], row["id"])))


def _amount_of(quantity: Any, amount: Any) -> Row:
    return {"quantity": number_text(quantity), "amount": number_text(amount)}


def _windows(proof: Proof, period: Document) -> Iterator[str]:
    """Windows that nothing has changed since."""
    stored, hours = stored_windows(proof, period)
    held = {place: one for place, one in proof.windows(period).items() if hour_at(place.hour) not in hours}
    for place in sorted(held.keys() | stored.keys()):
        one, other = held.get(place), stored.get(place)
        if one != other:
            told = ", ".join(
                f"{where} {'no such window' if found is None else _told(found)}"
                for where, found in (("the table holds", other), ("the proof", one))
            )
            yield f"{proof.window_name(place)}: {told}"


def _told(window: Any) -> str:
    return f"{plain(window.quantity)} ({window.events} events, fingerprint {window.fingerprint})"
