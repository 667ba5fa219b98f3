"""Teams over time: members, seats and billing groups."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0017_subscription_changes")]

    operations = []
