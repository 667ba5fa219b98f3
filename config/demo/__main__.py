"""
`python -m config.demo`: a made-up company's month, from raw usage events to paid, reconciled invoices.

The environment chooses: ONCE=1 ends after the run with one line of JSON; SEED, CUSTOMERS, MONTH (YYYY-MM) and PORT
shape it. Exit code 0: everything adds up; 1: something does not, or broke; 2: an option cannot be used.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress

import django

from config import clock
from config.demo import programs, summary
from config.demo.errors import DemoFailed
from config.demo.options import BadOption, Options, read_options
from config.demo.stages import Stages
from config.stack import Stack, StackError, remove_stale_folders, termination_raises
from config.stack.template import STACK_ROOT

EXIT_BROKEN, EXIT_BAD_OPTION, EXIT_INTERRUPTED = 1, 2, 130
People = Mapping[str, tuple[str, str]]


def main() -> int:
    try:
        options = read_options(os.environ, now=clock.now())
    except BadOption as error:
        print(f"demo: {error}", file=sys.stderr)
        return EXIT_BAD_OPTION
    remove_stale_folders()
    try:
        with termination_raises():
            return _run(options)
    except (DemoFailed, StackError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return EXIT_BROKEN
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(options: Options) -> int:
    with ExitStack() as cleanup:
        stages = cleanup.enter_context(Stages())
        with stages.stage("services", "Starting PostgreSQL, Valkey and the Stripe sandbox"):
            stack = cleanup.enter_context(Stack(STACK_ROOT / "demo", durable=True))
            sandbox = _sandbox(options, stack)
        # Only now do the settings know their services, so nothing of Django may be imported before.
        os.environ.update(_environment(options, stack, sandbox))
        cleanup.callback(programs.ask_all_to_end, stack.processes)
        port = programs.choose_port(options.port)
        with stages.stage("programs", "Starting web, workers and beat"):
            started = programs.start_application(stack.processes, port=port, env=os.environ)
            django.setup()
            from config.demo import founding, run  # noqa: PLC0415  (needs Django)

            run.require_empty()
            address = started.wait()
        site = run.Site(
            address=address,
            sandbox=sandbox,
            directory=stack.directory,
            environment=os.environ,
            require_alive=stack.processes.require_all_alive,
        )
        with stages.stage("catalogue", "Loading the catalogue, telling Stripe"):
            people = founding.create_people()
            founding.prepare_catalogue(site_address=address)
        outcome = run.live_through(options, site, stages)
        stages.stop()
        return _end(options, stack, address, people, outcome)


def _sandbox(options: Options, stack: Stack) -> programs.Sandbox:
    if options.stripe_api_base:
        return programs.join_sandbox(options.stripe_api_base, now=options.month.starts_at)
    return programs.start_sandbox(stack.processes, now=options.month.starts_at)


def _environment(options: Options, stack: Stack, sandbox: programs.Sandbox) -> dict[str, str]:
    return {
        **stack.environment(),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "STRIPE_API_BASE": sandbox.address,
        "STRIPE_SECRET_KEY": options.stripe_secret_key or programs.made_up_key(),
        "LOG_LEVEL": os.environ.get("LOG_LEVEL") or "WARNING",
    }


def _end(options: Options, stack: Stack, address: str, people: People, outcome: summary.Outcome) -> int:
    """Say what the month came to; without ONCE stay up until Ctrl-C."""
    failures = summary.failures(outcome)
    for failure in failures:
        print(f"demo: {failure}", file=sys.stderr)
    if not options.once:
        programs.start_mirror(stack.processes, env=os.environ)
        print(_greeting(address, people), flush=True)
        # Ctrl-C is how a demo that stays up ends well.
        with suppress(KeyboardInterrupt):
            stack.processes.wait()
    else:
        print(summary.as_json(outcome), flush=True)
    return EXIT_BROKEN if failures else 0


def _greeting(address: str, people: People) -> str:
    lines = ["", f"Boring Billing is at {address}/admin/ until you press Ctrl-C.", ""]
    lines += [f"  {role:<18} {username:<8} {password}" for role, (username, password) in people.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
