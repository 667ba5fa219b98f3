"""`manage.py snapshot_ledger`: snapshot now what beat snapshots once a minute."""

import json
from typing import Any

from django.core.management.base import BaseCommand

from config import clock
from ledger.snapshots import take_snapshots


class Command(BaseCommand):
    help = (
        "Snapshot every system account that was posted to since its last snapshot; print, as one JSON object, how many "
        "and up to which entry. Entries that an open transaction could still precede are left to the next run."
    )

    def handle(self, **options: Any) -> None:
        # Once to mark where the journal stands, once to rest on the mark.
        first, second = (take_snapshots(taken_at=clock.now(), min_postings=1) for _ in range(2))
        total = first.snapshot_count + second.snapshot_count
        self.stdout.write(json.dumps({"through_entry": second.through_entry, "snapshots": total}))
