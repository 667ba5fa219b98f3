"""What the lists of every app's pages have in common."""

from itertools import chain

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from unfold.admin import ModelAdmin


class AskableList(ModelAdmin):
    """A list whose address may hold anything: with what no text in PostgreSQL can hold, it is answered as Django
    answers a filter it does not know."""

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        if any("\x00" in text for text in chain.from_iterable(values for _, values in request.GET.lists())):
            raise IncorrectLookupParameters
        found: ChangeList = super().get_changelist_instance(request)
        return found
