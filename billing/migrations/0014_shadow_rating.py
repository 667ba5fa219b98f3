"""Shadow rating of live usage."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0013_subscription_terms"),
    ]

    operations = []
