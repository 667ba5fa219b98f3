"""Invoices of our own making, and what follows when one is void."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0018_teams")]

    operations = []
