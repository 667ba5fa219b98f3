"""Turning senders away for a moment: 503 with Retry-After, when this process or the database cannot take more now.

What was sent is either stored whole and answered with success, or nothing of it is stored and it can be sent again.
"""

import logging
import random
import threading
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

import django.db
import psycopg
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponseBase

from config.problems import problem

# Not the same for everybody: senders that were turned away together should not come back together.
RETRY_AFTER_SECONDS = (1, 4)
# PostgreSQL's error classes that say "not now" (its manual, appendix A): connection, transaction rollback (deadlock,
# serialisation), resources, operator intervention (shutdown, statement time-out), system.
PASSING_CLASSES = frozenset({"08", "40", "53", "57", "58"})
# read-only, transaction time-outs, lock time-out.
PASSING_STATES = frozenset({"25006", "25P03", "25P04", "55P03"})
logger = logging.getLogger(__name__)
P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def is_passing(error: BaseException) -> bool:
    """Whether a database error says "not now": the same request can succeed later, as it is."""
    told = error if isinstance(error, psycopg.Error) else error.__cause__
    state = getattr(told, "sqlstate", None)
    if state is None:  # the connection could not be made, or broke
        return isinstance(
            error,
            django.db.OperationalError | django.db.InterfaceError | psycopg.OperationalError | psycopg.InterfaceError,
        )
    return state in PASSING_STATES or state[:2] in PASSING_CLASSES


def turns_away(*, at_once: int) -> Callable[[View[P]], View[P]]:
    """Decorate a view: 503 when `at_once` requests to it are under way in this process, or the database says "not now".

    Any other error is left as it is. Goes around everything that asks the database, the check of the key included.
    """
    places = threading.BoundedSemaphore(at_once)

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not places.acquire(blocking=False):
                return _not_now(f"This server has {at_once:,} requests of this kind under way.")
            try:
                return view(request, *args, **kwargs)
            except (django.db.Error, psycopg.Error) as error:
                if not is_passing(error):
                    raise
                logger.warning("%s answered 503: %s", request.path, str(error).partition("\n")[0])
                return _not_now("The database cannot take anything at the moment.")
            finally:
                places.release()

        return guarded

    return decorate


def bound_waits() -> None:
    """From now on no statement of this process waits for a lock, or runs, for longer than the settings say.

    For web processes: a request that waits for ever holds one of few threads, and its sender has long given up.
    """
    connection_created.connect(_bound_waits, dispatch_uid="config.backpressure")


def _bound_waits(connection: BaseDatabaseWrapper, **_: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false)",
            [f"{settings.WEB_LOCK_TIMEOUT_SECONDS}s", f"{settings.WEB_STATEMENT_TIMEOUT_SECONDS}s"],
        )


def _not_now(why: str) -> HttpResponseBase:
    seconds = random.randint(*RETRY_AFTER_SECONDS)
    return problem(
        status=503,
        title="Not now",
        detail=f"{why} Nothing of this request was taken: send it again in {seconds} s.",
        headers={"Retry-After": str(seconds)},
    )
