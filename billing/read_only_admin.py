"""The base of billing's admin pages: everything can be read; nothing can be added, changed or deleted, by anybody."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.admin.options import BaseModelAdmin
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import TabularInline

from config.admin_lists import AskableList

if TYPE_CHECKING:
    _AnyAdmin = BaseModelAdmin[Any]
else:
    _AnyAdmin = BaseModelAdmin  # generic to the type checker only


class _ReadOnly(_AnyAdmin):
    """Refuses the three writes whatever permissions a user holds: a superuser holds all of them."""

    # Columns shown only to those who may open what they link to: name of the column -> permission.
    shown_with: ClassVar[dict[str, str]] = {}

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def _shown(self, request: HttpRequest, columns: Any) -> list[Any]:
        return [
            column
            for column in columns
            if column not in self.shown_with or request.user.has_perm(self.shown_with[column])
        ]

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        return self._shown(request, super().get_fields(request, obj))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        """Every field: also a computed one then needs to be named once only, in `fields`."""
        return self._shown(request, self.fields or super().get_readonly_fields(request, obj))


class ReadOnlyAdmin(_ReadOnly, AskableList):
    """A list and a page per row. Lists never count the whole table and never ask once per row."""

    actions: Any = None  # without it Django offers "delete selected"
    show_full_result_count = False
    list_per_page = 50
    # What an empty list says where it does not fill by itself: what does fill it.
    nothing_yet: ClassVar[str] = ""
    # Lookups by which other pages link into this list, besides its own filters.
    linked_by: ClassVar[frozenset[str]] = frozenset()

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return self._shown(request, super().get_list_display(request))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in self.linked_by or super().lookup_allowed(lookup, value, request)


class ReadOnlyInline(_ReadOnly, TabularInline):
    """Rows of another table on the page of the row they belong to."""

    extra = 0
    max_num = 0
    can_delete = False
    per_page = 50  # unfold pages an inline; a row can have many
    hide_title = True

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whoever may see a row may see its parts."""
        return True
