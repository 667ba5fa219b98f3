"""A new price, proved on the month before anybody pays it: a draft of Pro and its backtest, to look at in the admin."""

from datetime import datetime
from decimal import Decimal
from pathlib import Path

from billing.catalog.document import read_yaml
from billing.catalog.models import PlanVersion
from billing.catalog.operations import load_catalog
from billing.rollouts.backtests import operations as backtests
from billing.rollouts.comparing.cohorts import Cohort
from config import clock
from config.demo.founding import ACTOR
from config.demo.stages import Bar
from config.demo.summary import Proved

NEXT_PRICES = Path(__file__).parent / "next_prices.yaml"
PLAN, VERSION = "pro", 2


def prove_next_prices(*, starts_at: datetime, ends_at: datetime, bar: Bar) -> Proved:
    """Load the draft, and work a backtest through over the periods that ended within the time."""
    load_catalog(read_yaml(NEXT_PRICES.read_text(encoding="utf-8")), now=clock.now())
    candidate = PlanVersion.objects.get(plan__code=PLAN, version=VERSION)
    asked = backtests.request_backtest(
        candidate_id=candidate.pk,
        starts_at=starts_at,
        ends_at=ends_at,
        cohort=Cohort(plans=(PLAN,)),
        idempotency_key=f"demo:{PLAN}:{VERSION}",
        actor=ACTOR,
        now=clock.now(),
    )
    report = backtests.run_backtest(backtest_id=asked.pk, clock=clock.now, on_part=bar.advance).report
    return Proved(
        customers=report["customers"],
        pays_now=Decimal(report["totals"]["current"]["pays"]),
        would_pay=Decimal(report["totals"]["candidate"]["pays"]),
        not_as_posted=report["not_as_posted"]["lines"],
        failures=sum(kind["lines"] for kind in report["failures"]),
    )
