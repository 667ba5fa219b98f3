"""
A real trace of 8,819 requests, imported from its file and billed: every token of the file is on an invoice line.

The trace (Azure LLM inference 2023, CC-BY 4.0; Patel et al., "Splitwise", ISCA 2024) has no customer and no model, so
both are given by rule: three customers in turn, one model. It is from 2023, so its times are moved by whole days.
"""

import csv
import json
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db.models import Sum

from billing.invoicing.models import InvoiceLine
from billing.reconciliation.operations import reconcile
from metering.queries import totals, totals_from_events
from tests.scenarios.thread import MONTH_END, MONTH_START, RECONCILED_TO, MainThread

TRACE = Path(__file__).resolve().parents[3] / "shared/data/traces/AzureLLMInferenceTrace_code.csv"
COLUMNS = {"input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"}


@pytest.mark.skipif(not TRACE.exists(), reason="the real trace lies beside the project, in ../shared, and is not there")
def test_every_token_of_a_real_trace_is_on_an_invoice_line(
    thread: MainThread, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_file = _tokens_in_file()

    first, second = (_import(tmp_path, capsys) for _ in range(2))
    thread.aggregate()
    thread.end_month()
    thread.settle()

    assert (first["read"], first["accepted"], first["rejected"]) == (8819, 8819, 0)
    assert (second["read"], second["accepted"], second["duplicates"]) == (8819, 0, 8819)
    assert {row.meter_code: row.quantity for row in totals_from_events(MONTH_START, MONTH_END)} == in_file
    assert {row.meter_code: row.quantity for row in totals(MONTH_START, MONTH_END)} == in_file
    on_lines = InvoiceLine.objects.filter(kind="usage").values_list("rate__meter_code").annotate(Sum("quantity"))
    assert dict(on_lines) == in_file
    run = reconcile(range_start=MONTH_START, range_end=RECONCILED_TO, now=RECONCILED_TO, actor="service:scenario")
    assert [str(found) for found in run.discrepancies.all()] == []


def _tokens_in_file() -> dict[str, Decimal]:
    with TRACE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {meter: Decimal(sum(int(row[column]) for row in rows)) for meter, column in COLUMNS.items()}


def _import(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    capsys.readouterr()
    call_command(
        "import_usage",
        str(TRACE),
        map=["time=TIMESTAMP", *(f"data.{meter}={column}" for meter, column in COLUMNS.items())],
        set=["type=llm.request"],
        subject_rule="round-robin:allowance,grant,tiny",
        model_rule="fixed:sonnet",
        time_zone="UTC",
        shift_time_to=f"{MONTH_START:%Y-%m}-16",
        rejects=folder / "rejects.csv",
    )
    summary: dict[str, int] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return summary
