"""The inbox: events set aside, replayed and forgotten; what the mirror was rebuilt from."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_outbox")]

    operations = []
