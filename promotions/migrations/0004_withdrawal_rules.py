"""A withdrawal is never changed or removed. Told in sql/0004_withdrawals.sql."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql" / "0004_withdrawals.sql"


class Migration(migrations.Migration):
    dependencies = [("promotions", "0003_withdrawals")]

    operations = [migrations.RunSQL(SQL.read_text(encoding="utf-8"))]
