"""
Money on its way: what has to clear and has not, by the movement that stands open, and what Stripe lists of refunds,
disputes and payouts against our rows.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Model

from billing.payments.models import Dispute, Payout, Refund
from billing.payments.queries import payment_of
from billing.reconciliation.comparison import Agreed, Findings, Pair, Scope
from billing.reconciliation.minor_units import in_units
from billing.reconciliation.queries import rows, scalar
from billing.reconciliation.stripe_checks import after_the_cut
from billing.stripe import gateway
from billing.stripe.errors import StripeRefused
from billing.stripe.gateway import StripeDict
from billing.stripe.readers import id_of
from billing.stripe.seconds import second_from
from billing.takeover.cut import is_payment_left_out

# Per account that has to clear, and per story on it: the charge, refund, dispute or payout its entries name. A reversal
# belongs to the story of what it reverses, a credit note to that of the charge whose refund it stands for, and an entry
# made by hand to what it refers to.
_TOLD = """
WITH movement AS (
    SELECT ac.kind AS account, ac.currency, coalesce(ac.customer_key, '') AS customer_key, po.amount, je.id AS entry_id,
           je.effective_at, coalesce(reversed.cause, je.cause) AS cause
      FROM ledger_account ac
      JOIN ledger_posting po ON po.account_id = ac.id
      JOIN ledger_journalentry je ON je.id = po.entry_id
      LEFT JOIN ledger_journalentry reversed ON reversed.id = je.reverses_id
     WHERE ac.kind IN ('stripe:in_transit', 'payout:in_transit', 'disputes', 'suspense', 'refund_due')
), told AS (
    SELECT movement.*, coalesce(
               CASE account
                   WHEN 'stripe:in_transit' THEN coalesce(cause ->> 'refund', cause ->> 'charge')
                   WHEN 'payout:in_transit' THEN cause ->> 'payout'
                   WHEN 'disputes' THEN cause ->> 'dispute'
                   WHEN 'refund_due'
                       THEN coalesce(cause ->> 'charge', credited.stripe_charge_id, cause ->> 'credit_note')
               END,
               cause ->> 'balance_transaction', cause ->> 'customer_balance_transaction', nullif(by_hand.reference, ''),
               'journal entry ' || entry_id) AS story
      FROM movement
      LEFT JOIN billing_manualentry by_hand ON by_hand.id::text = cause ->> 'manual_entry'
      LEFT JOIN LATERAL (
           SELECT r.stripe_charge_id
             FROM billing_creditnoterefund n JOIN billing_refund r USING (stripe_refund_id)
            WHERE n.stripe_credit_note_id = movement.cause ->> 'credit_note' LIMIT 1) credited ON true
)
"""
_OPEN_STORIES = f"""{_TOLD}
SELECT account, currency, customer_key, story, sum(amount), max(effective_at), max(entry_id)
  FROM told
 GROUP BY 1, 2, 3, 4
HAVING sum(amount) <> 0
 ORDER BY 1, 2, 3, 6, 4
"""
# Those that are over are nearly all there ever were: they are counted where they are.
_CLEARED = f"""{_TOLD}
SELECT count(*)
  FROM (SELECT FROM told GROUP BY account, currency, customer_key, story HAVING sum(amount) = 0) AS cleared
