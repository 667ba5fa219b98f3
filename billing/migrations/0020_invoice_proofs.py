"""What each finalised invoice is proved by."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0019_invoice_orders")]

    operations = []
