"""Finance's reports: the permission to read them, and when an invoice is due."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0005_manual_entries"),
    ]

    operations = [
        migrations.AddField(
            model_name="invoice",
            name="due_at",
            field=models.DateTimeField(
                help_text="Stripe's due date; empty: due as soon as it is finalised.", null=True
            ),
        ),
        migrations.CreateModel(
            name="FinanceReport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ],
            options={
                "permissions": (("view_financereport", "Can read finance's reports"),),
                "managed": False,
                "default_permissions": (),
            },
        ),
    ]
