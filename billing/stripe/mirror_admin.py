"""
dj-stripe's own admin pages, nearly all of them taken away.

Against the API version we pin, its invoice pages fail (they list `paid`, which Stripe removed), searching its customers
and promotion codes fails (columns that no longer exist), its actions cancel and delete at Stripe past our outbox, its
pages can be used to delete rows, and two of them show secrets. What they hold is on our own pages, which are projected
from the same objects. What stays is the registry of webhook endpoints: read-only, without its secret, for superusers.
"""

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from djstripe import admin as _registered_first  # noqa: F401  (what was not registered yet cannot be taken away)
from djstripe.models import WebhookEndpoint

from billing.read_only_admin import ReadOnlyAdmin


def take_away_pages() -> None:
    """Remove every page that dj-stripe registered."""
    for model in [model for model in admin.site._registry if model._meta.app_label == "djstripe"]:
        admin.site.unregister(model)


take_away_pages()


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    list_display = ("url", "status", "api_version", "livemode", "djstripe_uuid")
    fields = ("url", "status", "api_version", "livemode", "djstripe_uuid", "djstripe_tolerance", "enabled_events")

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_module_permission(self, request: HttpRequest) -> Any:
        return self.has_view_permission(request)
