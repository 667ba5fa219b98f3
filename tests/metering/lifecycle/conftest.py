"""An archive folder of the test's own."""

from pathlib import Path
from typing import Any

import psycopg
import pytest


@pytest.fixture
def archive_folder(tmp_path: Path, settings: Any) -> Path:
    folder = tmp_path / "usage-archive"
    settings.STORAGES = {
        **settings.STORAGES,
        "usage_archive": {"BACKEND": "metering.storage.DurableFolder", "OPTIONS": {"location": str(folder)}},
    }
    return folder


@pytest.fixture(autouse=True)
def _no_old_months(owner_connection: psycopg.Connection) -> None:
    """Other tests may have left empty months behind that are old enough to leave."""
    rows = owner_connection.execute(
        "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'metering_event'::regclass"
        " AND to_date(right(c.relname, 7), 'YYYY_MM') < now() - interval '396 days 1 month'"
    ).fetchall()
    for (name,) in rows:
        owner_connection.execute(f"DROP TABLE {name}")
