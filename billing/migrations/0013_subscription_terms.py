"""
Rules of subscriptions and periods: nobody has terms that were not offered to them, periods leave no gap, and one whose
terms change within it is divided. A pause is a kind of period.

The rules of the tables are told in sql/0013_subscription_terms.sql.
"""

from pathlib import Path

from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0012_catalogue_rules"),
    ]

    operations = [
        migrations.AlterField(
            model_name="billingperiod",
            name="kind",
            field=models.CharField(
                choices=[("regular", "Regular"), ("trial", "Trial"), ("paused", "Paused")],
                default="regular",
                max_length=8,
            ),
        ),
        migrations.RemoveConstraint(model_name="billingperiod", name="billing_period_kind"),
        migrations.AddConstraint(
            model_name="billingperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ("regular", "trial", "paused"))), name="billing_period_kind"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("trial_ends_at", None), ("trial_ends_at__gt", models.F("started_at")), _connector="OR"
                ),
                name="billing_subscription_trial_not_empty",
            ),
        ),
        migrations.RunSQL((SQL / "0013_subscription_terms.sql").read_text(), migrations.RunSQL.noop),
    ]
