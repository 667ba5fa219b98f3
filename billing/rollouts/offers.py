"""Which version of a plan a new customer is offered: the newest one, or what its rollout's share says."""

from django.db.models import Exists, OuterRef, Q

from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.rollouts.comparing.cohorts import place_of
from billing.rollouts.guards import reaches
from billing.rollouts.models.rollouts import Rollout, RolloutEvent


def offered_version(*, plan_code: str, customer: Customer) -> PlanVersion | None:
    """
    Return the published version of the plan, in the customer's currency, that this customer is to subscribe to.

    A version that a rollout brings is offered to those whom the stages reach while it runs, and to everybody once it is
    completed; while it is planned, halted or rolled back nobody new gets it. Whom a later rollout takes away from a
    version, to one that is sold still, is not offered it. None if nothing is offered.
    """
    versions = PlanVersion.objects.filter(
        plan__code=plan_code, currency=customer.currency, status=PlanVersion.Status.PUBLISHED, only_for=None
    )
    for version in versions.select_related("plan", "rate_card").order_by("-version"):
        brought = _brings(version)
        away = version.rollouts_away.filter(
            id__gt=brought.pk if brought is not None else 0,
            state__in=(Rollout.State.RUNNING, Rollout.State.COMPLETED),
            candidate__status=PlanVersion.Status.PUBLISHED,
        ).order_by("-id")
        if any(_is_offered(rollout, customer) for rollout in away[:1]):
            continue
        if brought is None or _is_offered(brought, customer):
            return version
    return None


def _brings(version: PlanVersion) -> Rollout | None:
    """The latest rollout to the version; one that was called off before it started says nothing about it."""
    started = RolloutEvent.objects.filter(rollout=OuterRef("pk"), kind=RolloutEvent.Kind.STARTED)
    called_off = Q(state=Rollout.State.ROLLED_BACK) & ~Exists(started)
    return version.rollouts_to.exclude(called_off).order_by("-id").first()


def _is_offered(rollout: Rollout, customer: Customer) -> bool:
    if rollout.state == Rollout.State.COMPLETED:
        return True
    place = place_of(customer.customer_key, salt=rollout.salt)
    stages = rollout.stages.filter(position__lte=rollout.stage)
    return rollout.state == Rollout.State.RUNNING and reaches(stages, place=place, kind=customer.kind)
