"""Every address of the site."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from config.api_keys.access import require_scope
from config.api_keys.rate_limits import refuse_above_limit
from config.api_keys.scopes import Scope
from config.backpressure import turns_away
from config.health import healthz
from config.problems import no_such_address
from metering.api.ingest import as_openmeter, every_outcome, ingest_view
from metering.api.metrics import metrics

# One door with two forms of answer; together they take no more requests at once than one would.
_may_send = require_scope(Scope.USAGE_WRITE)
_has_room = turns_away(at_once=settings.INGEST_REQUESTS_AT_ONCE)
_ingest_events = _has_room(_may_send(ingest_view(admit=refuse_above_limit, answer=every_outcome)))
_ingest_as_openmeter = _has_room(_may_send(ingest_view(admit=refuse_above_limit, answer=as_openmeter)))

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/reports/", include("billing.accounting.reports.urls")),
    path("admin/simulator/", include("billing.rollouts.simulator.urls")),
    path("admin/proofs/", include("billing.invoicing.proofs.urls")),
    path("admin/explanations/", include("billing.rating.explanation.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/events", _ingest_events, name="ingest-events"),
    # The endpoint for OpenMeter's clients is <this site>/openmeter.
    path("openmeter/api/v1/events", _ingest_as_openmeter, name="ingest-as-openmeter"),
    path("openmeter/<path:address>", no_such_address),
    path("api/v1/", include("metering.api.urls")),
    path("api/v1/", include("ledger.api.urls")),
    path("api/v1/billing/", include("billing.api.urls")),
    path("api/v1/<path:address>", no_such_address),  # after all of the API
    path("api/schema", SpectacularAPIView.as_view(), name="api-schema"),
    # Split: its script comes from an address of its own, as the content security policy wants.
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    path("stripe/", include("billing.stripe.urls", namespace="djstripe")),
    path("healthz", healthz, name="healthz"),
    path("metrics", require_scope(Scope.METRICS_READ)(metrics), name="metrics"),
]
