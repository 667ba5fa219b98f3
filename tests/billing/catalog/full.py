"""A catalogue with everything a document can say, each thing once."""

from pathlib import Path
from typing import Any

from billing.catalog.document import read_yaml

FULL = Path(__file__).parent / "full.yaml"


def document() -> dict[str, Any]:
    return dict(read_yaml(FULL.read_text(encoding="utf-8")))
