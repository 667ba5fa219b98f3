"""`python -m config.stack [--directory DIR] [--keep-data] [--forgetful] -- COMMAND…`: run a command beside services.

The command sees DATABASE_URL, DATABASE_OWNER_URL, REDIS_URL, CELERY_BROKER_URL and DJANGO_SECRET_KEY. Without a command
it prints them and stays until Ctrl-C. Without --directory everything is thrown away at the end.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from config.stack import Stack, StackError, remove_stale_folders, termination_raises
from config.stack.template import STACK_ROOT


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m config.stack", description=__doc__)
    parser.add_argument(
        "--directory", type=Path, help="where data and logs lie (default: a folder thrown away at the end)"
    )
    parser.add_argument("--keep-data", action="store_true", help="go on with what the last run left in the folder")
    parser.add_argument("--forgetful", action="store_true", help="faster; a power cut loses data")
    parser.add_argument("command", nargs="*", help="what to run, after --")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse(sys.argv[1:])
    directory = options.directory or STACK_ROOT / f"shell-{os.getpid()}"
    remove_stale_folders()
    try:
        with (
            termination_raises(),
            Stack(
                directory,
                durable=not options.forgetful,
                keep_data=options.keep_data,
                throw_away=options.directory is None,
            ) as stack,
        ):
            if options.command:
                return subprocess.call(options.command, env={**os.environ, **stack.environment()})
            for name, value in stack.environment().items():
                print(f"export {name}='{value}'", flush=True)
            stack.processes.wait()
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
