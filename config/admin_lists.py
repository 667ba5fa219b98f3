"""What the lists of every app's pages have in common."""

from itertools import chain
from typing import Any, cast

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.admin import ModelAdmin

COUNTED_ROWS = 5_000


class AtLeast(int):
    """A count that stopped counting, and says so wherever it is shown."""

    def __str__(self) -> str:
        return f"{int(self):,} or more"


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # Django has no generic one at run time
    """Counts no further than COUNTED_ROWS; what lies beyond is found by searching and filtering, not by turning
    pages."""

    @cached_property
    def count(self) -> int:
        rows = cast("QuerySet[Any]", self.object_list)
        counted = len(rows.order_by().values_list("pk")[:COUNTED_ROWS])
        return AtLeast(counted) if counted == COUNTED_ROWS else counted


class AskableList(ModelAdmin):
    """A list whose address may hold anything: with what no text in PostgreSQL can hold, it is answered as Django
    answers a filter it does not know."""

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        if any("\x00" in text for text in chain.from_iterable(values for _, values in request.GET.lists())):
            raise IncorrectLookupParameters
        found: ChangeList = super().get_changelist_instance(request)
        return found
