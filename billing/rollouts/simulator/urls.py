"""The simulator's address, below the admin's."""

from django.contrib import admin
from django.urls import path

from billing.rollouts.simulator import page as simulator_page

app_name = "simulator"
urlpatterns = [path("", admin.site.admin_view(simulator_page.simulator_view), name="show")]
