"""Billing's addresses below /api/v1/billing/. A customer's key may hold any sign, so it is a path."""

from django.urls import path

from billing.api import invoices, payments, proofs, subscription_ends, subscriptions, teams, views

app_name = "billing-api"
urlpatterns = [
    path(
        "customers/<path:customer_key>/subscriptions",
        subscriptions.CustomerSubscriptions.as_view(),
        name="customer-subscriptions",
    ),
    path("subscriptions/<int:number>", subscriptions.OneSubscription.as_view(), name="subscription"),
    path("subscriptions/<int:number>/preview", subscriptions.Preview.as_view(), name="subscription-preview"),
    path("subscriptions/<int:number>/changes", subscriptions.Changes.as_view(), name="subscription-changes"),
    path(
        "subscriptions/<int:number>/scheduled-changes",
        subscriptions.ScheduledChanges.as_view(),
        name="subscription-scheduled-changes",
    ),
    path(
        "subscriptions/<int:number>/scheduled-changes/<int:change>/cancel",
        subscriptions.CancelScheduled.as_view(),
        name="subscription-scheduled-change-cancel",
    ),
    path("subscriptions/<int:number>/pause", subscriptions.Pause.as_view(), name="subscription-pause"),
    path("subscriptions/<int:number>/resume", subscriptions.Resume.as_view(), name="subscription-resume"),
    path("subscriptions/<int:number>/cancel", subscription_ends.Cancel.as_view(), name="subscription-cancel"),
    path(
        "subscriptions/<int:number>/cancel/preview",
        subscription_ends.CancelPreview.as_view(),
        name="subscription-cancel-preview",
    ),
    path(
        "subscriptions/<int:number>/cancel/preview/<int:preview>",
        subscription_ends.CancelPreviewed.as_view(),
        name="subscription-cancel-previewed",
    ),
    path("subscriptions/<int:number>/phases", subscription_ends.Phases.as_view(), name="subscription-phases"),
    path(
        "subscriptions/<int:number>/reactivation",
        subscription_ends.Reactivation.as_view(),
        name="subscription-reactivation",
    ),
    path(
        "subscriptions/<int:number>/undo-cancellation",
        subscriptions.UndoCancellation.as_view(),
        name="subscription-undo-cancellation",
    ),
    path("subscriptions/<int:number>/end-trial", subscriptions.EndTrial.as_view(), name="subscription-end-trial"),
    path("subscriptions/<int:number>/reactivate", subscriptions.Reactivate.as_view(), name="subscription-reactivate"),
    path("customers/<path:customer_key>/invoices", invoices.CustomerInvoices.as_view(), name="customer-invoices"),
    path("customers/<path:customer_key>/one-off-invoices", invoices.OneOffInvoices.as_view(), name="one-off-invoices"),
    path("customers/<path:customer_key>/members", teams.Members.as_view(), name="team-members"),
    path("customers/<path:customer_key>/moves", teams.Moves.as_view(), name="team-moves"),
    path("customers/<path:customer_key>/groups", teams.Groups.as_view(), name="team-groups"),
    path("customers/<path:customer_key>/groups/<str:code>", teams.GroupChange.as_view(), name="team-group"),
    path("customers/<path:customer_key>/groups/<str:code>/close", teams.GroupClose.as_view(), name="team-group-close"),
    path("periods/<int:number>/usage-by-group", teams.UsageByGroup.as_view(), name="usage-by-group"),
    path("periods/<int:number>/usage-by-member", teams.UsageByMember.as_view(), name="usage-by-member"),
    path("customers/<path:customer_key>/standing", payments.CustomerStanding.as_view(), name="customer-standing"),
    path(
        "payments/<str:stripe_payment_intent_id>/refunds", payments.RefundsOfPayment.as_view(), name="payment-refunds"
    ),
    path("customers/<path:customer_key>/periods", views.CustomerPeriods.as_view(), name="customer-periods"),
    path("invoices/<str:stripe_invoice_id>/proof", proofs.InvoiceProofOf.as_view(), name="invoice-proof"),
    path("invoices/<str:stripe_invoice_id>", views.InvoiceLines.as_view(), name="invoice"),
    path("invoice-lines/<int:number>/explanation", views.InvoiceLineExplained.as_view(), name="invoice-line"),
    path("accruals/<int:number>/explanation", views.AccrualExplained.as_view(), name="accrual"),
    path("accrual-lines/<int:number>/explanation", views.AccrualLineExplained.as_view(), name="accrual-line"),
    path("periods/<int:number>/explanation", views.PeriodExplained.as_view(), name="period"),
    path("periods/<int:number>/prices/<int:rate>/days/<str:day>", views.DayExplained.as_view(), name="day"),
    path("events/by-id/cost", views.EventCostById.as_view(), name="event-cost-by-id"),
    path("events/<str:key>/cost", views.EventCostByKey.as_view(), name="event-cost"),
]
