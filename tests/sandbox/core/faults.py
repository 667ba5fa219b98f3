"""Fault switches: what goes wrong with the next requests and webhooks, by rule, by chance that repeats, or both."""

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, get_args

from tests.sandbox.core.ids import IdSource

RequestMode = Literal[
    "hold_before",
    "hold_after",
    "slow",
    "error_500",
    "error_500_after_commit",
    "rate_limit",
    "forbidden",
    "timeout_after_commit",
    "connection_reset",
    "connection_refused",
    "lagging_lists",
    "forget_idempotency_keys",
]
WebhookMode = Literal["drop", "duplicate", "duplicate_at_once", "delay", "reorder", "bad_signature"]
Target = Literal["operation", "event"]

# These change how a request is answered and go together with any other fault of the same request.
LAGGING_LISTS, FORGET_IDEMPOTENCY_KEYS = "lagging_lists", "forget_idempotency_keys"
ALTERING = frozenset({LAGGING_LISTS, FORGET_IDEMPOTENCY_KEYS})
FAILING = frozenset(get_args(RequestMode)) - ALTERING
WEBHOOK = frozenset(get_args(WebhookMode))

SECONDS_OF = frozenset({"rate_limit", "slow", "connection_refused", LAGGING_LISTS, "delay", "reorder"})
FIELDS = frozenset(
    {
        *("operation", "event", "where", "mode", "times", "after", "probability", "seed"),
        *("seconds", "writes", "places", "permission"),
    }
)
SEED_BITS = 32


class UnknownFault(ValueError):
    """The fault asked for is none of the switches; the text names the field that is wrong."""


@dataclass(slots=True)
class Fault:
    """
    A rule. `pattern` is searched in "METHOD path" of a request, or in the type of an event.

    `where` is an object's id that the request or the event must name. Of what matches, the first `after` are let
    through, then each is hit with `probability`, until `times` (None: no end) were. `seconds` is the wait of a delay, a
    slow answer, a refusal or an overtaking, the Retry-After of a rate limit, the lag of a list; `writes` is that lag in
    writing requests; `places` is how many events overtake a reordered one; `permission` is what a restricted key lacks.
    """

    target: Target
    pattern: re.Pattern[str]
    mode: str
    times: int | None = 1
    seconds: float = 1.0
    where: str | None = None
    after: int = 0
    probability: Fraction = Fraction(1)
    seed: int = 0
    writes: int = 0
    places: int = 1
    permission: str = ""
    chance: random.Random = field(default_factory=random.Random, repr=False)
    hits: int = 0

    def __post_init__(self) -> None:
        self.chance.seed(self.seed)

    def matches(self, target: Target, text: str, names: Callable[[str], bool]) -> bool:
        if self.target != target or self.times == 0 or self.pattern.search(text) is None:
            return False
        return self.where is None or names(self.where)

    def strikes(self) -> bool:
        """Spend a match: whether this one is hit."""
        if self.after > 0:
            self.after -= 1
            return False
        if self.chance.randrange(self.probability.denominator) >= self.probability.numerator:
            return False
        if self.times is not None:
            self.times -= 1
        self.hits += 1
        return True

    def as_json(self) -> dict[str, Any]:
        return {
            self.target: self.pattern.pattern,
            "where": self.where,
            "mode": self.mode,
            "times": self.times,
            "after": self.after,
            "probability": str(self.probability),
            "seed": self.seed,
            "seconds": self.seconds,
            "writes": self.writes,
            "places": self.places,
            "hits": self.hits,
            "permission": self.permission,
        }


class Faults:
    """The rules in force. The oldest rule that strikes wins."""

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids
        self._rules: list[Fault] = []

    def add(self, wanted: dict[str, Any]) -> Fault:
        """Add a rule from its JSON. Raises `UnknownFault` with a line for people.

        A rule whose `probability` is below 1 and that names no `seed` draws one from the sandbox's own.
        """
        rule = _read(wanted, draw_seed=lambda: self._ids.number(SEED_BITS))
        self._rules.append(rule)
        return rule

    def take(
        self, target: Target, text: str, *, modes: frozenset[str], names: Callable[[str], bool] = lambda _: False
    ) -> Fault | None:
        """The rule of one of `modes` that strikes what `text` describes. `names` says whether it names an object."""
        for rule in self._rules:
            if rule.mode in modes and rule.matches(target, text, names) and rule.strikes():
                return rule
        return None

    def has(self, mode: str) -> bool:
        return any(rule.mode == mode and rule.times != 0 for rule in self._rules)

    def clear(self) -> None:
        self._rules.clear()

    def active(self) -> list[Fault]:
        return [rule for rule in self._rules if rule.times != 0]


