"""
Usage that Stripe left off an invoice: it said only after the close was compared that an event does not count.

While the invoice is a draft its close is held, and what is missing can be sent again. Where Stripe takes it no more, or
finalised the invoice without it, a person decides (`deciding`), and the invoice is entered as Stripe charges it.
Nothing is passed over: what nobody decided about stands on the overview.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, Min, OuterRef, QuerySet, Subquery, Sum

from billing.invoicing import late_intending
from billing.invoicing.absorbing import give_up
from billing.invoicing.holding import held
from billing.invoicing.late_models import LateCorrection
from billing.invoicing.metered.models import MeteredEvent, MeteredShortfall, MeteredShortfallDecision
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceLine
from billing.invoicing.queries import uninvoiced_amount
from billing.invoicing.rounding import from_minor, to_minor
from billing.money_text import minor_text
from billing.rating import queries as rating_queries
from billing.rating.queries import Uninvoiced
from billing.rating.rating import ZERO
from billing.stripe.models import OutboxIntent
from billing.stripe.readers import price_of_line
from billing.subscriptions.models import BillingPeriod

StripeDict = dict[str, Any]
Way = MeteredShortfallDecision.Way
# What a person may decide; that it was sent again is found out.
WAYS = (Way.NEXT_INVOICE, Way.DOCUMENT, Way.ABSORB)
SENT_AGAIN = "Stripe's summary says again what the line charges."
LOST_AGAIN = "It was sent again, and that does not count either: {event}."
SERVICE = "service:invoicing"


def waiting() -> QuerySet[MeteredShortfall]:
    """
    What nobody has decided about. An invoice that is in our books charges what its lines say, whatever a report said
    afterwards: nothing was left off it. Nor was anything off a draft that was deleted: another asks for all of it.
    """
    found = MeteredShortfall.objects.filter(decision=None, close__invoice__finalized_at=None)
    return found.exclude(close__invoice__status=Invoice.Status.VOID)


def amounts_waiting() -> list[tuple[str, int, int]]:
    """By currency: how many wait, and what they come to in minor units; one query."""
    rows = waiting().order_by().values_list("close__invoice__currency")
    return [(row[0], row[1], row[2]) for row in rows.annotate(number=Count("pk"), total=Sum("amount_minor"))]


def documents_refused() -> QuerySet[LateCorrection]:
    """
    Documents of what Stripe left off that it refused, for as long as something of their period is on no invoice: the
    next invoice takes it, and where there is none a person has to see to it.
    """
    decided = MeteredShortfall.objects.filter(decision__way=Way.DOCUMENT, event__period=OuterRef("period"))
    left = BillingPeriod.objects.filter(pk=OuterRef("period")).annotate(left=uninvoiced_amount()).exclude(left=0)
    return LateCorrection.objects.filter(Exists(decided), Exists(left), state=LateCorrection.State.REFUSED)


def record_shortfalls(events: Iterable[MeteredEvent], *, now: datetime) -> list[MeteredShortfall]:
    """
    Write down which of these events, that do not count, a close was compared with already, and hold those whose invoice
    is still a draft. Inside the caller's transaction, which holds the periods: one that is compared now waits.

    What was sent again for others and is lost too stands for them: the meter lacks it once.
    """
    made = []
    for event in events:
        compared = InvoiceClose.objects.filter(
            period__subscription_id=event.period.subscription_id,
            period__ends_at__gte=event.period.ends_at,
            steps__step=InvoiceClose.Step.VERIFIED,
        )
        close = compared.select_related("invoice").order_by("period__ends_at").first()
        if close is None or MeteredShortfall.objects.filter(event=event).exists():
            continue
        same = waiting().filter(close=close, event__period=event.period_id, event__price=event.price_id)
        note_sent_again(same.filter(found_at__lte=event.made_at), why=LOST_AGAIN.format(event=event), now=now)
        amount = event.units * event.price.unit_minor
        shortfall = MeteredShortfall.objects.create(event=event, close=close, amount_minor=amount, found_at=now)
        _hold(close, words_of(shortfall), now=now)
        made.append(shortfall)
    return made


def _hold(close: InvoiceClose, words: str, *, now: datetime) -> None:
    """Not one that Stripe was told to finalise: what it finalised without the usage, its projection says."""
    is_told = OutboxIntent.objects.filter(purpose=f"close:{close.pk}:finalize").exists()
    if close.invoice.status == Invoice.Status.DRAFT and not is_told:
        drafts = InvoiceClose.objects.filter(pk=close.pk, held_reason="").exclude(step__in=InvoiceClose.ENDS)
        drafts.update(**held(words, now=now))


def words_of(shortfall: MeteredShortfall) -> str:
    """What is wrong and what to do, in a sentence."""
    event = shortfall.event
    amount = minor_text(shortfall.amount_minor, shortfall.close.invoice.currency)
    return (
        f"{amount} of usage of {event.period} does not count at Stripe ({event.identifier}: {event.error}). Have it "
        "sent again, or decide what becomes of it; then let the invoice go on"
    )


def left_off(invoice: Invoice) -> dict[tuple[int, int], int]:
    """
    By period and metered price, the minor units that Stripe left off a line and a person decided about. Not of a line
    that Stripe charged in full after all.
    """
    decided = _decided(invoice)
    if not decided:
        return {}
    lines = invoice.lines.filter(metered_price__isnull=False).select_related("metered_price")
    given = {(line.period_id or 0, line.metered_price_id or 0): line for line in lines}
    return {
        key: lacking
        for key, lacking in decided.items()
        if lacking and key in given and given[key].amount_minor != _counted_for(given[key]) + lacking
    }


def _decided(invoice: Invoice) -> dict[tuple[int, int], int]:
    rows = MeteredShortfall.objects.filter(close__invoice=invoice, decision__way__in=WAYS)
    sums = rows.order_by().values_list("event__period_id", "event__price_id").annotate(Sum("amount_minor"))
    return {(row[0], row[1]): row[2] for row in sums}


def _counted_for(line: InvoiceLine) -> int:
    """What counts at the meter of a line, less what other invoices of Stripe's own charge of it, in minor units."""
    assert line.metered_price is not None
    counts = MeteredEvent.objects.filter(period=line.period_id, price=line.metered_price_id)
    units = counts.exclude(state=MeteredEvent.State.NOT_COUNTED).aggregate(total=Sum("units"))["total"] or 0
    others = InvoiceLine.objects.filter(period=line.period_id, metered_price=line.metered_price_id)
    others = others.exclude(invoice=line.invoice_id).exclude(invoice__status=Invoice.Status.VOID)
    billed: int = others.aggregate(total=Sum("amount_minor"))["total"] or 0
    return int(units * line.metered_price.unit_minor) - billed


