"""The reports' addresses, below the admin's."""

from django.contrib import admin
from django.urls import path

from billing.accounting.reports import ageing_page, credit_page, income_page

app_name = "reports"
_view = admin.site.admin_view
urlpatterns = [
    path("ageing/", _view(ageing_page.ageing_view), name="ageing"),
    path("ageing.<str:suffix>", _view(ageing_page.ageing_download), name="ageing-download"),
    path("credit/", _view(credit_page.credit_view), name="credit"),
    path("credit.<str:suffix>", _view(credit_page.credit_download), name="credit-download"),
    path("credit-movement.<str:suffix>", _view(credit_page.movement_download), name="movement-download"),
    path("revenue/", _view(income_page.income_view), name="income"),
    path("revenue.<str:suffix>", _view(income_page.income_download), name="income-download"),
]
