"""Fault switches: what goes wrong with the next requests and webhooks. Each rule is spent after `times` uses."""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

RequestMode = Literal["hold_before", "hold_after", "error_500", "rate_limit", "timeout_after_commit"]
WebhookMode = Literal["drop", "duplicate", "delay", "reorder"]


class UnknownFault(ValueError):
    """The fault asked for is none of the switches."""


@dataclass(slots=True)
class Fault:
    """`pattern` is searched in "METHOD path" of a request, or in the type of an event."""

    target: Literal["operation", "event"]
    pattern: re.Pattern[str]
    mode: str
    times: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return {self.target: self.pattern.pattern, "mode": self.mode, "times": self.times, "seconds": self.seconds}


class Faults:
    """The rules in force. The oldest rule that matches and is not spent wins."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []

    def add(self, wanted: dict[str, Any]) -> Fault:
        """Add a rule from its JSON. Raises `UnknownFault` with a line for people."""
        target: Literal["operation", "event"] = "event" if "event" in wanted else "operation"
        modes = get_args(WebhookMode if target == "event" else RequestMode)
        if target not in wanted or wanted.get("mode") not in modes:
            raise UnknownFault(f'a fault needs "operation" or "event", and a mode of {", ".join(modes)}')
        try:
            pattern = re.compile(wanted[target])
        except re.error as error:
            raise UnknownFault(f"{wanted[target]!r} is no regular expression: {error}") from error
        rule = Fault(target, pattern, wanted["mode"], int(wanted.get("times", 1)), float(wanted.get("seconds", 1)))
        self._rules.append(rule)
        return rule

    def take(self, target: Literal["operation", "event"], text: str) -> Fault | None:
        """Spend one use of the rule that matches `text`."""
        for rule in self._rules:
            if rule.target == target and rule.times > 0 and rule.pattern.search(text):
                rule.times -= 1
                return rule
        return None

    def clear(self) -> None:
        self._rules.clear()

    def active(self) -> list[Fault]:
        return [rule for rule in self._rules if rule.times > 0]
