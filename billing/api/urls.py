"""Billing's addresses below /api/v1/billing/. A customer's key may hold any sign, so it is a path."""

from django.urls import path

from billing.api import views

app_name = "billing-api"
urlpatterns = [
    path("customers/<path:customer_key>/periods", views.CustomerPeriods.as_view(), name="customer-periods"),
    path("invoices/<str:stripe_invoice_id>", views.InvoiceLines.as_view(), name="invoice"),
    path("invoice-lines/<int:number>/explanation", views.InvoiceLineExplained.as_view(), name="invoice-line"),
    path("accruals/<int:number>/explanation", views.AccrualExplained.as_view(), name="accrual"),
    path("accrual-lines/<int:number>/explanation", views.AccrualLineExplained.as_view(), name="accrual-line"),
    path("periods/<int:number>/explanation", views.PeriodExplained.as_view(), name="period"),
    path("periods/<int:number>/prices/<int:rate>/days/<str:day>", views.DayExplained.as_view(), name="day"),
    path("events/by-id/cost", views.EventCostById.as_view(), name="event-cost-by-id"),
    path("events/<str:key>/cost", views.EventCostByKey.as_view(), name="event-cost"),
]
