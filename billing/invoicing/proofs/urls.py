"""The addresses of proofs, below the admin's."""

from django.contrib import admin
from django.urls import path

from billing.invoicing.proofs import page

app_name = "proofs"
_view = admin.site.admin_view
urlpatterns = [
    path("<int:number>/", _view(page.proof_view), name="proof"),
    path("<int:number>/verify/", _view(page.verify_view), name="verify"),
    path("<int:number>/bundle/", _view(page.bundle_view), name="bundle"),
]
