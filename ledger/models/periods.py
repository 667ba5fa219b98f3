"""Up to when the books are closed, as the history of the decisions that said so (docs/decisions/0007)."""

from django.db import models
from django.db.models import Q


class PeriodClosing(models.Model):
    """
    One decision about the accounting periods. The last one stands: no entry takes effect before its `closed_before`.

    Periods follow each other without a gap, so one instant says which are closed. Closing moves it forward; a reopening
    moves it back and says so.
    """

    # Nothing takes effect before this instant any more. It is the start of the open period.
    closed_before = models.DateTimeField()
    # True for a reopening: the instant lies before that of the decision it follows, instead of after it.
    reopens = models.BooleanField(default=False)
    # When it was decided, by whom ("user:NAME"), and why.
    decided_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=500)

    class Meta:
        # Named after the two operations (config/roles.py).
        permissions = (
            ("close_period", "Can close accounting periods"),
            ("reopen_period", "Can reopen accounting periods"),
        )
        constraints = [
            models.CheckConstraint(name="ledger_period_closing_named", condition=~Q(actor="") & ~Q(reason="")),
            # One instant written down: "-infinity" would reopen everything, "infinity" would close the future.
            models.CheckConstraint(
                name="ledger_period_closing_finite",
                condition=Q(closed_before__gte="0001-01-01T00:00:00Z", closed_before__lt="9999-01-01T00:00:00Z"),
            ),
        ]

    def __str__(self) -> str:
        return f"{'reopened from' if self.reopens else 'closed before'} {self.closed_before:%F %T}"
