"""What the demo came to, as one line of JSON, and the two identities it must keep. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from billing.reconciliation.comparison import shown
from billing.reconciliation.figures import Figures


@dataclass(frozen=True, slots=True)
class Proved:
    """What a backtest found: of the customers it compared, what they paid and would pay, in currency units."""

    customers: int
    pays_now: Decimal
    would_pay: Decimal
    # Periods that could not be compared, and those it rates otherwise under their own terms than accrual did.
    failures: int
    not_as_posted: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything the last line states, as found in the database and in the answers to the senders."""

    figures: Figures
    # Events the senders were told are taken, and were told are known already.
    acknowledged: int
    duplicates: int
    entries: int
    out_of_balance: int
    checked: int
    discrepancies: int
    proved: Proved
    # Stage -> seconds.
    seconds: Mapping[str, float]


def failures(outcome: Outcome) -> list[str]:
    """Return a sentence for everything that does not hold; empty when all is well."""
    figures = outcome.figures
    paid_for = figures.included + figures.credited + figures.billed + figures.absorbed
    went = (
        figures.collected + figures.open + figures.moved_to_balance + figures.credit_notes + figures.written_off
    )  # fmt: skip
    found = []
    if figures.events != outcome.acknowledged:
        found.append(f"{outcome.acknowledged} events were acknowledged, {figures.events} are stored.")
    if figures.rated != paid_for:
        found.append(f"rated {figures.rated} is not included + credited + billed + absorbed, which is {paid_for}.")
    if figures.invoiced != went:
        found.append(
            f"invoiced {figures.invoiced} is not collected + open + moved_to_balance + credit_notes + written_off,"
            f" which is {went}."
        )
    if outcome.out_of_balance:
        found.append(f"{outcome.out_of_balance} journal entries are out of balance.")
    if outcome.proved.failures or outcome.proved.not_as_posted:
        found.append(
            f"The backtest could not compare {outcome.proved.failures} periods, and rates"
            f" {outcome.proved.not_as_posted} otherwise than accrual did."
        )
    if outcome.discrepancies:
        found.append(f"Reconciliation found {outcome.discrepancies} discrepancies; see them in the admin.")
    return found


def as_json(outcome: Outcome) -> str:
    """Return the summary as one line of JSON; money as decimal strings."""
    figures = outcome.figures
    return json.dumps(
        {
            "events": {
                "accepted": figures.events,
                "duplicates": outcome.duplicates,
                "conflicts": figures.conflicts,
                "quarantined": figures.quarantined,
            },
            "windows": figures.windows,
            "rated": money(figures.rated),
            "included": money(figures.included),
            "credited": money(figures.credited),
            "billed": money(figures.billed),
            "invoiced": money(figures.invoiced),
            "collected": money(figures.collected),
            "open": money(figures.open),
            "moved_to_balance": money(figures.moved_to_balance),
            "credit_notes": money(figures.credit_notes),
            "written_off": money(figures.written_off),
            "ledger": {"entries": outcome.entries, "out_of_balance": outcome.out_of_balance},
            "reconciliation": {"checked": outcome.checked, "discrepancies": outcome.discrepancies},
            "seconds": dict(outcome.seconds),
        }
    )


def money(amount: Decimal) -> str:
    """Return an exact amount as text with at least two decimal places."""
    whole, _, fraction = shown(amount).partition(".")
    return f"{whole}.{fraction:0<2}"
