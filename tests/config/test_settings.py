"""Settings in a process of their own: what a missing or wrong variable says, and what browsers are told."""

import json
import os
import subprocess
import sys

import pytest

from config.bootstrap import PROJECT_DIRECTORY
from config.stack.ports import free_port

COMPLETE = {
    "PATH": os.environ["PATH"],
    "DJANGO_SECRET_KEY": "s3cret-of-the-test-that-never-shows",
    "DATABASE_URL": "postgres://billing_app:pa%3Ass@db.example:6432/billing?sslmode=verify-full",
    "DATABASE_OWNER_URL": "postgres://billing_owner:other@db.example:6432/billing",
    "REDIS_URL": "redis://:hidden@cache.example/0",
    "CELERY_BROKER_URL": "sentinel://queue.example:26379",
}
SHOW = """
import json, sys
from config import settings
print(json.dumps({name: getattr(settings, name) for name in sys.argv[1:]}))
"""


def load(*names: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in {**COMPLETE, **changes}.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", SHOW, *names],
        env=environment,
        cwd=PROJECT_DIRECTORY,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DJANGO_SECRET_KEY", None, "DJANGO_SECRET_KEY is not set. Set it to 50 or more random characters"),
        ("DATABASE_URL", None, "DATABASE_URL is not set. Set it, or start embedded services with `make demo`"),
        ("DATABASE_URL", "", "DATABASE_URL is not set."),
        ("DATABASE_URL", "mysql://secret:secret@h/d", "DATABASE_URL is not an address of the kind postgres://host."),
        ("DATABASE_URL", "postgres://h:notaport/d", "DATABASE_URL is not an address"),
        ("REDIS_URL", None, "REDIS_URL is not set."),
        ("CELERY_BROKER_URL", "redis+cluster://secret@h", "A Redis Cluster cannot be Celery's broker"),
        ("DJANGO_DEBUG", "maybe", "DJANGO_DEBUG is neither true nor false. Set DJANGO_DEBUG to 1 or 0."),
        ("METERING_MAX_BODY_BYTES", "-1", "METERING_MAX_BODY_BYTES is not a whole number in range."),
        ("METERING_MAX_BODY_BYTES", "1e6", "METERING_MAX_BODY_BYTES is not a whole number in range."),
        ("STRIPE_API_BASE", "ftp://secret", "STRIPE_API_BASE is not an address of the kind http://host."),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL is no level."),
        ("MANUAL_ENTRY_LIMITS", "USD", "MANUAL_ENTRY_LIMITS is not a list of currencies and amounts. Set"),
        ("MANUAL_ENTRY_LIMITS", "USD=1e3", "MANUAL_ENTRY_LIMITS is not a list"),
        ("MANUAL_ENTRY_LIMITS", "USD=-5", "MANUAL_ENTRY_LIMITS is not a list"),
        ("MANUAL_ENTRY_LIMITS", "usd=5", "MANUAL_ENTRY_LIMITS is not a list"),
        ("MANUAL_ENTRY_LIMITS", "USD=5,USD=500", "MANUAL_ENTRY_LIMITS is not a list"),
    ],
)
def test_a_bad_variable_is_one_line_and_exit_code_2(variable: str, value: str | None, said: str) -> None:
    done = load("DEBUG", **{variable: value})
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert "secret@" not in done.stderr


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (None, {"USD": "250", "EUR": "250", "GBP": "200", "JPY": "40000"}),
        ("CHF=99.95", {"CHF": "99.95"}),
        ("none", {}),
    ],
)
def test_limits_of_manual_entries_are_exact(value: str | None, limits: dict[str, str]) -> None:
    show = (
        "from config import settings; import json; "
        "print(json.dumps({currency: str(limit) for currency, limit in settings.MANUAL_ENTRY_LIMITS.items()}))"
    )
    environment = {**COMPLETE, **({} if value is None else {"MANUAL_ENTRY_LIMITS": value})}
    done = subprocess.run(
        [sys.executable, "-c", show], env=environment, cwd=PROJECT_DIRECTORY, capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == limits


def test_manage_py_and_celery_say_it_the_same_way() -> None:
    environment = {"PATH": os.environ["PATH"]}
    for command in (["manage.py", "check"], ["-m", "celery", "-A", "config.celery", "inspect", "ping"]):
        done = subprocess.run(
            [sys.executable, *command],
            env=environment,
            cwd=PROJECT_DIRECTORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert "DJANGO_SECRET_KEY is not set" in done.stderr


def test_a_live_key_never_goes_to_a_stand_in() -> None:
    done = load("DEBUG", STRIPE_SECRET_KEY="sk_live_" + "0" * 24, STRIPE_API_BASE="http://127.0.0.1:1")
    assert done.returncode == 2
    assert "STRIPE_API_BASE would receive a live secret key" in done.stderr


def test_database_addresses_become_two_connections() -> None:
    done = load("DATABASES")
    default, owner = (json.loads(done.stdout)["DATABASES"][alias] for alias in ("default", "owner"))
    found = [default[name] for name in ("USER", "PASSWORD", "HOST", "PORT", "NAME")]
    assert found == ["billing_app", "pa:ss", "db.example", "6432", "billing"]
    assert default["OPTIONS"]["sslmode"] == "verify-full"
    assert default["CONN_MAX_AGE"] > 0
    assert (owner["USER"], owner["PASSWORD"]) == ("billing_owner", "other")


def test_without_an_owner_the_application_owns() -> None:
    done = load("DATABASES", DATABASE_OWNER_URL=None)
    assert json.loads(done.stdout)["DATABASES"]["owner"]["USER"] == "billing_app"


SECURITY = ("DEBUG", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS", "SECURE_SSL_REDIRECT")


def test_in_production_cookies_and_pages_travel_over_https_only() -> None:
    assert json.loads(load(*SECURITY).stdout) == {
        "DEBUG": False,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "SECURE_HSTS_SECONDS": 31_536_000,
        "SECURE_SSL_REDIRECT": True,
    }


def test_a_site_on_plain_http_can_be_used() -> None:
    shown = json.loads(load(*SECURITY, DJANGO_HTTPS="0").stdout)
    assert list(shown.values()) == [False, False, False, 0, False]


@pytest.mark.parametrize(("key", "live"), [("sk_live_", True), ("rk_live_", True), ("sk_test_", False), ("", False)])
def test_the_kind_of_stripe_key_decides_live_mode(key: str, live: bool) -> None:
    secret = f"{key}{'0' * 24}" if key else ""
    shown = json.loads(load("STRIPE_LIVE_MODE", "STRIPE_LIVE_SECRET_KEY", STRIPE_SECRET_KEY=secret).stdout)
    assert shown == {"STRIPE_LIVE_MODE": live, "STRIPE_LIVE_SECRET_KEY": secret if live else ""}


def test_a_command_without_a_database_says_so_in_one_line() -> None:
    unreachable = f"postgres://nobody@127.0.0.1:{free_port()}/none"
    done = subprocess.run(
        [sys.executable, "manage.py", "sync_roles"],
        cwd=PROJECT_DIRECTORY,
        env={**os.environ, "DATABASE_URL": unreachable, "DATABASE_OWNER_URL": unreachable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert len(done.stderr.splitlines()) == 1
