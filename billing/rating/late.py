"""Why a closed period was accrued again, written down beside the accrual in the same transaction."""

from billing.rating.models import LateUsage, UsageAccrual
from billing.rating.totals import PeriodState
from metering import queries as metering_queries


def explain(accrual: UsageAccrual, *, previous: UsageAccrual | None, posted: PeriodState) -> LateUsage:
    """
    Record what made a closed period change: arrivals since the accrual before, and what the period came to until then.

    Without any arrival something else moved it, such as a grant that was issued or ended for the past. Nothing of it is
    settled yet: that is the work of billing.invoicing.late.
    """
    period, before = accrual.period, posted.total()
    found = metering_queries.arrivals(
        period.subscription.customer.customer_key,
        period.starts_at,
        period.ends_at,
        from_xid=(previous.counted_before_xid or 0) if previous else 0,
        to_xid=accrual.counted_before_xid or 0,
    )
    return LateUsage.objects.create(
        accrual=accrual,
        policy=period.plan_version.late_policy,
        rated_before=before.rated,
        unbilled_before=before.unbilled,
        events=found.events,
        voided=found.voided,
        restored=found.restored,
        first_received_at=found.first_received_at,
        last_received_at=found.last_received_at,
        first_window=found.first_window,
        last_window=found.last_window,
        windows=found.windows,
    )
