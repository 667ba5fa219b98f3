"""`python -m tests.sandbox --port 0 --now 2026-10-01T00:00:00Z`: prints its address as one JSON line when ready."""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
from dataclasses import replace
from typing import get_args

from tests.sandbox.application import Application
from tests.sandbox.core.clock import parse_moment
from tests.sandbox.server import Sandbox, listen
from tests.sandbox.world import AfterLastRetry, InvoiceAfterLastRetry, Settings

NOW_DEFAULT = "2026-10-01T00:00:00Z"
# The objects of a world are many and no garbage until it is replaced: looking seldom halves the cost of a busy month.
COLLECTOR_THRESHOLDS = (100_000, 10, 10)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--now", type=parse_moment, default=NOW_DEFAULT, help="ISO 8601 with offset, or Unix seconds")
    parser.add_argument("--strict", action="store_true", help="check every answer and event against the document")
    parser.add_argument("--seed", type=int, default=None, help="the same identifiers for the same requests")
    parser.add_argument("--deliveries", type=int, default=1, help="webhooks in flight per endpoint (1 keeps order)")
    parser.add_argument("--after-last-retry", choices=get_args(AfterLastRetry), default="past_due")
    parser.add_argument("--invoice-after-last-retry", choices=get_args(InvoiceAfterLastRetry), default="leave_open")
    parser.add_argument("--late-balance-transactions", action="store_true", help="they come a minute after the charge")
    return parser.parse_args()


async def run(arguments: argparse.Namespace) -> None:
    settings = Settings(
        strict=arguments.strict,
        after_last_retry=arguments.after_last_retry,
        invoice_after_last_retry=arguments.invoice_after_last_retry,
        late_balance_transactions=arguments.late_balance_transactions,
    )
    application = Application(now=parse_moment(arguments.now), settings=settings, seed=arguments.seed)
    sandbox = Sandbox(application, deliveries_at_once=arguments.deliveries)
    server = await listen(sandbox, host=arguments.host, port=arguments.port)
    host, port = server.address
    gc.freeze()  # the document is not garbage: the collector need not walk it on every round
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    settings = replace(settings, address=f"http://{host}:{port}")
    sandbox.reset(now=application.world.now, settings=settings)  # the pages' address is known only now
    print(json.dumps({"address": settings.address}), flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    await stop.wait()
    server.close()
    sandbox.deliveries.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(read_arguments()))
    # Threads that post webhooks would be waited for, and a receiver may keep one for all of its time-out.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
