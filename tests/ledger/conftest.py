import pytest

from ledger.operations import open_accounts
from tests.ledger.chart import SPECS


@pytest.fixture
def chart(db: None) -> None:
    """The accounts of tests.ledger.chart, open and empty; rolled back afterwards."""
    open_accounts(SPECS)


@pytest.fixture
def committed_chart(committed_db: None) -> None:
    """The same, committed, so that other connections see them."""
    open_accounts(SPECS)
