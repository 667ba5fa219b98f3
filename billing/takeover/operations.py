"""
Taking over a Stripe account: a plan that writes nothing, a run that brings it in, and a check of the result.

A run writes nothing at Stripe. It may be interrupted anywhere and said again; what people have not decided stops it
before it writes anything.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from django.db import IntegrityError, connection, transaction

from billing.accounting.chart import system_account_specs
from billing.stripe import gateway
from billing.stripe.inbox_models import PollPosition
from billing.stripe.poll import EVENTS, MOVEMENTS
from billing.stripe.readers import id_of
from billing.stripe.seconds import second_of
from billing.takeover import bringing
from billing.takeover.bringing import Job
from billing.takeover.cut import is_second_before
from billing.takeover.deciding import Decided, Problem, decide
from billing.takeover.document import Map
from billing.takeover.finding import (
    DISPUTE,
    INVOICE,
    PAYMENT,
    PAYOUT,
    REFUND,
    SUBSCRIPTION,
    Found,
    Progress,
    StripeDict,
    look,
    silent,
)
from billing.takeover.models import TakenOver, Takeover, TakeoverRun
from billing.takeover.opening import open_account
from ledger.operations import open_accounts

Kind = TakenOver.Kind
# Stripe's balance is read between two looks at what moved; so often, until nothing moves meanwhile.
LOOKS_MAX = 5
Clock = Callable[[], datetime]
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('billing.takeover', 0))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended('billing.takeover', 0))"


class TakeoverRefused(Exception):
    """The account cannot be taken over like this; nothing was written. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do. With `problems` it does nothing."""

    as_of: datetime
    found: Found
    decided: Decided

    @property
    def problems(self) -> Sequence[Problem]:
        return self.decided.problems


def plan_takeover(*, by: Map, as_of: datetime | None, now: datetime, progress: Progress = silent) -> Plan:
    """
    Read the account and decide about all of it; writes nothing. `as_of` is the cut: that of the takeover that was
    begun, or else now. Raises TakeoverRefused for a cut that cannot be, StripeUnavailable and StripeRefused.
    """
    at = _cut_of(as_of, now=now)
    found = look(as_of=at, progress=progress)
    return Plan(at, found, decide(found, by=by, as_of=at))


def _cut_of(as_of: datetime | None, *, now: datetime) -> datetime:
    begun = Takeover.objects.first()
    if begun is not None:
        if as_of not in (None, begun.as_of):
            raise TakeoverRefused(
                f"the takeover was begun as of {begun.as_of:%Y-%m-%dT%H:%M:%SZ}, and its cut cannot be moved;"
                " leave --as-of away"
            )
        return begun.as_of
    at = datetime.fromtimestamp(second_of(now) - 1, tz=UTC) if as_of is None else as_of
    if at.microsecond or at >= now:
        raise TakeoverRefused(f"the cut {at.isoformat()} must be a whole second that is over")
    return at


def run_takeover(
    *,
    by: Map,
    as_of: datetime | None,
    actor: str,
    clock: Clock,
    progress: Progress = silent,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> TakeoverRun | None:
    """
    Bring in the account; said again it goes on where it stopped, and when all is here it changes nothing. None where it
    was interrupted. Not inside a transaction.

    `clock` says when each thing is written, and when the run began and ended. Raises TakeoverRefused while anything is
    undecided, where the books hold movements of before the cut already, and while another run is under way; and
    StripeUnavailable and StripeRefused; what was brought in until then stays.
    """
    started_at = clock()
    with _alone():
        plan = plan_takeover(by=by, as_of=as_of, now=started_at, progress=progress)
        if plan.problems:
            number = len(plan.problems)
            raise TakeoverRefused(
                f"{number} {'thing is' if number == 1 else 'things are'} undecided, first {plan.problems[0]}"
            )
        takeover = _begin(plan.as_of, actor=actor, now=started_at)
        brought_in = _bring(plan, takeover, actor=actor, clock=clock, progress=progress, is_interrupted=is_interrupted)
        if brought_in is None:
            return None
        return TakeoverRun.objects.create(
            takeover=takeover,
            map=by.as_data(),
            found=plan.found.numbers(plan.as_of),
            brought_in=brought_in,
            started_at=started_at,
            finished_at=clock(),
            actor=actor,
        )


@contextmanager
def _alone() -> Iterator[None]:
    """Hold a lock of the session, as the work is many transactions; it ends with the process, however that ends."""
    with connection.cursor() as cursor:
        cursor.execute(_TRY_LOCK)
        if not cursor.fetchone()[0]:
            raise TakeoverRefused("another run is under way; let it come to its end, or interrupt it")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(_UNLOCK)


def _bring(
    plan: Plan,
    takeover: Takeover,
    *,
    actor: str,
    clock: Clock,
    progress: Progress,
    is_interrupted: Callable[[], bool],
) -> dict[str, int] | None:
    """Bring in one thing after the other; return how many of each kind were new, None where it was interrupted."""
    brought_in: Counter[str] = Counter()
    total = _how_many(plan)
    with gateway.bulk_work():
        _open_clearing(takeover, now=clock())
        bringing.bring_prices(plan.decided.prices)
        bringing.leave_out(_left_out(plan), job=Job(takeover, actor, clock()))
        for done, (kind, step) in enumerate(_steps(plan, takeover), start=1):
            if is_interrupted():
                return None
            brought_in[kind] += step(job=Job(takeover, actor, clock()))
            progress(f"bringing in {kind}s", done, total)
    return dict(brought_in)


def _begin(as_of: datetime, *, actor: str, now: datetime) -> Takeover:
    """Fix the cut. From here on the projections know it. The polls begin there."""
    try:
        with transaction.atomic():
            defaults = {"as_of": as_of, "started_at": now, "started_by": actor}
            takeover, _ = Takeover.objects.get_or_create(defaults=defaults)
            for name in (EVENTS, MOVEMENTS):
                PollPosition.objects.get_or_create(name=name, defaults={"read_until": as_of})
    except IntegrityError as error:
        if "billing_takeover_before_the_books" not in str(error):
            raise
        raise TakeoverRefused(
            f"the books hold money or invoices of before {as_of:%Y-%m-%dT%H:%M:%SZ} already; take the account over"
            " into a database whose workers have not run with its key"
        ) from error
    return takeover


def _how_many(plan: Plan) -> int:
    """How many steps there are at most: some are of customers who are left out."""
    things = sum(plan.found.shelf.number(kind) for kind in (INVOICE, PAYMENT, PAYOUT))
    return len(plan.decided.customers) + len(plan.decided.subscriptions) + things


def _steps(plan: Plan, takeover: Takeover) -> Iterator[tuple[str, Callable[..., bool]]]:
    """What is to be done, in the order in which one thing needs the other."""
    decided, shelf = plan.decided, plan.found.shelf
    for customer in decided.customers:
        yield Kind.CUSTOMER, partial(bringing.bring_customer, customer)
    for wanted in decided.subscriptions:
        theirs = shelf.one(SUBSCRIPTION, wanted.stripe_id, customer=wanted.stripe_customer_id)
        step = partial(bringing.bring_subscription, wanted, theirs=theirs, reading=plan.found.reading)
        yield Kind.SUBSCRIPTION, step
    for invoice in shelf.each(INVOICE):
        if id_of(invoice["customer"]) not in decided.left_out:
            yield Kind.INVOICE, partial(bringing.bring_invoice, invoice)
    closed_at = _closed_after(takeover) if shelf.number(DISPUTE) else {}
    for intent in shelf.each(PAYMENT):
        if id_of(intent.get("customer")) not in decided.left_out:
            yield (
                Kind.PAYMENT,
                partial(
                    bringing.bring_payment,
                    intent,
                    invoice_id=shelf.invoice_paid_by(intent["id"]),
                    refunds=shelf.of_payment(REFUND, intent["id"]),
                    disputes=shelf.of_payment(DISPUTE, intent["id"]),
                    closed_at=closed_at,
                ),
            )
    for payout in shelf.each(PAYOUT):
        yield Kind.PAYOUT, partial(bringing.bring_payout, payout)


def _left_out(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Kind, Stripe's id and reason of everything that people leave out: customers by name, and what is theirs."""
    shelf = plan.found.shelf
    for customer, reason in plan.decided.left_out.items():
        yield Kind.CUSTOMER, customer, reason
        for kind in (Kind.SUBSCRIPTION, Kind.INVOICE, Kind.PAYMENT):
            for one in shelf.of_customer(kind, customer):
                if kind != Kind.SUBSCRIPTION and not is_second_before(one["created"], plan.as_of):
                    continue
                yield kind, one["id"], f"its customer {customer} is left out"
                for dispute in shelf.of_payment(DISPUTE, one["id"]):
                    yield Kind.DISPUTE, dispute["id"], f"its customer {customer} is left out"


