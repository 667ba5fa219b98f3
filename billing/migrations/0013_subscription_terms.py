"""Rules of subscriptions and periods."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0012_catalogue_rules"),
    ]

    operations = []
