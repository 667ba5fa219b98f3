"""What is given back of paid credit."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("promotions", "0002_rules"),
    ]

    operations = [
        migrations.CreateModel(
            name="GrantWithdrawal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("amount", models.DecimalField(decimal_places=12, help_text="In currency units.", max_digits=38)),
                ("reason", models.CharField(max_length=500)),
                ("idempotency_key", models.CharField(max_length=200, unique=True)),
                ("recorded_at", models.DateTimeField()),
                (
                    "grant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="withdrawals",
                        to="promotions.creditgrant",
                    ),
                ),
            ],
            options={
                "ordering": ("grant", "id"),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="promotions_withdrawal_positive")
                ],
            },
        ),
    ]
