"""How the machine is: what is behind, what failed, and what waits for a person. Each figure leads to its list."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Count, Min, Q
from django.urls import reverse

from billing.accounting import manual_entries
from billing.admin_links import list_url, page_url
from billing.figures import Figure, tone_of
from billing.invoicing.metered import ends, shortfalls
from billing.invoicing.models import InvoiceClose
from billing.invoicing.orders import repeating
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.proofs import queries as proof_queries
from billing.invoicing.requests.models import InvoiceRequest
from billing.money_text import counted, minor_text, quantity_text
from billing.payments.waiting import payments_waiting
from billing.rating.models import LateUsage
from billing.reconciliation import queries as reconciliation_queries
from billing.reconciliation import slices
from billing.reconciliation.models import ReconciliationRun
from billing.stripe import redriving
from billing.stripe.inbox_models import PollPosition
from billing.stripe.models import InboxEvent, OutboxIntent
from metering import queries as metering_queries

PROOFS_SHOWN = timedelta(days=30)
ENDS_SHOWN = 100
LAG_MAX = timedelta(minutes=5)
ROUND_MAX = timedelta(days=2)
ORDER_LATE_AFTER = timedelta(hours=6)
POLL_LAG_MAX = timedelta(hours=6)
May = Callable[[str], bool]


def sees_usage(may: May) -> bool:
    return may("metering.view_aggregationwindow")


def health_figures(*, may: May, now: datetime) -> list[Figure]:
    """How far behind, whether everything was counted, and what stands still."""
    figures = []
    if sees_usage(may):
        figures += [_lag(now), _conservation(may)]
    if may("metering.view_alarm"):
        figures.append(_alarms())
    if may("billing.view_reconciliationrun"):
        figures.append(_discrepancies(now))
    if may("billing.view_invoiceclose"):
        held = InvoiceClose.objects.exclude(held_reason="").count()
        figures.append(Figure("Held closes", str(held), _held_note(held), _held_url(), tone_of(held)))
    if may("billing.view_invoice"):
        figures.append(_not_finalized())
    if may("billing.view_invoiceproof"):
        figures.append(_proofs(now))
    if may("billing.view_invoiceorder"):
        figures += [_orders(now), _orders_to_repeat(now), _ends_beside_fees()]
    if may("billing.approve_invoicerequest"):
        figures.append(_requests())
    if may("billing.view_lateusage"):
        figures.append(_late_usage())
    if may("billing.view_meteredshortfall"):
        figures.append(_left_off())
    if may("billing.approve_manualentry"):
        figures.append(_second_person())
    figures += [Figure(*one) for one in payments_waiting(may, now=now)]
    if may("billing.view_inboxevent"):
        figures += [_inbox(now), _polling(now)]
    if may("billing.view_outboxintent"):
        figures += [_outbox(), _unfinished_writes(now)]
    return figures


def _proofs(now: datetime) -> Figure:
    """Of the invoices finalised within a month: proved before they left, proved again since, and failed."""
    found = proof_queries.figures(start=now - PROOFS_SHOWN, end=now)
    note = f"of {found.finalised:,} finalised in 30 days; verified {found.verified:,}, failed {found.failed:,}"
    tone = "bad" if found.failed else "good" if found.proved == found.finalised else "waiting"
    return Figure("Proved invoices", f"{found.proved:,}", note, list_url("billing.invoice"), tone)


def _not_finalized() -> Figure:
    """Drafts of somebody else's that Stripe could not finalise, each until it is; of ours the close is held."""
    aside = InboxEvent.objects.filter(state="dead", type="invoice.finalization_failed").order_by("-received_at")
    drafts = dict(aside.values_list("object_id", "error"))
    note = next(iter(drafts.values()), "drafts that are not of our making").removeprefix("ProjectionRefused: ")
    url = list_url("billing.invoice", status__exact="draft")
    return Figure("Stripe could not finalise", str(len(drafts)), note, url, tone_of(len(drafts)))


def _lag(now: datetime) -> Figure:
    through = metering_queries.aggregated_through()
    if through == metering_queries.NEVER:
        return Figure(
            "Usage is counted", "not yet", "no window was made so far", list_url("metering.aggregationwindow")
        )
    return Figure(
        "Usage lags behind",
        str(whole_seconds(now - through)),
        f"complete through {through:%d %b %H:%M:%S} UTC",
        list_url("metering.aggregationwindow"),
        "bad" if now - through > LAG_MAX else "good",
    )


