"""GET /metrics: metering's figures for Prometheus. The access check (scope metrics:read) is wrapped around it where the
address is declared."""

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from config import clock
from config.problems import problem
from metering.metrics import exposition

CACHED_SECONDS = 10
"""Several watchers, or one that asks too often, cost no more than one."""
_CACHE_KEY = "metering.metrics"


def metrics(request: HttpRequest) -> HttpResponse:
    """The figures, at most CACHED_SECONDS old."""
    if request.method not in {"GET", "HEAD"}:
        return problem(
            status=405, title="Method not allowed", detail="Read metrics with GET.", headers={"Allow": "GET, HEAD"}
        )
    body = cache.get(_CACHE_KEY)
    if body is None:
        body = exposition(clock.now())
        cache.set(_CACHE_KEY, body, CACHED_SECONDS)
    return HttpResponse(body, content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})
