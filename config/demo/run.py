"""One run, stage by stage: found the world, send its usage, end the month, reconcile. Needs Django set up."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from billing.reconciliation import operations as reconciliation
from billing.reconciliation import queries
from config import clock
from config.demo import founding, month_end
from config.demo.errors import DemoFailed
from config.demo.options import Options
from config.demo.programs import PROJECT_DIRECTORY, Sandbox
from config.demo.proving import prove_next_prices
from config.demo.stages import Stages
from config.demo.summary import Outcome
from config.demo.traffic import Traffic, batches, mistakes
from config.demo.usage import usage_of_all
from config.demo.world import DemoCustomer, build_world
from ledger import queries as ledger

# How many lines the file has, and the process that imports them.
Importing = tuple[int, subprocess.Popen[bytes]]


class NotEmpty(DemoFailed):
    """The database holds customers already; the demo would mix its own among them."""


class ImportFailed(DemoFailed):
    """manage.py import_usage did not take the file."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the demo talks to."""

    address: str
    sandbox: Sandbox
    # Where files of this run may lie.
    directory: Path
    environment: Mapping[str, str]
    # Raises ProcessDied when a process of the demo has ended.
    require_alive: Callable[[], None]


def require_empty() -> None:
    """Raise NotEmpty when the database is somebody's."""
    if queries.scalar("SELECT EXISTS (SELECT FROM billing_customer)"):
        message = (
            "The database that DATABASE_URL names holds customers already. Give the demo an empty one, or unset it."
        )
        raise NotEmpty(message)


def live_through(options: Options, site: Site, stages: Stages) -> Outcome:
    """Live through the month and return what it came to. Raises what the stages raise."""
    month = options.month
    world = build_world(seed=options.seed, customers=options.customers, month=month)
    with stages.stage("world", "Founding customers and subscriptions", total=len(world)) as bar:
        founding.found_customers(world, month=month, bar=bar)
    acknowledged, duplicates = _send_usage(options, world, site, stages)
    with stages.stage("close", f"Closing {month}", total=len(world)) as bar:
        month_end.wait_until_quiet(
            sandbox=site.sandbox, ended_by=month.starts_at, bar=bar, require_alive=site.require_alive
        )
        month_end.end_month(month, sandbox=site.sandbox)
        month_end.wait_until_quiet(
            sandbox=site.sandbox, ended_by=month.ends_at, bar=bar, require_alive=site.require_alive
        )
        stripe_now = month_end.settle(month, sandbox=site.sandbox)
        month_end.wait_until_quiet(
            sandbox=site.sandbox, ended_by=month.ends_at, bar=bar, require_alive=site.require_alive
        )
    with stages.stage("reconcile", "Reconciling events, ledger and Stripe") as bar:
        run = reconciliation.reconcile(
            range_start=month.starts_at,
            range_end=stripe_now + month_end.ONE_SECOND,
            now=clock.now(),
            actor=founding.ACTOR,
            progress=lambda code, done, total: bar.show(done=done, total=total, doing=code),
            clock=clock.now,
        )
    with stages.stage("backtest", "Proving a new price on the month", total=1) as bar:
        proved = prove_next_prices(starts_at=month.starts_at, ends_at=stripe_now + month_end.ONE_SECOND, bar=bar)
    return Outcome(
        figures=queries.figures(range_start=month.starts_at, range_end=month.ends_at, currency=founding.CURRENCY),
        acknowledged=acknowledged,
        duplicates=duplicates,
        entries=ledger.count_entries(),
        out_of_balance=len(ledger.out_of_balance()),
        checked=run.checked,
        discrepancies=run.discrepancy_count,
        proved=proved,
        seconds=stages.seconds,
    )


def _send_usage(options: Options, world: list[DemoCustomer], site: Site, stages: Stages) -> tuple[int, int]:
    """Send and import the usage and wait for its windows; return how many events were accepted, and duplicates."""
    sent = [customer.usage for customer in world if not customer.imported]
    events = usage_of_all(sent, options.month, options.seed)
    first = list(itertools.islice(events, 20))
    traffic = Traffic(address=site.address, api_key=founding.create_api_key())
    expected = sum(profile.requests for profile in sent)
    with stages.stage("usage", "Sending usage", total=expected) as bar:
        importing = _start_import(options, world, site)
        traffic.send(batches(itertools.chain(first, events)), progress=bar.advance)
        # Only now: of two events with one id, the one that came first counts.
        traffic.send(iter([mistakes(first)]), progress=bar.advance)
        imported = _finish_import(importing)
    with stages.stage("windows", "Aggregating usage", total=1) as bar:
        month_end.wait_for_windows(sent_by=clock.now(), bar=bar, require_alive=site.require_alive)
    return traffic.answers.accepted + imported, traffic.answers.duplicates


def _start_import(options: Options, world: list[DemoCustomer], site: Site) -> Importing | None:
    """Write the usage of the customers that are imported to a file of JSON lines, and start importing it."""
    profiles = [customer.usage for customer in world if customer.imported]
    if not profiles:
        return None
    path = site.directory / "usage.jsonl"
    lines = 0
    with path.open("wb") as file:
        for event in usage_of_all(profiles, options.month, options.seed):
            file.write(msgspec.json.encode(event) + b"\n")
            lines += 1
    log = (site.directory / "import_usage.log").open("wb")
    command = [sys.executable, "manage.py", "import_usage", str(path)]
    with log:
        process = subprocess.Popen(
            command, cwd=PROJECT_DIRECTORY, env=dict(site.environment), stdout=log, stderr=subprocess.STDOUT
        )
    return lines, process


def _finish_import(importing: Importing | None) -> int:
    """Wait for the import; return how many events it took. Raises ImportFailed."""
    if importing is None:
        return 0
    lines, process = importing
    code = process.wait()
    if code:
        message = f"manage.py import_usage ended with exit code {code}; see import_usage.log."
        raise ImportFailed(message)
    return lines