def _read(wanted: dict[str, Any], *, draw_seed: Callable[[], int]) -> Fault:
    unknown = sorted(set(wanted) - FIELDS)
    if unknown:
        raise UnknownFault(f"{unknown[0]}: a fault has no such field; there are {', '.join(sorted(FIELDS))}")
    target: Target = "event" if "event" in wanted else "operation"
    if target not in wanted or {"operation", "event"} <= set(wanted):
        raise UnknownFault('operation, event: a fault needs one of them, "operation" or "event"')
    modes = get_args(WebhookMode if target == "event" else RequestMode)
    mode = str(wanted.get("mode"))
    if mode not in modes:
        raise UnknownFault(f"mode: {mode!r} is none; with {target} it is a mode of {', '.join(modes)}")
    _refuse_without_use(wanted, mode)
    probability = _probability(wanted.get("probability", 1))
    times, seed = wanted.get("times", 1), wanted.get("seed")
    if seed is None:
        seed = draw_seed() if probability < 1 else 0
    return Fault(
        target=target,
        pattern=_pattern(target, wanted[target]),
        mode=mode,
        times=None if times is None else _whole("times", times, least=1),
        seconds=_seconds(wanted.get("seconds", 0 if mode == LAGGING_LISTS else 1)),
        where=_where(wanted.get("where")),
        after=_whole("after", wanted.get("after", 0), least=0),
        probability=probability,
        seed=_whole("seed", seed, least=0),
        writes=_whole("writes", wanted.get("writes", 0), least=0),
        places=_whole("places", wanted.get("places", 1), least=1),
        permission=_permission(wanted.get("permission", "")),
    )


def _refuse_without_use(wanted: dict[str, Any], mode: str) -> None:
    """A field that the mode would ignore is refused."""
    if "seconds" in wanted and mode not in SECONDS_OF:
        raise UnknownFault(f"seconds: {mode} waits for nothing")
    if "places" in wanted and mode != "reorder":
        raise UnknownFault("places: only reorder has them")
    if "permission" in wanted and mode != "forbidden":
        raise UnknownFault("permission: only forbidden lacks one")
    if "writes" in wanted and mode != LAGGING_LISTS:
        raise UnknownFault(f"writes: only {LAGGING_LISTS} has them")
    if mode == LAGGING_LISTS and not wanted.get("seconds") and not wanted.get("writes"):
        raise UnknownFault("seconds, writes: say by how many seconds of the clock or writing requests lists lag")


def _pattern(target: str, text: Any) -> re.Pattern[str]:
    if not isinstance(text, str):
        raise UnknownFault(f"{target}: {text!r} is no regular expression, but no text at all")
    try:
        return re.compile(text)
    except re.error as error:
        raise UnknownFault(f"{target}: {text!r} is no regular expression: {error}") from error


def _permission(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"(rak_[a-z0-9_]+)?", value) is None:
        raise UnknownFault(f"permission: {value!r} is no permission of Stripe's, such as rak_customer_write")
    return value


def _where(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise UnknownFault(f"where: {value!r} is no object's id")
    return value


def _whole(name: str, value: Any, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UnknownFault(f"{name}: {value!r} is no whole number from {least} on")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UnknownFault(f"seconds: {value!r} is no number from 0 on")
    return float(value)


def _probability(value: Any) -> Fraction:
    """Exact: "1/7", "0.1", and 0.1 as it is written, not as a float has it."""
    try:
        probability = Fraction(value if isinstance(value, str) else str(value))
    except (ValueError, ZeroDivisionError):
        raise UnknownFault(f'probability: {value!r} is no fraction such as "1/7" or 0.1') from None
    if not 0 < probability <= 1:
        raise UnknownFault(f"probability: {value!r} is not above 0 and up to 1")
    return probability
