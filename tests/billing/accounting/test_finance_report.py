"""`manage.py finance_report`: the files of the pages, without a browser."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.billing.accounting.books import months_of_receivables

pytestmark = pytest.mark.django_db


def written(*arguments: str) -> str:
    out = StringIO()
    call_command("finance_report", *arguments, stdout=out)
    return out.getvalue()


def test_writes_what_the_page_downloads() -> None:
    months_of_receivables()

    lines = written(
        "ageing", "--before", "2027-01-01T00:00:00", "--known-at", "2027-01-02T00:00:00", "--customer", "acme"
    ).splitlines()

    assert lines[-3:] == [
        "acme,USD,in_a1,BB-in_a1,2026-09-15 12:00:00,107,over 90,70.000000000000",
        "acme,USD,in_a2,BB-in_a2,2026-12-20 12:00:00,11,1–30,35.000000000000",
        "acme,USD,in_a3,BB-in_a3,2027-01-29 12:00:00,-29,current,60.000000000000",
    ]


@pytest.mark.parametrize("report", ["ageing", "credit", "credit-movement", "revenue"])
def test_writes_a_report_of_nothing(report: str) -> None:
    assert "Made at (UTC)" in written(report)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["ageing", "--before", "soon"], "--before: Enter an instant such as"),
     (["revenue", "--months", "25"], "--months: Ensure this value is less than or equal to 24."),
     (["revenue", "--age", "current"], "revenue takes no --age.")],
)  # fmt: skip
def test_names_what_it_cannot_read(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said) as refusal:
        written(*arguments)

    assert refusal.value.returncode == 2
