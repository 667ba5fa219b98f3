"""
Accounting periods: finance closes the books up to an instant, and nothing takes effect before it any more.

What is found wrong in a closed period, or arrives too late for it, is posted with `moves_to_open_period`: it takes
effect at the start of the open period. A correction's cause names the entry it corrects ({"corrects": "17"}).
"""

from datetime import datetime

from django.db import connection, transaction
from django.db.utils import IntegrityError, OperationalError

from ledger.drafts import require_aware
from ledger.errors import PeriodOrder, PostingsUnderWay
from ledger.models import PeriodClosing


def close_periods(*, before: datetime, decided_at: datetime, actor: str, reason: str) -> None:
    """
    Close every period before the instant.

    :raises PeriodOrder: if the books are closed up to there already.
    :raises PostingsUnderWay: if a posting does not end within a few seconds.
    """
    _decide(before, reopens=False, decided_at=decided_at, actor=actor, reason=reason)


def reopen_periods(*, since: datetime, decided_at: datetime, actor: str, reason: str) -> None:
    """
    Open the periods from the instant on again. The closing stays on record, and so does who took it back, and why.

    :raises PeriodOrder: if the books are not closed there.
    :raises PostingsUnderWay: if a posting does not end within a few seconds.
    """
    _decide(since, reopens=True, decided_at=decided_at, actor=actor, reason=reason)


def closed_before() -> datetime | None:
    """The start of the open period; None if nothing was ever closed."""
    return PeriodClosing.objects.order_by("-pk").values_list("closed_before", flat=True).first()


def _decide(instant: datetime, *, reopens: bool, decided_at: datetime, actor: str, reason: str) -> None:
    require_aware(instant)
    require_aware(decided_at)
    if not actor or not reason:
        raise ValueError("Who decides about a period says so, and why.")
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT ledger_decide_period(%s, %s, %s, %s, %s)", [instant, reopens, decided_at, actor, reason]
            )
    except IntegrityError as error:
        diagnosis = getattr(error.__cause__, "diag", None)
        if getattr(diagnosis, "constraint_name", None) == PeriodOrder.rule:
            raise PeriodOrder(str(getattr(diagnosis, "message_primary", ""))) from error
        raise
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == "55P03":  # lock_not_available
            raise PostingsUnderWay from error
        raise
