"""Waits for the machine to do its work: nothing here bills anybody, it only moves Stripe's clock and looks."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from billing.reconciliation.queries import PendingWork, pending_work
from config.demo.errors import DemoFailed
from config.demo.month import Month
from config.demo.programs import Sandbox
from config.demo.stages import Bar
from metering import queries as metering

ONE_SECOND = timedelta(seconds=1)
POLL_SECONDS = 0.2
TIMEOUT_SECONDS = 600
# Nothing may have moved for this long before the work counts as done.
QUIET_SECONDS = 0.6


class NotFinished(DemoFailed):
    """The machine did not get done in time, or stopped at something a person has to look at."""


def wait_until_quiet(
    *, sandbox: Sandbox, ended_by: datetime, bar: Bar, require_alive: Callable[[], None]
) -> PendingWork:
    """
    Return once every period that ended by the instant is invoiced, and no event or request is on its way.

    Raises NotFinished after ten minutes, or when a close is held or an event was set aside; ProcessDied when a process
    of the demo has ended.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    quiet_since: float | None = None
    while True:
        require_alive()
        is_idle = sandbox.is_idle()
        work = pending_work(ended_by=ended_by)
        bar.show(
            done=work.invoiced,
            total=work.periods,
            doing=f"{work.closed} closed, {work.events_waiting} events of Stripe waiting",
        )
        if work.held or work.events_dead:
            message = f"{work.held} closes are held and {work.events_dead} events were set aside; see the admin."
            raise NotFinished(message)
        now = time.monotonic()
        if not (is_idle and work.is_done):
            quiet_since = None
        elif quiet_since is None:
            quiet_since = now
        elif now - quiet_since >= QUIET_SECONDS:
            return work
        if now > deadline:
            message = f"The work was not done after {TIMEOUT_SECONDS} s: {work}"
            raise NotFinished(message)
        time.sleep(POLL_SECONDS)


def wait_for_windows(*, sent_by: datetime, bar: Bar, require_alive: Callable[[], None]) -> None:
    """Return once every event acknowledged before the instant is in its window. Raises NotFinished and ProcessDied."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while metering.aggregated_through() < sent_by:
        require_alive()
        if time.monotonic() > deadline:
            message = f"Usage sent before {sent_by:%T} was not aggregated after {TIMEOUT_SECONDS} s."
            raise NotFinished(message)
        time.sleep(POLL_SECONDS)
    bar.show(done=1, total=1)


def end_month(month: Month, *, sandbox: Sandbox) -> None:
    """Let Stripe come to the end of the month: it makes the drafts of the next cycle and tells us."""
    # Less than the hour after which Stripe would finalise a draft that nobody takes over.
    sandbox.move_clock(month.ends_at + timedelta(seconds=5))


def settle(month: Month, *, sandbox: Sandbox) -> datetime:
    """Let the payments and first retries of the new invoices happen; return Stripe's time after it."""
    sandbox.move_clock(month.ends_at + timedelta(hours=2))
    return sandbox.now()
