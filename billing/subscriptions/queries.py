"""All reads about subscriptions and billing periods."""

from dataclasses import dataclass

from billing.catalog.fees import fee_minor_of
from billing.catalog.models import PlanVersion
from billing.subscriptions.models import BillingPeriod


@dataclass(frozen=True, slots=True)
class Fee:
    """What one item of a period costs in advance: its version, seats, and minor units for the whole period."""

    version: PlanVersion
    seats: int
    amount_minor: int


def latest_period(subscription_id: int) -> BillingPeriod | None:
    """Return the period of the subscription that starts last, or None."""
    return BillingPeriod.objects.filter(subscription_id=subscription_id).order_by("-starts_at").first()


def fees_of(period: BillingPeriod) -> list[Fee]:
    """
    Return the recurring fees of a whole period under these terms, the plan's first: bundled add-ons have none, and of a
    trial and of a pause all are zero.
    """
    items = [(period.plan_version, period.seats)]
    own = period.add_ons.filter(is_bundled=False).select_related("plan_version__plan")
    items += [(add_on.plan_version, add_on.seats) for add_on in own]
    is_free = period.kind != BillingPeriod.Kind.REGULAR
    return [Fee(version, seats, 0 if is_free else fee_minor_of(version, seats)) for version, seats in items]
