"""Runs the request flows behind the official CLI's `trigger`, in the CLI's manner: plain requests, no SDK, no checker.

A flow is a JSON document with `fixtures`, the steps. A step's texts may hold `${name:path|default}`, a value out of an
earlier step's answer; `${time-now-RFC3339}`; `${generate-uuid}`. A step with `expected_error_type` goes on when it is
answered with an error of that type. Keys may be written in form notation (`recurring[interval]`).
"""

import json
import re
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.sandbox.client import SandboxProcess
from tests.sandbox.conformance import check_plain_answer
from tests.stripe_sandbox.account import KEY

REFERENCE = re.compile(r"\$\{([^:}|]+)(?::([^}|]+))?(?:\|([^}]*))?\}")
TIMEOUT_SECONDS = 60


class RefusedStep(AssertionError):
    """A step was answered with an error that the flow does not expect. `error` is Stripe's error object."""

    def __init__(self, call: str, error: dict[str, Any]) -> None:
        super().__init__(f"{call}: {error.get('type')} {error.get('code')} {error.get('param')}: {error['message']}")
        self.call = call
        self.error = error


class Flow:
    """One flow against one sandbox."""

    def __init__(self, sandbox: SandboxProcess, path: Path) -> None:
        self._sandbox = sandbox
        self._steps = json.loads(path.read_text(encoding="utf-8"))["fixtures"]
        self._answers: dict[str, Any] = {}

    def run(self) -> None:
        """Raises `RefusedStep`."""
        for step in self._steps:
            self._answers[step["name"]] = self._call(step)

    def _call(self, step: dict[str, Any]) -> Any:
        """A step's `api_base` is not followed: every host of Stripe's is the sandbox here."""
        path = self._filled(step["path"])
        method = step["method"].upper()
        headers = self._filled(step.get("headers") or {})
        status, answer = send(self._sandbox, method, path, self._filled(step.get("params") or {}), **headers)
        if status < 400:
            return answer
        if answer["error"]["type"] != step.get("expected_error_type"):
            raise RefusedStep(f"{method} {path}", answer["error"])
        return answer

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        return REFERENCE.sub(self._referred, value) if isinstance(value, str) else value

    def _referred(self, match: re.Match[str]) -> str:
        name, path, default = match.groups()
        if name == "generate-uuid":
            return str(uuid.UUID(int=len(self._answers)))
        if name == "time-now-RFC3339":
            return datetime.fromtimestamp(self._sandbox.now(), UTC).isoformat().replace("+00:00", "Z")
        found: Any = self._answers.get(name)
        for part in path.split("."):
            if isinstance(found, list):
                found = found[int(part)] if int(part) < len(found) else None
            else:
                found = (found or {}).get(part)
        return default or "" if found is None else str(found)


def send(
    sandbox: SandboxProcess, method: str, path: str, parameters: dict[str, Any] | None = None, **headers: str
) -> tuple[int, Any]:
    """A plain request with a test key: JSON to /v2, a form to /v1. The answer is its status and its JSON."""
    url, body = sandbox.address + path, None
    if path.startswith("/v2/"):
        body = json.dumps(parameters or {}).encode()
    elif method == "POST":
        body = urlencode(list(_form(parameters or {}))).encode()
    elif parameters:
        url += "?" + urlencode(list(_form(parameters)))
    headers = {"Authorization": f"Bearer {KEY}", **headers}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            status, answer = response.status, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            status, answer = error.code, json.load(error)
    check_plain_answer(method, url, status, answer)
    return status, answer


def event_types(sandbox: SandboxProcess) -> set[str]:
    """The types of all events that the sandbox has told, of /v1 and of /v2."""
    state = sandbox.state()
    return {event["type"] for kind in ("event", "v2.core.event") for event in state.get(kind, [])}


def _form(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Form pairs of nested parameters; a key already in form notation keeps it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _form(item, f"{name}[{key}]" if name else key)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _form(item, f"{name.removesuffix('[]')}[{place}]")
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    elif value is not None:
        yield name, str(value)
