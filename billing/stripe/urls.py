"""Addresses Stripe calls. The name is dj-stripe's own: its admin and commands look it up."""

from django.urls import path

from billing.stripe.webhooks import InboxWebhookView

app_name = "djstripe"
urlpatterns = [path("webhook/<uuid:uuid>/", InboxWebhookView.as_view(), name="djstripe_webhook_by_uuid")]