def _conservation(may: May) -> Figure:
    """Every pair of an event and a meter is counted, or excluded with a reason. Leads to the page that recomputes it,
    or for those who may not open that to the events."""
    found = metering_queries.conservation()
    excluded = sum(found.excluded.values())
    lost = found.pairs - found.counted - excluded
    note = f"{quantity_text(Decimal(found.counted))} counted, {quantity_text(Decimal(excluded))} excluded with a reason"
    value = "all counted" if lost == 0 else f"{lost} lost"
    proof = may("metering.view_aggregationadvance")
    url = reverse("admin:metering_conservation") if proof else list_url("metering.usageevent")
    return Figure("Events × meters", value, note, url, "good" if lost == 0 else "bad")


def _alarms() -> Figure:
    number = sum(metering_queries.open_alarms().values())
    note = "usage, or what counts it, is not as expected" if number else "usage is as expected"
    return Figure("Open alarms", str(number), note, list_url("metering.alarm", state="open"), tone_of(number))


def _discrepancies(now: datetime) -> Figure:
    """Of the last comparison that is finished; and how far the one is that is under way, and what it has found."""
    run, latest = last_run(), reconciliation_queries.latest_round()
    note, found = "", 0
    if latest is not None and latest.finished_at is None:
        found = latest.discrepancy_count
        note = f"the round of {latest.started_at:%d %b %H:%M} UTC is {slices.said_of(latest)}, {found} found so far"
    if run is None:
        return Figure("Discrepancies", "never compared", note, list_url("billing.reconciliationrun"), "waiting")
    compared = f"{quantity_text(Decimal(run.checked))} pairs of figures compared, {run.started_at:%d %b %H:%M} UTC"
    return Figure(
        "Discrepancies",
        str(run.discrepancy_count),
        f"{compared}; {note}" if note else compared,
        list_url("billing.discrepancy", run__id__exact=run.pk),
        "bad" if run.discrepancy_count or found or (note and now - run.started_at > ROUND_MAX) else "good",
    )


