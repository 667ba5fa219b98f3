"""API keys' page: which there are, what they may send, and revoking one. `manage.py create_api_key` makes them."""

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.decorators import display

from config.admin_lists import AskableList
from config.api_keys.models import ApiKey
from config.api_keys.rate_limits import limit_of

MANAGE = "config.manage_apikey"


@admin.register(ApiKey)
class ApiKeyAdmin(AskableList):
    """The key itself is nowhere: what is shown is its public beginning, and what addresses hold is its hash, which
    opens nothing."""

    list_display = ("name", "prefix", "scope_names", "limits", "expiry_date", "state", "created")
    list_filter = ("revoked",)
    search_fields = ("name", "prefix")
    actions = None
    fields = (
        "name",
        "prefix",
        "scope_names",
        "events_per_second",
        "events_burst",
        "limits",
        "expiry_date",
        "revoked",
        "created",
    )
    readonly_fields = ("prefix", "scope_names", "limits", "created")

    @display(description="Scopes")
    def scope_names(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @display(description="State", label={"In use": "success", "Expired": "warning", "Revoked": "danger"})
    def state(self, key: ApiKey) -> str:
        if key.revoked:
            return "Revoked"
        return "Expired" if key.has_expired else "In use"

    @display(description="Limit in force")
    def limits(self, key: ApiKey) -> str:
        limit = limit_of(key)
        return f"{limit.per_second:,} events/s, {limit.burst:,} at once"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm(MANAGE)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A revoked key stays revoked."""
        return (*self.readonly_fields, "revoked") if obj is not None and obj.revoked else self.readonly_fields
