"""
What a declared policy says, and what is due of it: dates and numbers only.

Days are whole periods of 24 hours after the first failure (or after the due date of an invoice that is sent), so the
third day is exactly 72 hours later in every time zone. A day belongs to the attempt or reminder of its own place in
the list: the first entry is number 1.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

DAY = timedelta(days=1)
DAYS_MAX = 3650
# Stripe retries by itself ("Smart Retries"). Its days are not public: whoever states some is guessing, so a policy with
# Stripe's retries names no days, and we only follow what happens.
STRIPE, OURS = "stripe", "ours"
TEXTS = ("payment_failed", "reminder", "last_reminder")
FIELDS = frozenset({"retries", "retry_days", "reminders", "grace_days", "restrict_after_days", "write_off_after_days"})


class InvalidPolicy(Exception):
    """The terms are not a policy. `field` names what to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


@dataclass(frozen=True, slots=True)
class Reminder:
    """Which text goes out on which day."""

    day: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    A policy. `retry_days` is empty where Stripe retries; `restrict_after_days` and `write_off_after_days` are None
    where service is never restricted and the debt never proposed for write-off.
    """

    retries: str
    retry_days: tuple[int, ...]
    reminders: tuple[Reminder, ...]
    grace_days: int
    restrict_after_days: int | None
    write_off_after_days: int | None

    def as_data(self) -> dict[str, Any]:
        return {
            "retries": self.retries,
            "retry_days": list(self.retry_days),
            "reminders": [{"day": one.day, "text": one.text} for one in self.reminders],
            "grace_days": self.grace_days,
            "restrict_after_days": self.restrict_after_days,
            "write_off_after_days": self.write_off_after_days,
        }


# What holds where nobody declared anything else.
STANDARD_CODE, STANDARD_NAME = "standard", "Standard"
STANDARD = Terms(
    retries=STRIPE,
    retry_days=(),
    reminders=(Reminder(0, "payment_failed"), Reminder(5, "reminder"), Reminder(12, "last_reminder")),
    grace_days=7,
    restrict_after_days=14,
    write_off_after_days=60,
)


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """One step and when it is to happen. At one instant an attempt comes before a reminder of it."""

    at: datetime
    rank: int
    kind: str
    number: int
    text: str = ""


_RANKS = {"attempt": 0, "reminder": 1, "grace_ended": 2, "restricted": 3, "write_off_proposed": 4}


def terms_of(data: Mapping[str, Any]) -> Terms:
    """Read a declared policy strictly. Raises InvalidPolicy naming the field."""
    for name in data:
        if name not in FIELDS:
            raise InvalidPolicy(name, f"there is no such field; there are {', '.join(sorted(FIELDS))}")
    for name in sorted(FIELDS - set(data)):
        raise InvalidPolicy(name, "is missing")
    retries = data["retries"]
    if retries not in (STRIPE, OURS):
        raise InvalidPolicy("retries", "give stripe or ours")
    retry_days = _rising(data["retry_days"], "retry_days")
    if retries == STRIPE and retry_days:
        raise InvalidPolicy("retry_days", "Stripe's days are its own and not public: leave the list empty, or say ours")
    if retries == OURS and (not retry_days or retry_days[0] == 0):
        raise InvalidPolicy("retry_days", "name the days after the failure, 1 or later")
    grace = _day(data["grace_days"], "grace_days")
    restricts, writes_off = (
        None if data[name] is None else _day(data[name], name)
        for name in ("restrict_after_days", "write_off_after_days")
    )
    if restricts is not None and restricts < grace:
        raise InvalidPolicy("restrict_after_days", "service is not restricted before grace ends")
    if writes_off is not None and retry_days and writes_off < retry_days[-1]:
        raise InvalidPolicy("write_off_after_days", "not before the last retry")
    return Terms(
        retries=retries,
        retry_days=retry_days,
        reminders=_reminders(data["reminders"]),
        grace_days=grace,
        restrict_after_days=restricts,
        write_off_after_days=writes_off,
    )


def _day(value: Any, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= DAYS_MAX:
        raise InvalidPolicy(field, f"a whole number of days from 0 to {DAYS_MAX}")
    return value


def _rising(values: Any, field: str) -> tuple[int, ...]:
    if not isinstance(values, list):
        raise InvalidPolicy(field, "a list of days")
    days = tuple(_day(value, field) for value in values)
    if list(days) != sorted(set(days)):
        raise InvalidPolicy(field, "each day later than the one before")
    return days


def _reminders(values: Any) -> tuple[Reminder, ...]:
    if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
        raise InvalidPolicy("reminders", "a list of {day, text}")
    for one in values:
        if set(one) != {"day", "text"} or one["text"] not in TEXTS:
            raise InvalidPolicy("reminders", f"each with a day and a text, one of {', '.join(TEXTS)}")
    _rising([one["day"] for one in values], "reminders")
    return tuple(Reminder(one["day"], one["text"]) for one in values)


def steps_of(terms: Terms, *, failed_at: datetime) -> list[Due]:
    """Everything the policy does in its course, in order."""
    found = [_due(failed_at, day, "attempt", number) for number, day in enumerate(terms.retry_days, start=1)]
    for number, one in enumerate(terms.reminders, start=1):
        found.append(_due(failed_at, one.day, "reminder", number, one.text))
    found.append(_due(failed_at, terms.grace_days, "grace_ended", 0))
    if terms.restrict_after_days is not None:
        found.append(_due(failed_at, terms.restrict_after_days, "restricted", 0))
    if terms.write_off_after_days is not None:
        found.append(_due(failed_at, terms.write_off_after_days, "write_off_proposed", 0))
    return sorted(found)


def _due(failed_at: datetime, day: int, kind: str, number: int, text: str = "") -> Due:
    return Due(failed_at + day * DAY, _RANKS[kind], kind, number, text)


@dataclass(frozen=True, slots=True)
class Agenda:
    """What is to be done now, what was passed over because the task came late, and when to look again."""

    due: tuple[Due, ...]
    missed: tuple[Due, ...]
    next_at: datetime | None


def agenda(steps: Sequence[Due], *, done: Collection[tuple[str, int]], now: datetime) -> Agenda:
    """
    Of the steps not done, those whose instant has come.

    A task that was down for days makes up for nothing that would come as a storm: of several attempts due, and of
    several reminders, the latest is made and the earlier ones are noted as missed.
    """
    left = [step for step in steps if (step.kind, step.number) not in done]
    ready = [step for step in left if step.at <= now]
    latest = {step.kind: step for step in ready}
    return Agenda(
        due=tuple(step for step in ready if latest[step.kind] is step),
        missed=tuple(step for step in ready if latest[step.kind] is not step),
        next_at=min((step.at for step in left if step.at > now), default=None),
    )
