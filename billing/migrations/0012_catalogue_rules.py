"""Rules of the catalogue."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0011_rating"),
    ]

    operations = []
