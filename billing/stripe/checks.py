"""Django's system checks of the Stripe settings: of the key's shape always, of the database with `check --database`."""

import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError

_KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9]{24,}")


def key_has_the_shape_of_one(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A publishable key, a webhook's secret or half a key would be refused by Stripe one request at a time."""
    if not settings.STRIPE_SECRET_KEY or _KEY.fullmatch(settings.STRIPE_SECRET_KEY):
        return []
    return [
        Error(
            "STRIPE_SECRET_KEY has not the shape of a secret or restricted key.",
            hint="It begins with sk_test_, sk_live_, rk_test_ or rk_live_; Stripe's dashboard shows it under API keys.",
            id="billing.E001",
        )
    ]


def database_is_of_the_key_s_mode(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """A live key on a database of test mode, or the other way round, would be refused at the first write."""
    from billing.stripe import modes  # noqa: PLC0415  (models need the apps to be loaded)

    if not databases or not settings.STRIPE_SECRET_KEY:
        return []
    try:
        row = modes.known()
    except DatabaseError:
        return []  # not migrated yet
    if row is None or row.livemode is settings.STRIPE_LIVE_MODE:
        return []
    ours, of_key = modes.mode_text(row.livemode), modes.mode_text(settings.STRIPE_LIVE_MODE)
    return [
        Error(
            f"STRIPE_SECRET_KEY is of {of_key} mode, and this database belongs to {row.account_id} in {ours} mode.",
            hint=f"Use a key of {ours} mode, or another database.",
            id="billing.E002",
        )
    ]


def install() -> None:
    register(key_has_the_shape_of_one)
    register(Tags.database)(database_is_of_the_key_s_mode)