def whole_seconds(passed: timedelta) -> timedelta:
    return timedelta(seconds=max(0, passed // timedelta(seconds=1)))


def _inbox(now: datetime) -> Figure:
    states = InboxEvent.objects.exclude(state="done").aggregate(
        failed=Count("pk", filter=Q(state__in=("failed", "dead"))),
        dead=Count("pk", filter=Q(state="dead")),
        waiting=Count("pk", filter=Q(state__in=("received", "processing"))),
        oldest=Min("received_at", filter=Q(state__in=("received", "processing"))),
    )
    note = f"{states['waiting']} waiting"
    if states["oldest"] is not None:
        note += f", the oldest for {whole_seconds(now - states['oldest'])}"
    if states["dead"]:
        note = f"{states['dead']} set aside; {note}"
    url = list_url("billing.inboxevent", state__in="failed,dead")
    return Figure("Failed inbox events", str(states["failed"]), note, url, tone_of(states["failed"]))


def _polling(now: datetime) -> Figure:
    """What webhooks did not bring, and whether Stripe's lists were read in time: they forget after 30 days."""
    positions = {position.name: position for position in PollPosition.objects.all()}
    position = positions.pop("events", None)
    found = InboxEvent.objects.filter(source="poll", received_at__gte=now - timedelta(days=7)).count()
    url = list_url("billing.pollposition")
    others = [one for one in positions.values() if _is_read_late(one, now)]
    if position is None or position.complete_at is None:
        tone = "bad" if positions else "waiting"
        return Figure("Events found only by polling", str(found), "Stripe's list was never read whole", url, tone)
    if position.lost_from is not None and position.lost_until is not None:
        note = f"events of {position.lost_from:%d %b} to {position.lost_until:%d %b} are lost: reconcile them"
        return Figure("Events found only by polling", str(found), note, url, "bad")
    note = f"in 7 days; Stripe's list was read {position.complete_at:%d %b %H:%M} UTC"
    for one in others:
        read = "never read whole" if one.complete_at is None else f"last read {one.complete_at:%d %b %H:%M} UTC"
        note += f"; the list of {one.name.replace('_', ' ')} was {read}"
    late = len(others) + _is_read_late(position, now)
    return Figure("Events found only by polling", str(found), note, url, tone_of(late))


def _is_read_late(position: PollPosition, now: datetime) -> bool:
    """A list of which no reading has even begun could not be read at all."""
    read_at = position.complete_at or position.begun_at
    return read_at is None or now - read_at > POLL_LAG_MAX


def _outbox() -> Figure:
    counts = OutboxIntent.objects.exclude(state="succeeded").aggregate(
        refused=Count("pk", filter=Q(state="refused")), intended=Count("pk", filter=Q(state="intended"))
    )
    url = list_url("billing.outboxintent", state__exact="refused")
    return Figure(
        "Refused by Stripe", str(counts["refused"]), f"{counts['intended']} on the way", url, tone_of(counts["refused"])
    )


def _unfinished_writes(now: datetime) -> Figure:
    found = redriving.unfinished(OutboxIntent.objects.all(), now=now).aggregate(
        number=Count("pk"), oldest=Min("created_at")
    )
    note = "every write to Stripe has an outcome"
    if found["oldest"] is not None:
        note = f"the oldest for {whole_seconds(now - found['oldest'])}"
    url = list_url("billing.outboxintent", waiting="unfinished")
    return Figure("Unfinished writes to Stripe", str(found["number"]), note, url, tone_of(found["number"]))


def _late_usage() -> Figure:
    number = LateUsage.objects.filter(state=LateUsage.State.DECISION).count()
    url = list_url("billing.lateusage", state__exact=LateUsage.State.DECISION)
    note = "usage of periods that were invoiced before it came"
    return Figure("Late usage to decide", str(number), note, url, "waiting" if number else "good")


def _left_off() -> Figure:
    """
    What a report said after the comparison: it would be charged by nobody, and nobody would ask. And what was to be
    asked for by a document that Stripe refused.
    """
    found, refused = shortfalls.amounts_waiting(), list(shortfalls.documents_refused())
    waiting, amounts = sum(count for _, count, _ in found), (minor_text(amount, cur) for cur, _, amount in found)
    notes = [f"{', '.join(amounts)}: have it sent again, or decide"] if waiting else []
    if refused:
        notes.append(f"{counted(len(refused), 'document')} not made: {refused[0].error}")
    note, number = "; ".join(notes) or "Stripe's meters brought what was sent", waiting + len(refused)
    url = list_url("billing.meteredshortfall", **({"waiting": "yes"} if waiting or not refused else {}))
    return Figure("Usage Stripe left off an invoice", str(number), note, url, tone_of(number))


def _ends_beside_fees() -> Figure:
    """Closing invoices that cannot be made before a person ended a draft of Stripe's own."""
    found = list(ends.waiting_for_a_person()[:ENDS_SHOWN])
    note = f"{found[0].customer}: {found[0].error}" if found else "no last invoice of Stripe's waits for a person"
    url = page_url("billing.invoiceorder", found[0].pk) if len(found) == 1 else ""
    url = url or list_url("billing.invoiceorder", state__exact="intended", kind__exact="closing")
    return Figure("Ends with fees and usage on Stripe's draft", str(len(found)), note, url, tone_of(len(found)))


def _second_person() -> Figure:
    number = manual_entries.waiting().count()
    url = list_url("billing.manualentry", state="waiting")
    note = "manual entries above what one person may move alone"
    return Figure("Waiting for a second person", str(number), note, url, "waiting" if number else "good")


def _orders(now: datetime) -> Figure:
    """Invoices of our making that are not drafted yet. One that waits for long is late."""
    under_way = InvoiceOrder.objects.filter(state=InvoiceOrder.State.INTENDED)
    counted = under_way.aggregate(number=Count("pk"), oldest=Min("ordered_at"))
    waits = counted["oldest"] is not None and now - counted["oldest"] > ORDER_LATE_AFTER
    note = "the oldest since " + f"{counted['oldest']:%d %b %H:%M} UTC" if counted["oldest"] else "none waits"
    url = list_url("billing.invoiceorder", state__exact="intended")
    return Figure("Invoice orders under way", str(counted["number"]), note, url, "bad" if waits else "good")


def _orders_to_repeat(now: datetime) -> Figure:
    """Invoices of our making that Stripe refused or lost, and that nobody had made once more: nothing asks for them."""
    number = repeating.waiting_for_a_person(now=now).count()
    url = list_url("billing.invoiceorder", state__in="refused,lost")
    note = "mend it at Stripe, then order it again" if number else "none waits for a person"
    return Figure("Invoice orders refused", str(number), note, url, tone_of(number))


def _requests() -> Figure:
    number = InvoiceRequest.objects.filter(state=InvoiceRequest.State.WAITING).count()
    url = list_url("billing.invoicerequest", state__exact="waiting")
    note = "one-offs, voids and credit notes above the limit"
    return Figure("Invoice requests to decide", str(number), note, url, "waiting" if number else "good")


def _held_note(held: int) -> str:
    return "a person has to look" if held else "nothing waits for a person"


def _held_url() -> str:
    return list_url("billing.invoiceclose", held="yes")


def last_run() -> ReconciliationRun | None:
    return ReconciliationRun.objects.filter(finished_at__isnull=False).order_by("-started_at", "-id").first()
