"""Rules of rating: an accrual says of every part who paid for it, and no allowance pays for more than it holds.

They are told in sql/0011_rating.sql.
"""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql" / "0011_rating.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0010_rollouts"),
    ]

    operations = [
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
