from django.db import migrations, models


class Migration(migrations.Migration):
    """Plans may be billed by the day."""

    dependencies = [("billing", "0026_left_off_and_closed_accounts")]

    operations = [
        migrations.AlterField(
            model_name="planversion",
            name="interval",
            field=models.CharField(
                choices=[("day", "Day"), ("week", "Week"), ("month", "Month"), ("year", "Year")],
                default="month",
                max_length=8,
            ),
        ),
        migrations.RemoveConstraint(model_name="planversion", name="billing_planversion_interval"),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("alignment__in", ["anchor", "calendar"]),
                    ("interval__in", ["day", "week", "month", "year"]),
                    ("interval_count__gte", 1),
                ),
                name="billing_planversion_interval",
            ),
        ),
    ]
