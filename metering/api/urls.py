"""Usage below /api/v1/, to read. A customer key may hold any sign, so it is a path; sending is declared beside this."""

from django.urls import path

from metering.api import usage

app_name = "usage-api"
urlpatterns = [
    path("customers/<path:customer_key>/usage", usage.CustomerUsage.as_view(), name="customer-usage"),
    path("meters", usage.Meters.as_view(), name="meters"),
    path("usage/events", usage.UsageEvents.as_view(), name="events"),
    path("usage/events/by-id", usage.UsageEventLifeById.as_view(), name="event-by-id"),
    path("usage/events/<str:key>", usage.UsageEventLife.as_view(), name="event"),
]
