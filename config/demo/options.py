"""What the demo is told by the environment: ONCE, SEED, CUSTOMERS, MONTH, PORT, and which Stripe it may use. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from config.demo.month import Month, last_complete_month, parse_month

DEFAULT_SEED = 1
DEFAULT_CUSTOMERS = 200
CUSTOMERS_MAX = 5_000


class BadOption(ValueError):
    """An option cannot be used; its text says which and how to mend it."""


@dataclass(frozen=True, slots=True)
class Options:
    """One run of the demo."""

    once: bool
    seed: int
    customers: int
    month: Month
    # None: 8000 if it is free, else any.
    port: int | None
    # The address of a sandbox that runs already; empty: start one.
    stripe_api_base: str
    # Empty: make one up.
    stripe_secret_key: str


def read_options(environment: Mapping[str, str], *, now: datetime) -> Options:
    """Return the options, or raise BadOption."""
    key, base = environment.get("STRIPE_SECRET_KEY", "").strip(), environment.get("STRIPE_API_BASE", "").strip()
    if key.startswith(("sk_live_", "rk_live_")):
        message = "STRIPE_SECRET_KEY is a live key: the demo would charge people. Unset it."
        raise BadOption(message)
    if key and not base:
        message = (
            "STRIPE_SECRET_KEY is set and STRIPE_API_BASE is not: the demo would fill your account at Stripe with"
            " made-up customers, and cannot move its clock. Unset the key, or set STRIPE_API_BASE to a sandbox."
        )
        raise BadOption(message)
    return Options(
        once=environment.get("ONCE", "").strip().lower() not in ("", "0", "no", "false"),
        seed=_whole(environment, "SEED", DEFAULT_SEED, at_least=0, at_most=2**31),
        customers=_whole(environment, "CUSTOMERS", DEFAULT_CUSTOMERS, at_least=1, at_most=CUSTOMERS_MAX),
        month=_month(environment, now),
        port=_whole(environment, "PORT", 0, at_least=1, at_most=65_535) or None,
        stripe_api_base=base,
        stripe_secret_key=key,
    )


def _whole(environment: Mapping[str, str], name: str, default: int, *, at_least: int, at_most: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and at_least <= int(text) <= at_most):
        message = f"{name} must be a whole number from {at_least} to {at_most}, not {text!r}."
        raise BadOption(message)
    return int(text)


def _month(environment: Mapping[str, str], now: datetime) -> Month:
    text = environment.get("MONTH", "").strip()
    if not text:
        return last_complete_month(now)
    try:
        month = parse_month(text)
    except ValueError as error:
        raise BadOption(str(error)) from error
    if month.ends_at > now:
        message = f"MONTH {text} is not over yet: usage of the future is refused. Choose {last_complete_month(now)}."
        raise BadOption(message)
    return month
