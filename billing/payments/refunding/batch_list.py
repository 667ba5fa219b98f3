"""How far batches of refunds are, for the list of them."""

from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from unfold.decorators import display

from billing.payments.deciding_admin import DecidingAdmin
from billing.payments.refunding import batches
from billing.payments.refunding.models import RefundBatch, RefundRequest


class ListedProgress(DecidingAdmin):
    """A list with a column `how_far`: asked for once a page, not once a row."""

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        found: ChangeList = super().get_changelist_instance(request)
        progress = batches.progress_of_all([batch.pk for batch in found.result_list])
        for batch in found.result_list:
            batch.progress = progress[batch.pk]
        return found

    @display(description="How far")
    def how_far(self, batch: RefundBatch) -> str:
        found: batches.Progress = batch.progress  # type: ignore[attr-defined]
        return ", ".join(
            f"{number:,} {RefundRequest.State(state).label.lower()}" for state, number in found.counts.items()
        )