def _closed_after(takeover: Takeover) -> dict[str, datetime]:
    """When disputes were decided after the cut: Stripe tells that by events only, of the last 30 days."""
    since = {"gte": second_of(takeover.as_of) + 1}
    events = gateway.listed("/v1/events", types=["charge.dispute.closed"], created=since)
    return {one["data"]["object"]["id"]: datetime.fromtimestamp(one["created"], tz=UTC) for one in events}


def _open_clearing(takeover: Takeover, *, now: datetime) -> None:
    """Enter our balance at Stripe at the cut, in each currency. What moved after it has entries of its own."""
    if takeover.runs.exists() or takeover.entries.filter(account_kind="stripe:clearing").exists():
        return
    at_cut = balance_at(takeover.as_of)
    with transaction.atomic():
        open_accounts([spec for currency in sorted(at_cut) for spec in system_account_specs(currency)])
        for currency, minor in sorted(at_cut.items()):
            open_account(
                "stripe:clearing", debit_minor=minor, currency=currency, memo="Stripe balance at the takeover", now=now
            )


def balance_at(as_of: datetime) -> dict[str, int]:
    """
    Our balance at Stripe at the end of a second, in minor units by currency: today's less what moved after it.

    Raises TakeoverRefused where money never stops moving between the looks.
    """
    moved = _moved_after(as_of)
    for _ in range(LOOKS_MAX):
        balance = gateway.retrieve("/v1/balance")
        again = _moved_after(as_of)
        if again.keys() == moved.keys():
            return _less(balance, list(again.values()))
        moved = again
    raise TakeoverRefused("money moves at Stripe faster than its balance can be read; try again in some minutes")


def _moved_after(as_of: datetime) -> dict[str, StripeDict]:
    listed = gateway.listed("/v1/balance_transactions", created={"gte": second_of(as_of) + 1})
    return {one["id"]: one for one in listed}


def _less(balance: StripeDict, moved: Sequence[StripeDict]) -> dict[str, int]:
    held: dict[str, int] = defaultdict(int)
    for part in (*balance["available"], *balance["pending"]):
        held[part["currency"].upper()] += part["amount"]
    for one in moved:
        held[one["currency"].upper()] -= one["net"]
    return dict(held)
