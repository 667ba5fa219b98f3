"""`manage.py seal_ledger`: seal now what beat seals once a day."""

import json
from typing import Any

from django.core.management.base import BaseCommand

from config import clock
from ledger.sealing import make_seals


class Command(BaseCommand):
    help = (
        "Seal every journal entry that no open transaction could still join, one JSON object a seal. Entries recorded "
        "at an instant before now are refused from then on."
    )

    def handle(self, **options: Any) -> None:
        for seal in make_seals(sealed_at=clock.now()):
            self.stdout.write(json.dumps({"seal": seal.number, "entries": seal.entry_count}))
