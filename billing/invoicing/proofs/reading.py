"""Rows of ours as the verifier takes them: raw events, runs of rating with their entries, the finalised invoice."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from billing.invoicing.discounts import discounts_of
from billing.invoicing.metered.shortfalls import left_off
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.proofs.verifier.proof import Document, read_json
from billing.invoicing.proofs.verifier.usage import Event
from billing.rating.models import UsageAccrual
from ledger import queries as ledger_queries
from metering import queries as metering_queries
from metering.queries import RawEvent

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_ENTRIES_AT_ONCE = 1_000


def instant_text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def microseconds(at: datetime) -> int:
    """Since 1970, as the verifier counts time."""
    return (at - _EPOCH) // _MICROSECOND


def number_text(number: Decimal | int) -> str:
    """One text for one number, however many zeros it was written with."""
    text = f"{Decimal(number):f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text if text.strip("-0") else "0"


def event_of_raw(raw: RawEvent) -> Event:
    return Event(
        raw.source,
        raw.event_id,
        microseconds(raw.event_time),
        raw.event_type,
        raw.recorded_xid,
        read_json(raw.data_json),
        raw.marks,
    )


def raw_events_of(document: Document, period: Document) -> Iterator[RawEvent]:
    """The raw events of a period of a proof, void and later ones too; see `metering.queries.raw_events`."""
    start, end = (datetime.fromisoformat(period[name]) for name in ("starts_at", "ends_at"))
    types = sorted({meter["event_type"] for meter in document["meters"]})
    return metering_queries.raw_events(document["invoice"]["customer_key"], start, end, types)


def accrual_rows(period_id: int, *, through: int) -> Iterator[dict[str, Any]]:
    """The runs of rating of a period in their order, up to a revision, each with its entry."""
    runs = UsageAccrual.objects.filter(period_id=period_id, revision__lte=through).order_by("revision")
    chunk: list[UsageAccrual] = []
    for run in runs.iterator(chunk_size=_ENTRIES_AT_ONCE):
        chunk.append(run)
        if len(chunk) == _ENTRIES_AT_ONCE:
            yield from _rows(chunk)
            chunk = []
    yield from _rows(chunk)


def _rows(runs: Sequence[UsageAccrual]) -> Iterator[dict[str, Any]]:
    entries = ledger_queries.texts_of_entries(
        [run.journal_entry_id for run in runs if run.journal_entry_id is not None]
    )
    for run in runs:
        entry = None if run.journal_entry_id is None else entries.get(run.journal_entry_id)
        yield {
            "revision": run.revision,
            **{name: number_text(getattr(run, name)) for name in ("rated", "included", "credited", "unbilled")},
            "entry": None if entry is None else _entry(entry.id, entry.idempotency_key, entry.lines),
        }


def _entry(entry_id: int, key: str, lines: Sequence[tuple[str, Decimal]]) -> dict[str, Any]:
    return {"id": entry_id, "key": key, "postings": [[account, number_text(amount)] for account, amount in lines]}


def line_row(line: InvoiceLine) -> dict[str, Any]:
    """A line as the proof holds it."""
    return {
        "id": line.pk,
        "position": line.position,
        "kind": line.kind,
        "period": line.period_id,
        "rate": line.rate_id,
        "description": line.description,
        "quantity": number_text(line.quantity),
        "exact": number_text(line.exact_amount),
        "rounding": number_text(line.rounding),
        "amount_minor": line.amount_minor,
    }


def finalised_of(invoice: Invoice) -> dict[str, Any]:
    """The invoice as Stripe finalised it, with all lines and its entry, which is found by its key."""
    entry = ledger_queries.entry_by_key(f"invoice_finalized:{invoice.stripe_invoice_id}")
    lines = list(invoice.lines.select_related("period").order_by("position"))
    lacking = left_off(invoice) if any(line.metered_price_id for line in lines) else {}
    taken = discounts_of(invoice) if any(line.discount_minor for line in lines) else {}
    learned = ("stripe_line_id", "discount_minor", "exclusive_tax_minor", "inclusive_tax_minor")
    return {
        "number": invoice.number,
        "status": invoice.status,
        "total_minor": invoice.total_minor,
        "finalized_at": None if invoice.finalized_at is None else instant_text(invoice.finalized_at),
        "lines": [
            {
                **line_row(line),
                **{name: getattr(line, name) for name in learned},
                **_of_fee(line),
                **_discounts_of(line, taken),
                **_left_off(line, lacking),
            }
            for line in lines
        ],
        "entry": None
        if entry is None
        else _entry(entry.id, entry.idempotency_key, [(line.account, line.amount) for line in entry.lines]),
    }


def _of_fee(line: InvoiceLine) -> dict[str, Any]:
    """When the period begins that a fee is of: what tells the fee that was expected from prorations."""
    if line.kind != InvoiceLine.Kind.FEE:
        return {}
    return {"starts_at": None if line.period is None else instant_text(line.period.starts_at)}


def _discounts_of(line: InvoiceLine, taken: Mapping[int, list[list[Any]]]) -> dict[str, Any]:
    """Which discounts took what off a line; nothing for one that none did, or of before they were told apart."""
    return {"discounts": taken[line.pk]} if line.pk in taken else {}


def _left_off(line: InvoiceLine, lacking: Mapping[tuple[int, int], int]) -> dict[str, Any]:
    """What of a line of a meter Stripe did not charge, and a person decided about: the proof was of all of it."""
    found = lacking.get((line.period_id or 0, line.metered_price_id or 0))
    return {"left_off_minor": found} if found else {}


def pruned(data: Mapping[str, Any], paths: Sequence[Sequence[str]]) -> dict[str, Any]:
    """What of an event's data lies on these paths, and nothing else."""
    kept: dict[str, Any] = {}
    for step in {path[0] for path in paths if path and path[0] in data}:
        below, value = [path[1:] for path in paths if path[:1] == (step,) or list(path[:1]) == [step]], data[step]
        kept[step] = pruned(value, below) if isinstance(value, dict) and all(below) else value
    return kept
