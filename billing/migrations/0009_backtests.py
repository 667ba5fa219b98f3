"""Backtests of a plan version and what they found."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0008_catalogue"),
    ]

    operations = []
