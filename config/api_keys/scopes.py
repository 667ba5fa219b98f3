"""What an API key may be allowed to do. A scope is `<what>:<read or write>`."""

from django.db import models


class Scope(models.TextChoices):
    USAGE_WRITE = "usage:write", "send usage events"
    USAGE_READ = "usage:read", "read usage"
    BILLING_READ = "billing:read", "read customers, invoices and balances"
    BILLING_WRITE = "billing:write", "change customers, subscriptions and grants"
    METRICS_READ = "metrics:read", "read the metrics"
