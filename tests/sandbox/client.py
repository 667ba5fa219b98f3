"""Start the sandbox as a process and steer it: the clock, the faults, what it saw."""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests.sandbox.core.faults import RequestMode, WebhookMode

CHECKOUT = Path(__file__).parent.parent.parent
START_TIMEOUT_SECONDS = 60.0
CALL_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.02
PR_SET_PDEATHSIG = 1


class SandboxFailed(RuntimeError):
    """The sandbox did not start, refused a control request, or did not reach what was waited for."""


class SandboxProcess:
    """A sandbox process of one's own, ended with the block; on Linux also when the thread that started it is gone.

    with SandboxProcess(now="2026-10-01T00:00:00Z") as sandbox:
        client = stripe.StripeClient("sk_test_…", base_addresses={"api": sandbox.address})
    """

    def __init__(
        self, *, now: str = "2026-10-01T00:00:00Z", port: int = 0, strict: bool = True, options: tuple[str, ...] = ()
    ) -> None:
        self._arguments = ["--now", now, "--port", str(port), *(["--strict"] if strict else []), *options]
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> Self:
        """Start and wait until it listens. Raises `SandboxFailed`."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.sandbox", *self._arguments],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=partial(_die_with_parent, os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509 (one prctl call)
        )
        assert self._process.stdout is not None
        line = _read_line(self._process.stdout, START_TIMEOUT_SECONDS)
        if not line:
            self.stop()
            raise SandboxFailed(f"the sandbox said nothing for {START_TIMEOUT_SECONDS:.0f} s, or ended")
        self.address = json.loads(line)["address"]
        return self

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def reset(self, *, now: datetime | str | int | None = None, **settings: str) -> None:
        """Forget everything. Clears the faults, releases held requests, drops waiting webhooks."""
        self._call("POST", "reset", {**({"now": _moment(now)} if now is not None else {}), **settings})

    def now(self) -> int:
        """The sandbox's clock, Unix seconds."""
        return int(self._call("GET", "clock")["unix"])

    def advance(self, to: datetime | str | int) -> None:
        """Move the clock forward; answers when everything due on the way is done (webhooks may still be under way)."""
        self._call("POST", "clock", {"now": _moment(to)})

    def fault(
        self,
        *,
        mode: RequestMode | WebhookMode,
        operation: str | None = None,
        event: str | None = None,
        where: str | None = None,
        times: int | None = 1,
        after: int = 0,
        probability: str | Fraction | Decimal = "1",
        seed: int | None = None,
        seconds: float | None = None,
        writes: int | None = None,
        places: int | None = None,
        permission: str | None = None,
    ) -> dict[str, Any]:
        """Switch a fault on for requests (regex on "METHOD path") or events (regex on the type); answers the rule.

        The first `after` that match are let through, then each is hit with `probability` ("1/7") until `times` were
        (None: until cleared). The same `seed` hits the same ones; without it one is drawn from the sandbox's --seed.
        `where` is an object that the request or event must name. Raises `SandboxFailed` naming the field that is wrong.
        """
        target = {"operation": operation} if operation is not None else {"event": event}
        chosen = {"where": where, "seed": seed, "seconds": seconds, "writes": writes, "places": places}
        chosen["permission"] = permission
        rule: dict[str, Any] = self._call(
            "POST",
            "faults",
            {
                **target,
                "mode": mode,
                "times": times,
                "after": after,
                "probability": str(probability),
                **{name: value for name, value in chosen.items() if value is not None},
            },
        )
        return rule

    def resend(self, event_id: str) -> int:
        """Deliver an event once more to each endpoint that wants it; answers to how many."""
        return int(self._call("POST", "deliveries/resend", {"event": event_id})["deliveries"])

    def faults(self) -> list[dict[str, Any]]:
        """The rules in force with their `hits`; one that has struck as often as it may is gone."""
        rules: list[dict[str, Any]] = self._call("GET", "faults")
        return rules

    def clear_faults(self) -> None:
        self._call("DELETE", "faults")

    def held(self) -> list[dict[str, str]]:
        """Requests that wait for `release`: their call and mode."""
        held: list[dict[str, str]] = self._call("GET", "held")
        return held

    def wait_until_held(self, count: int = 1, *, timeout_seconds: float = 60) -> list[dict[str, str]]:
        """Raises `SandboxFailed` when fewer than `count` requests are held by then."""
        deadline = time.monotonic() + timeout_seconds
        while len(held := self.held()) < count:
            if time.monotonic() > deadline:
                raise SandboxFailed(f"{len(held)} of {count} requests are held after {timeout_seconds} s")
            time.sleep(POLL_SECONDS)
        return held

    def release(self) -> int:
        return int(self._call("POST", "faults/release")["released"])

    def alter(self, object_id: str, **changes: Any) -> dict[str, Any]:
        """Change an object or an invoice line behind everybody's back, without an event."""
        altered: dict[str, Any] = self._call("POST", "alter", {"id": object_id, "set": changes})
        return altered

    def authenticate(self, intent_id: str, *, succeeds: bool = True) -> dict[str, Any]:
        """Be the customer at the bank's page, for an intent in requires_action. Raises `SandboxFailed`."""
        body = {"intent": intent_id, "result": "succeed" if succeeds else "fail"}
        intent: dict[str, Any] = self._call("POST", "authenticate", body)
        return intent

    def choose_payout_account(self, account_number: str) -> None:
        """Later payouts go to this one of Stripe's test account numbers."""
        self._call("POST", "payout_account", {"account_number": account_number})

    def renew_card(self, payment_method_id: str, *, exp_month: int, exp_year: int) -> None:
        """The bank sends the customer a new card, and Stripe learns of its expiry."""
        body = {"payment_method": payment_method_id, "exp_month": exp_month, "exp_year": exp_year}
        self._call("POST", "renew_card", body)

    def problems(self) -> list[str]:
        """Everything the sandbox itself said that the document does not allow (needs strict)."""
        problems: list[str] = self._call("GET", "problems")
        return problems

    def deliveries(self) -> list[dict[str, Any]]:
        deliveries: list[dict[str, Any]] = self._call("GET", "deliveries")
        return deliveries

    def state(self) -> dict[str, Any]:
        """Every object by its kind (`state()["invoice"]`, oldest first), counts, recent requests."""
        state: dict[str, Any] = self._call("GET", "state")
        return state

    def counts(self) -> dict[str, int]:
        """The number of objects of each kind."""
        counts: dict[str, int] = self._call("GET", "counts")
        return counts

    def cpu_seconds(self) -> float:
        """The CPU time the process has used."""
        return float(self._call("GET", "cpu"))

    def is_idle(self) -> bool:
        """No webhook is queued, in flight or waiting to be tried again."""
        return bool(self._call("GET", "idle"))

    def wait_until_idle(self, *, timeout_seconds: float = 60) -> None:
        """Raises `SandboxFailed` when webhooks are still under way by then."""
        deadline = time.monotonic() + timeout_seconds
        while not self.is_idle():
            if time.monotonic() > deadline:
                waiting = [item for item in self.deliveries() if item["state"] in ("queued", "waiting")]
                raise SandboxFailed(f"{len(waiting)} webhooks under way after {timeout_seconds} s: {waiting[:3]}")
            time.sleep(POLL_SECONDS)

    def _call(self, method: str, name: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.address}/_sandbox/{name}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise SandboxFailed(f"{method} {name}: {error.read().decode()}") from error


def _moment(value: datetime | str | int) -> str | int:
    return value.isoformat() if isinstance(value, datetime) else value


def _read_line(stream: IO[str], timeout_seconds: float) -> str:
    readable, _, _ = select.select([stream], [], [], timeout_seconds)
    return stream.readline() if readable else ""


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent was gone before the call took effect
        os._exit(1)
