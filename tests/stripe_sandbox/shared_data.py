"""Documents beside the checkout, for checks only and no part of the project. Tests skip where they are absent."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
REAL_BODIES = sorted((SHARED_DATA / "real-stripe").glob("*.json"))
TRIGGERS = sorted((SHARED_DATA / "stripe-cli-triggers").glob("*.json"))

needs_shared_data = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="../shared/data is absent: recorded bodies and official flows are not checked"
)
