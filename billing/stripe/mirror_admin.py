"""
dj-stripe's admin pages, each replaced by one that can only be read and works on the API version we pin.

Against that version its invoice pages fail (they list `paid`, which Stripe removed), searching its customers and
promotion codes fails (columns that no longer exist), its actions cancel and delete at Stripe past our outbox, its pages
can be used to delete rows, and two of them show secrets. Ours show what every mirrored object has: its id, when it was
made and refreshed, and what Stripe said of it.
"""

import json
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from djstripe import admin as _registered_first  # noqa: F401  (what was not registered yet cannot be replaced)
from djstripe.models import APIKey, IdempotencyKey, WebhookEndpoint, WebhookEventTrigger
from djstripe.models.base import StripeModel
from unfold.decorators import display

from billing.admin_links import NOTHING, link
from billing.read_only_admin import ReadOnlyAdmin

VIEW_PERMISSION = "billing.view_mirror"
TOLD_IN_LISTS = ("status", "amount", "total", "currency", "name", "email", "number", "customer", "type", "active")
TOLD_MAX = 4


class MirrorAdmin(ReadOnlyAdmin):
    """Any mirrored object. Columns are those that all of dj-stripe's tables have."""

    ordering = ("-djstripe_id",)
    list_display = ("id", "told", "livemode", "created", "djstripe_updated")
    list_display_links = ("id",)
    search_fields = ("=id",)
    search_help_text = "The object's whole id at Stripe"
    fields = ("id", "timeline_link", "livemode", "created", "djstripe_created", "djstripe_updated", "stripe_text")

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(request.user.is_active and request.user.has_perm(VIEW_PERMISSION))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @display(description="What Stripe said")
    def told(self, thing: StripeModel) -> str:
        data = thing.stripe_data or {}
        told = [f"{name} {data[name]}" for name in TOLD_IN_LISTS if isinstance(data.get(name), str | int)]
        return ", ".join(told[:TOLD_MAX]) or NOTHING

    @display(description="Events and what was projected")
    def timeline_link(self, thing: StripeModel) -> str:
        return link(reverse("admin:billing_inboxevent_object", args=[thing.id]), "All about it")

    @display(description="What Stripe said")
    def stripe_text(self, thing: StripeModel) -> str:
        shown = {key: value for key, value in (thing.stripe_data or {}).items() if key not in SECRETS}
        text = json.dumps(shown, indent=2, sort_keys=True, ensure_ascii=False)
        return format_html('<pre class="bb-json">{}</pre>', text)


SECRETS = frozenset({"secret", "client_secret", "signing_secret"})


class _ForSuperusers(ReadOnlyAdmin):
    """What says how Stripe reaches us, and how it could be reached in our name."""

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)


class WebhookEndpointAdmin(_ForSuperusers):
    list_display = ("url", "status", "api_version", "livemode", "djstripe_uuid")
    search_fields = ("=id", "=url")
    fields = ("url", "status", "api_version", "livemode", "djstripe_uuid", "djstripe_tolerance", "enabled_events")


class APIKeyAdmin(_ForSuperusers):
    """Stays empty: the one key is in the environment. A row here would be a secret in the database."""

    list_display = ("id", "type", "livemode", "djstripe_created")
    search_fields = ("=id",)
    fields = ("id", "type", "livemode", "djstripe_created", "djstripe_updated")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("secret")


class IdempotencyKeyAdmin(_ForSuperusers):
    list_display = ("uuid", "action", "livemode", "created")
    search_fields = ("=action",)
    fields = ("uuid", "action", "livemode", "created")


class WebhookEventTriggerAdmin(_ForSuperusers):
    """Stays empty: events are in our inbox."""

    list_display = ("id", "created", "processed")
    search_fields = ("=id",)
    fields = ("id", "created", "processed")


OF_THEIR_OWN: dict[type[Model], type[ReadOnlyAdmin]] = {
    APIKey: APIKeyAdmin,
    IdempotencyKey: IdempotencyKeyAdmin,
    WebhookEndpoint: WebhookEndpointAdmin,
    WebhookEventTrigger: WebhookEventTriggerAdmin,
}


def _id_text(thing: Model) -> str:
    """dj-stripe's own names of rows read fields that Stripe removed, or that are empty, and fail on them."""
    return str(getattr(thing, "id", thing.pk))


def replace_pages() -> None:
    """Put a page of ours in the place of every page that dj-stripe registered."""
    for model in [model for model in admin.site._registry if model._meta.app_label == "djstripe"]:
        model.__str__ = _id_text  # type: ignore[method-assign, assignment]
        admin.site.unregister(model)
        admin.site.register(model, OF_THEIR_OWN.get(model, MirrorAdmin))


replace_pages()
