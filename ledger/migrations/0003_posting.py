"""The owner's functions through which the application posts: sql/0003_posting.sql, 0003_judging.sql and 0003_single.sql."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_rules")]

    operations = [
        migrations.RunSQL((SQL / "0003_judging.sql").read_text(encoding="utf-8")),
        migrations.RunSQL((SQL / "0003_posting.sql").read_text(encoding="utf-8")),
        migrations.RunSQL((SQL / "0003_single.sql").read_text(encoding="utf-8")),
    ]
