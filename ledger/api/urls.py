"""The ledger's addresses below /api/v1/. Codes and keys may hold any sign, so they are paths."""

from django.urls import path

from ledger.api import views

app_name = "ledger-api"
urlpatterns = [
    path("customers/<path:customer_key>/balances", views.CustomerBalances.as_view(), name="customer-balances"),
    path("customers/<path:customer_key>/statement", views.CustomerStatement.as_view(), name="customer-statement"),
    path("accounts/<path:code>/balance", views.AccountBalance.as_view(), name="account-balance"),
    path("accounts/<path:code>/statement", views.AccountStatement.as_view(), name="account-statement"),
    path("entries/<int:entry_id>", views.EntryById.as_view(), name="entry"),
    path("entries", views.EntryByKey.as_view(), name="entry-by-key"),
    path("trial-balance", views.TrialBalance.as_view(), name="trial-balance"),
]
