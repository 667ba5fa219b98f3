"""The owner's functions through which the application posts. Told in sql/0003_posting.sql."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql" / "0003_posting.sql"


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_rules")]

    operations = [migrations.RunSQL(SQL.read_text(encoding="utf-8"))]