def goes_onto_next_invoice(period_id: int) -> bool:
    """Whether something that Stripe left off is to be asked for by the next invoice, and was not so far."""
    decided = MeteredShortfall.objects.filter(event__period=period_id, decision__way=Way.NEXT_INVOICE)
    asked_for = InvoiceLine.objects.filter(
        period=OuterRef("event__period"), rate=OuterRef("event__price__rate"), pk__gt=OuterRef("line")
    ).exclude(invoice__status=Invoice.Status.VOID)
    lines = InvoiceLine.objects.filter(invoice=OuterRef("close__invoice"), metered_price=OuterRef("event__price"))
    own = lines.filter(period=OuterRef("event__period")).values("pk")[:1]
    return decided.annotate(line=Subquery(own)).filter(~Exists(asked_for)).exists()


def bring_lines(invoice: Invoice, stripe_lines: Sequence[StripeDict], *, now: datetime) -> bool:
    """
    Let the lines of an invoice be what Stripe charges, where a person decided about just what it left off, and carry
    the decision out; False where there is nothing like that. Nothing was posted by these lines yet, and the database
    refuses any amount but what counts at the meter.

    Inside the transaction that enters the invoice, the customer held: so it is carried out once, with what is left.
    """
    decided = _decided(invoice)
    charged = {price_of_line(line): line["amount"] for line in stripe_lines} if decided else {}
    brought = []
    lines = invoice.lines.filter(metered_price__isnull=False).select_related("metered_price", "rate")
    for line in lines if decided else ():
        assert line.metered_price is not None
        lacking = decided.get((line.period_id or 0, line.metered_price_id or 0), 0)
        amount = line.amount_minor - lacking
        if not lacking or amount != charged.get(line.metered_price.stripe_price_id) or amount != _counted_for(line):
            continue
        exact = from_minor(amount, invoice.currency)
        InvoiceLine.objects.filter(pk=line.pk).update(amount_minor=amount, exact_amount=exact, rounding=ZERO)
        brought.append(line)
    for line in brought:
        _carry_out(invoice, line, now=now)
    if brought:
        InvoiceClose.objects.filter(invoice=invoice).update(held_reason="", held_at=None, findings=[])
    return bool(brought)


def _carry_out(invoice: Invoice, line: InvoiceLine, *, now: datetime) -> None:
    """
    Absorb, or write down documents of, just what was left off a line; the rest the next invoice finds. What else is
    left of the period, such as usage that arrived since, is not part of it.
    """
    assert line.period_id is not None  # it is usage
    same = MeteredShortfall.objects.filter(
        close__invoice=invoice, event__period=line.period_id, event__price=line.metered_price_id,
        decision__way__in=(Way.ABSORB, Way.DOCUMENT),
    )  # fmt: skip
    rows = same.order_by().values_list("decision__way", "decision__decided_by", "decision__reason")
    for way, actor, reason, lacking, first in rows.annotate(Sum("amount_minor"), Min("pk")):
        if not lacking:
            continue
        period = BillingPeriod.objects.select_related("subscription__customer", "plan_version").get(pk=line.period_id)
        found = rating_queries.uninvoiced(period.subscription_id, period.pk)
        rest = next((one for one in found if one.rate.pk == line.rate_id), None)
        if rest is None:
            continue
        is_all = to_minor(rest.amount, invoice.currency) == lacking
        part = Uninvoiced(rest.rate, ZERO, rest.amount if is_all else from_minor(lacking, invoice.currency))
        if way == Way.ABSORB:
            give_up(period, [part], reason=reason, actor=actor, idempotency_key=f"metered_shortfall:{first}", now=now)
        else:
            late_intending.intend(period, late_intending.plan_for(period, [part]), actor=actor, now=now)


def note_sent_again(found: Iterable[MeteredShortfall], *, now: datetime, why: str = SENT_AGAIN) -> int:
    """It was sent again: for this event nothing is to be decided. Inside the caller's transaction."""
    made = [
        MeteredShortfallDecision(shortfall=one, way=Way.SENT_AGAIN, reason=why, decided_by=SERVICE, decided_at=now)
        for one in found
    ]
    return len(MeteredShortfallDecision.objects.bulk_create(made))
