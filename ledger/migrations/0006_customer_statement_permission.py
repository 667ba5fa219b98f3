"""The right to read one customer's statement, apart from the right to read all accounts."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("ledger", "0005_snapshots"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="account",
            options={"permissions": (("view_customer_statement", "Can read the statement of a customer"),)},
        ),
    ]
