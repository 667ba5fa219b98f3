"""Turns a database address into Django's connection settings."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = ("postgres", "postgresql")
# A web worker or a Celery child keeps its connection this long, in seconds.
CONNECTION_MAX_AGE_SECONDS = 600
# No request or task may sit on locks while it does nothing: 60 s, in PostgreSQL's milliseconds.
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000


def connection_settings(address: str) -> dict[str, Any]:
    """Return the entry of settings.DATABASES for postgres://user:password@host:port/name?option=value."""
    parts = urlsplit(address)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    options.setdefault("connect_timeout", "10")
    options.setdefault("application_name", "boring-billing")
    options.setdefault(
        "options", f"-c TimeZone=UTC -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}"
    )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": CONNECTION_MAX_AGE_SECONDS,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }
