"""What a proof says, derived anew and compared, from windows to the total. Each difference is a sentence."""

from fractions import Fraction

from billing.invoicing.proofs.verifier.charges import ZERO
from billing.invoicing.proofs.verifier.entries import compare_accruals
from billing.invoicing.proofs.verifier.lines import compare_lines
from billing.invoicing.proofs.verifier.paying import Amounts, Paid
from billing.invoicing.proofs.verifier.proof import (
    AMOUNT_NAMES,
    AccrualsOf,
    Document,
    EventsOf,
    Proof,
    Windows,
    name_of,
    signed,
)
from billing.invoicing.proofs.verifier.usage import Unreadable, instant, plain, windows_of

TOLD_MAX = 100
"""So many differences of one kind are told; the first is the one to look at."""


def verify(document: Document, events_of: EventsOf, accruals_of: AccrualsOf) -> list[str]:
    """Every way in which the proof differs from what its raw events, its terms and its entries come to."""
    proof = Proof(document)
    found: list[str] = []
    for period in document["periods"]:
        found += _grants(period)
        try:
            windows, counted, wrong = windows_of(
                events_of(period),
                proof.meters,
                instant(period["starts_at"]),
                instant(period["ends_at"]),
                position=period["position"],
                cuts=proof.rates_of(period).cuts,
            )
            found += wrong[:TOLD_MAX]
            found += compare_windows(proof, proof.windows(period), windows)[:TOLD_MAX]
            found += compare_outcome(period, proof.outcome(period, windows, counted))[:TOLD_MAX]
        except Unreadable as error:
            found.append(f"{name_of(period)}: {error}")
        found += compare_accruals(proof, period, accruals_of(period))[:TOLD_MAX]
    return found + compare_lines(proof)


def compare_windows(proof: Proof, said: Windows, derived: Windows) -> list[str]:
    found = []
    for place in sorted(said.keys() | derived.keys()):
        held, made = said.get(place), derived.get(place)
        if held == made:
            continue
        name = proof.window_name(place)
        if held is None or made is None:
            one = held or made
            assert one is not None
            what = (
                "is in the proof, and no event makes it" if made is None else "is made by events, and not in the proof"
            )
            found.append(f"{name}: {plain(one.quantity)} from {one.events} events {what}")
        elif (held.quantity, held.events) != (made.quantity, made.events):
            found.append(
                f"{name}: its events come to {plain(made.quantity)} ({made.events} events), the proof says"
                f" {plain(held.quantity)} ({held.events} events)"
            )
        else:
            found.append(
                f"{name}: fingerprint {made.fingerprint} of its events is not {held.fingerprint}: one was changed"
            )
    return found


def compare_outcome(period: Document, paid: Paid) -> list[str]:
    """Compare what each rate came to, and what each allowance and grant paid of it."""
    name, found = name_of(period), []
    said = {row[0]: Amounts(*map(Fraction, row[1:])) for row in period["rates"]}
    for rate_id in sorted(said.keys() | paid.by_rate.keys()):
        held, made = said.get(rate_id, Amounts()), paid.by_rate.get(rate_id, Amounts())
        found += [
            f"{name}, rate {rate_id}: {what} is {plain(getattr(made, what))} by its windows, the proof says"
            f" {plain(getattr(held, what))} ({signed(getattr(held, what) - getattr(made, what))})"
            for what in AMOUNT_NAMES
            if getattr(held, what) != getattr(made, what)
        ]
    sources = {(row[0], row[1], row[2]): (Fraction(row[3]), Fraction(row[4])) for row in period["paid"]}
    derived = {key: use for key, use in paid.by_source.items() if any(use)}
    for key in sorted(sources.keys() | derived.keys()):
        pair = sources.get(key, (ZERO, ZERO)), derived.get(key, (ZERO, ZERO))
        if pair[0] != pair[1]:
            rate_id, kind, source_id = key
            found.append(
                f"{name}, rate {rate_id}: {kind} {source_id} pays {plain(pair[1][0])} ({plain(pair[1][1])} units), the"
                f" proof says {plain(pair[0][0])} ({plain(pair[0][1])} units)"
            )
    return found


def _grants(period: Document) -> list[str]:
    """What a grant may give to a period is its amount less what was withdrawn and what other periods took."""
    found = []
    for grant in period["grants"]:
        taken = sum((Fraction(one["amount"]) for one in grant["others"]), ZERO)
        left = Fraction(grant["amount"]) - Fraction(grant["withdrawn"]) - taken
        if left != Fraction(grant["available"]):
            found.append(
                f"{name_of(period)}: grant {grant['id']} has {plain(left)} for it, the proof says {grant['available']}"
            )
    return found
