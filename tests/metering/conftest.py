"""Metering's own starting points."""

import pytest

from tests.metering import usage


@pytest.fixture
def metered(committed_db: None) -> None:
    """Committed: the token meters and the customers acme and beta."""
    usage.prepare()
