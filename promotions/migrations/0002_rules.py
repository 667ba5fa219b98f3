"""The rules no single row can show, as triggers: a grant's terms never change and no grant goes. Told in sql/0002_rules.sql."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql" / "0002_rules.sql"


class Migration(migrations.Migration):
    dependencies = [("promotions", "0001_initial")]

    operations = [migrations.RunSQL(SQL.read_text(encoding="utf-8"))]
