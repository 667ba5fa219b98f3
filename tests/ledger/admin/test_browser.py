"""The ledger's pages in a real browser, narrow and wide: no script refused, charts drawn, nothing too wide."""

from decimal import Decimal
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from ledger import periods
from ledger.models import Account
from ledger.operations import credit, debit, post_journal_entries
from ledger.sealing import make_seals
from tests.browser import PASSWORD, visiting
from tests.ledger.chart import FIRST, GRANT, PROMOTIONS, THIRD, UNBILLED, accrual, draft
from tests.processes import WebServer
from tests.settled import wait_until_settled

LARGE = Decimal("12345678901234567890123456.123456789012")


@pytest.fixture
def addresses(committed_chart: None) -> dict[str, str]:
    """The pages to look at. Written before the browser starts: its event loop would forbid database calls."""
    User.objects.create_superuser("root", password=PASSWORD)
    large = (debit(PROMOTIONS, LARGE), credit(GRANT, LARGE))
    cause = {"invoice": "in_" + "x" * 60, "occasion": "y" * 80}
    drafts = [accrual(f"usage:{number}", "0.000000000001") for number in range(150)]
    outcomes = post_journal_entries([*drafts, draft("a-rather-long-key-" * 10, *large, cause=cause)], recorded_at=THIRD)
    periods.close_periods(before=FIRST, decided_at=THIRD, actor="user:root", reason="September is reported. " * 10)
    wait_until_settled()
    list(make_seals(sealed_at=THIRD))
    of_account = {
        code: reverse("admin:ledger_account_change", args=[Account.objects.get(code=code).pk])
        for code in (UNBILLED, GRANT, "fx:EUR")
    }
    trial = reverse("admin:ledger_trial_balance")
    return {
        **of_account,
        "a wrong span": f"{of_account[UNBILLED]}?from=x&before=y",
        "accounts": reverse("admin:ledger_account_changelist"),
        "journal": reverse("admin:ledger_journalentry_changelist"),
        "entry": reverse("admin:ledger_journalentry_change", args=[outcomes[-1].id]),  # type: ignore[union-attr]
        "customer": reverse("admin:ledger_customer_statement", args=["acme"]),
        "nobody": reverse("admin:ledger_customer_statement", args=["nobody"]),
        "trial balance": trial,
        "what changed": f"{trial}?before=2026-10-04T00:00:00&then=2026-10-02T00:00:00",
        "periods": reverse("admin:ledger_periodclosing_changelist"),
        "close": reverse("admin:ledger_periodclosing_close"),
        "seals": reverse("admin:ledger_seal_changelist"),
        "seal": reverse("admin:ledger_seal_change", args=[1]),
    }


def test_pages_work_and_fit(addresses: dict[str, str], web_process: WebServer, tmp_path: Path) -> None:
    with visiting(web_process.address) as visitor:
        visitor.sign_in("root")
        charts = visitor.tour(addresses, statuses={"a wrong span": 422})
        visitor.go(addresses[UNBILLED])
        with visitor.page.expect_download() as downloading:
            visitor.page.click("text=CSV")
        downloading.value.save_as(tmp_path / "statement.csv")
        file_name = downloading.value.suggested_filename

    # The browser itself reports a page that answers 422; nothing else is complained of.
    assert [said for said in visitor.complaints if "422" not in said] == []
    assert visitor.too_wide == {}
    assert {name for name, drawn in charts.items() if drawn} == {UNBILLED, GRANT, "a wrong span"}
    assert file_name == "statement_unbilled-acme-USD_2026-10-01_2026-11-01.csv"
    assert (tmp_path / "statement.csv").read_text().count("usage_accrued") == 150
