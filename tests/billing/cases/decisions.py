"""
Where a decision of field.md makes a case otherwise, where another test reproduces it, and which issue it belongs to.

A rule looks at what a case is, not at its id. It counts only where our figure is another one: a case that comes out the
same is reproduced, whatever a rule says of its kind.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.billing.cases.reader import Case

# Calculations that need a database, or more of the platform than a function: by the tests that do the same.
ELSEWHERE = {
    "dedupe": "tests/billing/cases/test_cases.py, TestEventsOfSeveralSources: the door of metering itself",
    "credits": "tests/billing/rating/test_allocation.py, test_reproduces_public_burn_down_cases",
    "replay_once": "tests/billing/accounting/test_worked_examples_prepaid.py: becomes_a_paid_grant_and_a_bonus_once",
}
_ENTITLEMENTS = "entitlements, limits and holds"
LATER = {
    "limit_resolution": _ENTITLEMENTS,
    "concurrent_hard_limit": _ENTITLEMENTS,
    "reservation": _ENTITLEMENTS,
    "rollover_add": "rollover of grants",
    "race_single_use": "promotion codes",
    "refund_tax": "tax: what a refund gives back of it",
    "credit_cap": "credits on Stripe's invoice: its own customer balance settles them, to the last cent",
    "stated": "a fact that is told without a calculation",
}


def decided(case: Case) -> str | None:
    """Return the decision that makes this case otherwise, None if there is none."""
    return next((text for is_one, text in _DECISIONS if is_one(case)), None)


def _asks(calc: str, is_one: Callable[[dict[str, Any]], bool]) -> Callable[[Case], bool]:
    return lambda case: case.calc == calc and is_one(case.given)


def _is_beyond_the_last(given: dict[str, Any]) -> bool:
    """More than the tiers of Kill Bill hold, which lets the rest go free."""
    held = sum(Decimal(tier["block_size"]) * Decimal(tier["max_blocks"] or "Infinity") for tier in given["tiers"])
    return given["mode"].lower() == "all_tiers" and Decimal(given["quantity"]) > held


_DECISIONS: list[tuple[Callable[[Case], bool], str]] = [
    (
        _asks("credits", lambda given: "order" in given),
        "credit order: priority before expiry, as Stripe has it; Orb takes the soonest expiry first",
    ),
    (
        _asks("credits", lambda given: any("recur_every_h" in grant for grant in given["grants"])),
        "a grant recurs as a new grant of each period, never by refilling one; rollover is of a later issue",
    ),
    (
        lambda case: case.area in ("graduated", "volume") and Decimal(case.given.get("quantity", 0)) < 0,
        "zero usage: a quantity below zero counts as none, and the first tier's flat fee is charged for none",
    ),
    (
        _asks("graduated_split", lambda given: not Decimal(given["quantity"])),
        "zero usage: the first tier's flat fee is charged at the period's start, in whichever part that is",
    ),
    (
        _asks("percent_of", lambda given: given.get("mode", "half_up") != "half_up"),
        "rounding: half away from zero, once for each invoice line",
    ),
    (_asks("blocks", _is_beyond_the_last), "no usage is free because tiers ended: the last tier holds all the rest"),
]