"""
_UNDECIDED = (
    Dispute.Status.NEEDS_RESPONSE,
    Dispute.Status.UNDER_REVIEW,
    Dispute.Status.WARNING_NEEDS_RESPONSE,
    Dispute.Status.WARNING_UNDER_REVIEW,
)
_DISPUTE = re.compile(r"(du|dp)_[A-Za-z0-9]+")  # an id; a person's reference may be any text
_MEANING = {
    "stripe:in_transit": "A payment or refund and its movement on our balance at Stripe do not meet: one of them is "
    "missing, or has another amount.",
    "payout:in_transit": "A payout that Stripe sent neither arrived nor came back, or we were not told.",
    "disputes": "A dispute is decided and its money neither came back nor was given up.",
    "suspense": "Money moved at Stripe in a way not known here: find out what it was and correct the books.",
    "refund_due": "The customer is owed money that no refund sends: a refund failed, a payment came that nobody asked "
    "for, or a promise made by hand names no charge. Send it, apply it to an invoice, or end the promise.",
}


@dataclass(frozen=True, slots=True)
class Story:
    """What the entries about one thing add up to on an account that has to clear; debits are above zero."""

    account: str
    currency: str
    customer_key: str
    name: str
    amount: Decimal
    moved_at: datetime
    entry_id: int


def clearing_accounts(scope: Scope) -> Findings:
    """
    Every story on an account that has to clear adds up to nothing, or is younger than BILLING_CLEARING_DAYS.

    Suspense is never young; an undecided dispute is never old. Stripe is asked about one that has no row here.
    """
    undecided = set(Dispute.objects.filter(status__in=_UNDECIDED).values_list("stripe_dispute_id", flat=True))
    limit = scope.range_end - timedelta(days=settings.BILLING_CLEARING_DAYS)
    for story in (Story(*row) for row in rows(_OPEN_STORIES)):
        may_wait = story.name in undecided or (story.account != "suspense" and story.moved_at > limit)
        if not may_wait and not _is_undecided_without_row(story):
            yield _open_story(story)
        else:
            yield Agreed(1)
    yield Agreed(scalar(_CLEARED))


def _is_undecided_without_row(story: Story) -> bool:
    """Whether it is the dispute of a charge that is nobody's here, and not decided at Stripe."""
    if story.account != "disputes" or not _DISPUTE.fullmatch(story.name):
        return False
    if Dispute.objects.filter(stripe_dispute_id=story.name).exists():
        return False
    with suppress(StripeRefused):  # a person's entry may name one that there is not
        return gateway.retrieve(f"/v1/disputes/{story.name}")["status"] in _UNDECIDED
    return False


def _open_story(story: Story) -> Pair:
    code = ":".join(part for part in (story.account, story.customer_key, story.currency) if part)
    return Pair(
        f"account {code}: {story.name}", "cleared", Decimal(0), "ledger", story.amount,
        f"{_MEANING[story.account]} Last moved {story.moved_at:%Y-%m-%d} by journal entry {story.entry_id}.",
        story.customer_key, story.name,
    )  # fmt: skip


def stripe_money(scope: Scope) -> Findings:
    """
    Every refund, dispute and payout Stripe lists of the range against ours: there, with its amount and status.

    A charge without a payment intent is nobody's payment here, unless it was made before a takeover; nor is a payment
    that a takeover left out by its id.
    """
    scope = after_the_cut(scope)
    within = {"gte": second_from(scope.range_start), "lt": second_from(scope.range_end)}
    for noun, rows_of, id_field in (
        ("refund", Refund.objects.filter, "stripe_refund_id"),
        ("dispute", Dispute.objects.filter, "stripe_dispute_id"),
    ):
        ours = _ours(rows_of, id_field, scope)
        listed = gateway.listed(f"/v1/{noun}s", created=within)
        yield from _compared(noun, (one for one in listed if one["id"] in ours or _is_expected(one)), ours)
    payouts = gateway.listed("/v1/payouts", created=within)
    yield from _compared("payout", payouts, _ours(Payout.objects.filter, "stripe_payout_id", scope))


def _is_expected(part: StripeDict) -> bool:
    """Whether a refund or dispute that is not here should be."""
    payment = id_of(part.get("payment_intent"))
    # One that nobody had tried when it was left out may have been paid since.
    return bool(payment) and (payment_of(payment) is not None or not is_payment_left_out(payment))


def _ours(found: Callable[..., Iterable[Model]], id_field: str, scope: Scope) -> dict[str, Any]:
    made = found(occurred_at__gte=scope.range_start, occurred_at__lt=scope.range_end)
    return {getattr(row, id_field): row for row in made}


def _compared(noun: str, at_stripe: Iterable[StripeDict], ours: dict[str, Any]) -> Findings:
    seen = 0
    for theirs in at_stripe:
        seen += 1
        row = ours.pop(theirs["id"], None)
        says = f"{in_units(theirs['amount'], theirs['currency'].upper()):f} {theirs['currency'].upper()}"
        here = None
        if row is not None:
            here = f"{in_units(row.amount_minor, row.currency):f} {row.currency}, {row.status}"
        yield Pair(
            f"{noun} {theirs['id']}", "at Stripe", f"{says}, {theirs['status']}", "ours", here,
            f"The {noun} changed at Stripe after we last looked at it, or we were never told of it.",
            stripe_id=theirs["id"],
        )  # fmt: skip
    for stripe_id in sorted(ours):
        yield Pair(
            f"{noun} {stripe_id}", "at Stripe", None, "ours", ours[stripe_id].status,
            f"We hold a {noun} that Stripe does not list.", stripe_id=stripe_id,
        )  # fmt: skip
    if not seen:
        yield Agreed(1)  # none at Stripe, and none here that is not named above
