"""
Rules of the catalogue: what drafts alone use may still change, and nothing that was promised does. A draft that nobody
wants any more may be retired, so a retired version need not have been published.

The rules of the tables are told in sql/0012_catalogue_rules.sql.
"""

from pathlib import Path

from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0011_rating"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="planversion",
            options={
                "ordering": ("plan__code", "version", "currency"),
                "permissions": (("edit_catalogue", "Can write drafts of plans and prices"),),
            },
        ),
        migrations.RemoveConstraint(model_name="planversion", name="billing_planversion_published_has_time"),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "published"), _negated=True), ("published_at__isnull", False), _connector="OR"
                ),
                name="billing_planversion_published_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "approved"), _negated=True), ("approved_at__isnull", False), _connector="OR"
                ),
                name="billing_planversion_approved_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("published_at", None), ("status__in", ("published", "retired")), _connector="OR"),
                name="billing_planversion_time_published",
            ),
        ),
        migrations.AddConstraint(
            model_name="planversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("approved_at", None), models.Q(("status", "draft"), _negated=True), _connector="OR"
                ),
                name="billing_planversion_time_approved",
            ),
        ),
        migrations.AddConstraint(
            model_name="rate",
            constraint=models.UniqueConstraint(
                condition=models.Q(("meter_code", ""), _negated=True),
                fields=("rate_card", "meter_code", "dimensions", "effective_from"),
                name="billing_rate_one_price_per_instant",
            ),
        ),
        migrations.RunSQL((SQL / "0012_catalogue_rules.sql").read_text(), migrations.RunSQL.noop),
    ]
