"""What an import of a usage file costs, and that its memory does not grow with the file."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from tests.bench.ingest_sides import CUSTOMERS, prepare

IMPORT_ROWS = (30_000, 300_000)


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        _bench_import(console, Path(folder))


def _bench_import(console: Console, folder: Path) -> None:
    peaks = []
    for rows in IMPORT_ROWS:
        path = folder / f"import-{rows}.csv"
        _write_csv(path, rows)
        started = time.perf_counter()
        peak = _import_peak_megabytes(path)
        seconds = time.perf_counter() - started
        peaks.append(peak)
        console.print(f"import_usage of {rows:,} rows: {rows / seconds:,.0f} rows/s, peak memory {peak:.0f} MB")
    console.print(f"peak memory, {IMPORT_ROWS[1] // IMPORT_ROWS[0]} times the rows: {peaks[1] / peaks[0]:.2f} times")


def _write_csv(path: Path, rows: int) -> None:
    start = datetime.now(tz=UTC) - timedelta(days=20)
    with path.open("w") as file:
        file.write("at,customer,tokens\n")
        for number in range(rows):
            file.write(
                f"{(start + timedelta(seconds=number)).isoformat()},{CUSTOMERS[number % 1_000]},{number % 900}\n"
            )


def _import_peak_megabytes(path: Path) -> float:
    """Run the command in a process of its own and return the most memory it held."""
    options = ["--map", "time=at", "--subject-column", "customer", "--map", "data.input_tokens=tokens"]
    command = [sys.executable, "manage.py", "import_usage", str(path), *options, "--set", "type=llm.request"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ)
    output: list[bytes] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: output.append(process.stdout.read() if process.stdout else b""))
    reader.start()
    _, status, usage = os.wait4(process.pid, 0)
    reader.join()
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise AssertionError(f"the import ended with {process.returncode}: {output}")
    kilobytes = usage.ru_maxrss / 1024 if sys.platform == "darwin" else usage.ru_maxrss
    return kilobytes / 1024
