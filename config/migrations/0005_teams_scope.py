"""A scope of its own for teams, so that a directory's key moves no money; and labels that say what a scope allows."""

import django.contrib.postgres.fields
from django.db import migrations, models

SCOPES = [
    ("usage:write", "send usage events"),
    ("usage:read", "read usage"),
    ("billing:read", "read customers, their teams, subscriptions, invoices, payments and balances"),
    ("billing:write", "change subscriptions and ask for invoices"),
    ("teams:write", "change teams: members and billing groups"),
    ("refunds:write", "ask for refunds within the limit of one person"),
    ("metrics:read", "read the metrics"),
]


class Migration(migrations.Migration):
    dependencies = [("config", "0004_refunds_scope")]

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
