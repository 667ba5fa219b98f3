"""A scope of its own for services that ask for refunds: money leaves."""

import django.contrib.postgres.fields
from django.db import migrations, models

SCOPES = [
    ("usage:write", "send usage events"),
    ("usage:read", "read usage"),
    ("billing:read", "read customers, invoices and balances"),
    ("billing:write", "change customers, subscriptions and grants"),
    ("refunds:write", "ask for refunds within the limit of one person"),
    ("metrics:read", "read the metrics"),
]


class Migration(migrations.Migration):
    dependencies = [("config", "0003_metrics_scope")]

    operations = [
        migrations.RemoveConstraint(model_name="apikey", name="api_key_has_known_scopes"),
        migrations.AlterField(
            model_name="apikey",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(choices=SCOPES, max_length=40),
                help_text="What the key may be used for. A key without the scope an address asks for is refused there.",
                size=None,
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("scopes__contained_by", [scope for scope, _ in SCOPES])),
                name="api_key_has_known_scopes",
            ),
        ),
    ]
