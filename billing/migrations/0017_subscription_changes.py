"""Changes of subscriptions: what was previewed, asked for, and then invoiced."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0016_inbox")]

    operations = []
