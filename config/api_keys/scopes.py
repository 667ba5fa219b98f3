"""What an API key may be allowed to do. A scope is `<what>:<read or write>`."""

from django.db import models


class Scope(models.TextChoices):
    USAGE_WRITE = "usage:write", "send usage events"
    USAGE_READ = "usage:read", "read usage"
    BILLING_READ = "billing:read", "read customers, their teams, subscriptions, invoices, payments and balances"
    BILLING_WRITE = "billing:write", "change subscriptions and ask for invoices"
    TEAMS_WRITE = "teams:write", "change teams: members and billing groups"
    REFUNDS_WRITE = "refunds:write", "ask for refunds within the limit of one person"
    METRICS_READ = "metrics:read", "read the metrics"
