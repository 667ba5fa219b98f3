"""Usage that is told while the invoice for its period is still a draft: the invoice bills it when it becomes final.

So says Stripe's page on the finalization grace period, which is an hour unless the account chooses another.
"""

from tests.sandbox.billing.subscriptions.period_lines import BilledUsage, lines_of_usage
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def refresh_usage(world: World, invoice: StripeObject) -> bool:
    """Make a draft's lines anew where usage was told, or canceled, since. Whether any changed; no sums are redone."""
    changed = False
    for billed in world.billed_usage.get(invoice["id"], []):
        changed |= _refresh(world, invoice, billed)
    return changed


def _refresh(world: World, invoice: StripeObject, billed: BilledUsage) -> bool:
    lines = world.lines[invoice["id"]]
    former = [line for line in lines if line["id"] in billed.lines]
    latest = lines_of_usage(world, invoice, billed)
    if [_measure(line) for line in former] == [_measure(line) for line in latest]:
        return False
    place = lines.index(former[0]) if former else len(lines)
    kept = [line for line in lines if line["id"] not in billed.lines]
    for line, successor in zip(former, latest, strict=False):
        successor["id"] = line["id"]
    world.lines[invoice["id"]] = [*kept[:place], *latest, *kept[place:]]
    billed.lines = [line["id"] for line in latest]
    return True


def _measure(line: StripeObject) -> tuple[int, str]:
    return line["amount"], line["quantity_decimal"]
