"""Approvals of plan versions, and rollouts in stages."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0009_backtests"),
    ]

    operations = []
