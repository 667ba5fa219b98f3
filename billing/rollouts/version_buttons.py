"""What the page of a plan version offers: ways to prove it on usage, and to bring it to customers."""

from django.urls import reverse

from billing.catalog.models import PlanVersion
from billing.catalog.version_actions import May, VersionAction

Status = PlanVersion.Status


def backtest(version: PlanVersion, may: May) -> VersionAction | None:
    if version.status == Status.RETIRED or not may("billing.request_backtest"):
        return None
    url = f"{reverse('admin:billing_backtest_new')}?candidate={version.pk}"
    return VersionAction("Backtest", url, "history", is_primary=version.status == Status.DRAFT)


def shadow(version: PlanVersion, may: May) -> VersionAction | None:
    if version.status == Status.RETIRED or not may("billing.start_shadowrating"):
        return None
    url = f"{reverse('admin:billing_shadowrating_start')}?candidate={version.pk}"
    return VersionAction("Rate beside what is paid", url, "contrast")


def simulate(version: PlanVersion, may: May) -> VersionAction | None:
    if not may("billing.simulate_planversion"):
        return None
    return VersionAction("Simulate for a customer", f"{reverse('simulator:show')}?right={version.pk}", "compare")


def roll_out(version: PlanVersion, may: May) -> VersionAction | None:
    is_ready = version.status in (Status.APPROVED, Status.PUBLISHED) and version.only_for_id is None
    if not is_ready or not may("billing.plan_rollout"):
        return None
    url = f"{reverse('admin:billing_rollout_plan')}?candidate={version.pk}"
    return VersionAction("Plan a rollout", url, "rocket_launch", is_primary=version.status == Status.APPROVED)
