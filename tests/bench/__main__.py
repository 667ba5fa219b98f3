"""`python -m tests.bench [NAME…]`: run the benchmarks against services of their own, all of them or those named."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import django
from rich.console import Console

from config.stack import Stack, StackError, termination_raises
from config.stack.template import STACK_ROOT

ON_SERVICES = (
    "ingest",
    "ingest_history",
    "imports",
    "storm",
    "close",
    "month_end",
    "ledger",
    "ledger_api",
    "ledger_audit",
    "windows",
    "rating",
    "backtest",
    "webhook",
)
WITHOUT_SERVICES = ("stripe_sandbox",)
BENCHMARKS = (*ON_SERVICES, *WITHOUT_SERVICES)


def main() -> int:
    names = sys.argv[1:] or BENCHMARKS
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        print(f"bench: no benchmark {', '.join(unknown)}. There are: {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    try:
        _run([name for name in names if name in WITHOUT_SERVICES])
        _run_on_services([name for name in names if name in ON_SERVICES])
    except StackError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run_on_services(names: Sequence[str]) -> None:
    if not names:
        return
    # Durable: what is measured is what a power cut would leave.
    folder = Path(STACK_ROOT) / f"shell-{os.getpid()}"
    with termination_raises(), Stack(folder, durable=True, throw_away=True) as stack:
        os.environ.update(stack.environment(), DJANGO_SETTINGS_MODULE="config.settings")
        # For the benchmark that changes what nobody else can. A server of the user's: if its owner is a superuser.
        os.environ["BENCH_SUPERUSER_URL"] = (
            stack.server.superuser_url if stack.server else os.environ["DATABASE_OWNER_URL"]
        )
        django.setup()
        _run(names)


def _run(names: Sequence[str]) -> None:
    for name in names:
        import_module(f"tests.bench.{name}").run(Console())


if __name__ == "__main__":
    sys.exit(main())
