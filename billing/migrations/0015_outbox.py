"""The outbox: whose write comes first, and who had a write sent again."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0014_shadow_rating")]

    operations = []
