"""The base of billing's admin pages: everything can be read; nothing can be added, changed or deleted, by anybody."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.admin.options import BaseModelAdmin
from django.contrib.admin.utils import get_fields_from_path
from django.db.models import CharField, Model, QuerySet, TextField
from django.http import HttpRequest
from django.utils.text import smart_split, unescape_string_literal
from unfold.admin import TabularInline

from config.admin_lists import AskableList, BoundedPaginator

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
    paginator = BoundedPaginator
    list_per_page = 50
    # What an empty list says where it does not fill by itself: what does fill it.
    nothing_yet: ClassVar[str] = ""
    # Lookups by which other pages link into this list, besides its own filters.
    linked_by: ClassVar[frozenset[str]] = frozenset()

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return self._shown(request, super().get_list_display(request))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in self.linked_by or super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """
        Rows that have each word in one of the fields. Each field is looked for by itself: an OR across tables is
        answered only after all their rows were put together, which takes minutes in a table of millions.
        """
        for word in words_of(search_term):
            found = [self._having(name, word).order_by().values("pk") for name in self.get_search_fields(request)]
            if found:
                queryset = queryset.filter(pk__in=found[0].union(*found[1:]))
        return queryset, False

    def _having(self, name: str, word: str) -> QuerySet[Any]:
        """What is asked for as a whole ("=") goes by its index: as written, in capitals, in small letters."""
        rows: QuerySet[Any] = self.model._default_manager.all()
        if not name.startswith("="):
            return rows.filter(**{f"{name}__icontains": word})
        path = name.removeprefix("=")
        is_text = isinstance(get_fields_from_path(self.model, path)[-1], CharField | TextField)
        wanted = {f"{path}__in": {word, word.upper(), word.lower()}} if is_text else {f"{path}__iexact": word}
        return rows.filter(**wanted)


def words_of(text: str) -> list[str]:
    """The words of a search; several between quotes are one."""
    is_quoted = {word: word.startswith(('"', "'")) and word[0] == word[-1] for word in smart_split(text)}
    return [unescape_string_literal(word) if quoted else word for word, quoted in is_quoted.items()]


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
