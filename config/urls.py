"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from config.api_keys.access import require_scope
from config.api_keys.scopes import Scope
from config.health import healthz
from config.problems import no_such_address
from metering.api.ingest import ingest_events

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/reports/", include("billing.accounting.reports.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/events", require_scope(Scope.USAGE_WRITE)(ingest_events), name="ingest-events"),
    path("api/v1/", include("ledger.api.urls")),
    path("api/v1/<path:address>", no_such_address),  # after all of the API
    path("api/schema", SpectacularAPIView.as_view(), name="api-schema"),
    # Split: its script comes from an address of its own, as the content security policy wants.
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    path("stripe/", include("billing.stripe.urls", namespace="djstripe")),
    path("healthz", healthz, name="healthz"),
]
