"""The addresses of explanations, below the admin's."""

from django.contrib import admin
from django.urls import path

from billing.rating.explanation import event_page, page, usage_page

app_name = "explanations"
_view = admin.site.admin_view
urlpatterns = [
    path("invoice-lines/<int:number>/", _view(page.view("invoice_line")), name="invoice-line"),
    path("accruals/<int:number>/", _view(page.view("accrual")), name="accrual"),
    path("accrual-lines/<int:number>/", _view(page.view("accrual_line")), name="accrual-line"),
    path("periods/<int:number>/", _view(page.view("period")), name="period"),
    path("periods/<int:number>/<int:rate>/<str:day>/", _view(usage_page.day_view), name="day"),
    path("events/<str:key>/", _view(event_page.event_view), name="event"),
]
