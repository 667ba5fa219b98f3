"""
The base of addresses that write: who asks, with which key, and a body of which nothing is guessed.

A service's key needs the scopes the view names, a person who is signed in the permissions it names, and the CSRF
token. The header `Idempotency-Key` is made before the first try: the same request sent again under it is done once,
another one under it is refused. A view decodes its body, makes one call of an operation, and translates back:

    class PauseSubscription(WritingView):
        write_permissions = ("billing.pause_subscription",)
        refused = {PauseRefused: 422, SubscriptionNotFound: 404}

        def post(self, request: Request, number: int) -> HttpResponse:
            asked = self.asked(request, PauseBody)
            paused = pause(..., actor=asked.actor, idempotency_key=asked.key, now=asked.now)
            return self.answer(subscription_body(paused))
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec
from django.http import HttpResponse
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from billing.api import parameters
from billing.api.models import PATH_CHARS_MAX, ApiWrite
from billing.api.refusals import BadParameter, Refusal
from billing.api.views import BillingView
from billing.stripe.errors import OutboxConflict, StripeRefused, StripeUnavailable
from config import clock
from config.problems import problem

KEY_HEADER = "Idempotency-Key"
BODY_BYTES_MAX = 256 * 1024
# What a caller waits after Stripe did not answer, where Stripe itself named no time.
RETRY_AFTER_SECONDS = 60
_KEY = re.compile(r"[\x21-\x7e]{1,100}", re.ASCII)
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_NAMED = re.compile(r"(?:missing required|contains unknown) field `(?P<name>[^`]*)`")
# PostgreSQL takes no NUL, and no reason or name of ours holds control characters.
_PRINTED = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=_PRINTED)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=_PRINTED)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class _ByName(msgspec.StructMeta):
    """Fields of a body are named, so one that may be left out may stand before one that may not."""

    def __new__(mcs, name: str, bases: tuple[type, ...], fields: dict[str, Any], **config: Any) -> Any:
        return super().__new__(mcs, name, bases, fields, **{"kw_only": True} | config)


class Body(msgspec.Struct, metaclass=_ByName, frozen=True, forbid_unknown_fields=True):
    """A request's body: each field by its name and type, and no other field. Subclasses say which."""


B = TypeVar("B", bound=Body)


@dataclass(frozen=True, slots=True)
class Asked(Generic[B]):
    """A request to write: its body, who asks, the key of the wish, and the instant at which it came."""

    body: B
    actor: str
    key: str
    now: datetime


class WrongBody(Refusal):
    """The body is not what this address takes."""

    title = "Bad body"


class Refused(Refusal):
    """It was understood, and the operation refused it; nothing was written."""

    status = 422
    title = "Refused"


class Conflict(Refusal):
    """It contradicts what is there, such as another request under the same key."""

    status = 409
    title = "Conflict"


class NoSuchThing(Refusal):
    """What the address or the body names does not exist."""

    status = 404
    title = "Not found"


_BY_STATUS: dict[int, type[Refusal]] = {400: WrongBody, 404: NoSuchThing, 409: Conflict, 422: Refused}


class MayWrite(BasePermission):
    """Lets keys do what their scopes say, and signed-in staff what the view's permissions say (with a CSRF token)."""

    message = "This needs an API key with the right scopes, or a signed-in member of staff who may do it."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.auth is not None:
            by_scope: list[type[BasePermission]] = list(api_settings.DEFAULT_PERMISSION_CLASSES)  # type: ignore[arg-type]
            for one in (each() for each in by_scope):
                if not one.has_permission(request, view):
                    self.message = getattr(one, "message", self.message)
                    return False
            return True
        user = request.user
        return bool(user and user.is_authenticated and user.is_active and user.is_staff)


class WritingView(BillingView):
    """What all addresses that write have in common. `permissions` are a person's for reading here."""

    permission_classes = (MayWrite,)
    required_scopes = {"GET": ("billing:read",), "POST": ("billing:write",)}
    # What a person needs to write here: all of them.
    write_permissions: ClassVar[tuple[str, ...]] = ()
    # The operation's refusals and the status each is told by: 422 for what can be mended, 409 for a conflict, 404.
    refused: ClassVar[Mapping[type[Exception], int]] = {}
    # Where a body is a list of thousands.
    body_bytes_max: ClassVar[int] = BODY_BYTES_MAX
    # What to do where it is longer.
    body_too_long: ClassVar[str] = ""
    # The field a refusal is about where the exception has no `field` of its own.
    refused_field: ClassVar[str] = "body"

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        is_person = request.auth is None and request.method not in ("GET", "HEAD", "OPTIONS")
        if is_person and not (
            self.write_permissions and all(request.user.has_perm(one) for one in self.write_permissions)
        ):
            self.permission_denied(request, message="Your role may not do this.")

    def asked(self, request: Request, body: type[B]) -> Asked[B]:
        """
        Read the request, and keep that this key stands for it. Raises BadParameter and WrongBody naming the field, and
        Conflict where the caller used the key for another request.
        """
        key, actor, now = key_of(request), actor_of(request), clock.now()
        sent = _bytes_of(request, self.body_bytes_max, self.body_too_long)
        decoded = decode(sent, body, now=now)
        _keep(actor=actor, key=key, path=request.path, sent=sent, now=now)
        return Asked(decoded, actor, key, now)

    def answer(self, body: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
        return HttpResponse(msgspec.json.encode(body), content_type="application/json", status=status)

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, StripeUnavailable):
            return _try_later(exc)
        return super().handle_exception(self._translated(exc))

    def _translated(self, exc: Exception) -> Exception:
        field = str(getattr(exc, "field", "") or self.refused_field)
        for kind, status in self.refused.items():
            if isinstance(exc, kind):
                return _BY_STATUS[status](field, str(exc))
        if isinstance(exc, OutboxConflict):
            return Conflict(KEY_HEADER, f"{exc} Send this request under another key.")
        if isinstance(exc, StripeRefused):
            return Refused(field, f"Stripe refused: {exc.message} Nothing was changed.")
        return exc


def actor_of(request: Request) -> str:
    """Who asks, as it is written down: service:NAME or user:NAME."""
    if request.auth is not None:
        return f"service:{getattr(request.auth, 'name', '')}"
    return f"user:{request.user.get_username()}"


def key_of(request: Request) -> str:
    """The header Idempotency-Key. Raises BadParameter without one of 1 to 100 visible ASCII characters."""
    key = request.headers.get(KEY_HEADER, "")
    if not _KEY.fullmatch(key):
        raise BadParameter(
            KEY_HEADER,
            f"Send the header {KEY_HEADER} with 1 to 100 visible ASCII characters, such as a UUID made for this wish;"
            " a repeat of the request carries the same.",
        )
    return key


def decode(sent: bytes, body: type[B], *, now: datetime) -> B:
    """
    A JSON body by its declared shape: no number from a text, no field that is not declared, instants in UTC and within
    reach of `now`. Raises WrongBody.
    """
    try:
        decoded: B = _in_utc(msgspec.json.decode(sent, type=body), "", now)
    except msgspec.ValidationError as error:
        raise _wrong(str(error), body) from None
    except msgspec.DecodeError as error:
        raise WrongBody("body", f"Send one JSON object: {error}.") from None
    return decoded


def _in_utc(value: Any, path: str, now: datetime) -> Any:
    """The same with all instants in UTC; what holds none is returned as it is. Raises WrongBody naming the field."""
    if isinstance(value, datetime):
        if not parameters.within_reach(value, now=now):
            raise WrongBody(path, parameters.OUT_OF_REACH)
        return value.astimezone(UTC)
    if isinstance(value, list) and value and isinstance(value[0], msgspec.Struct | datetime):
        return [_in_utc(one, f"{path}[{place}]", now) for place, one in enumerate(value)]
    if isinstance(value, msgspec.Struct):
        told = {name: getattr(value, name) for name in value.__struct_fields__}
        deep = {name: one for name, one in told.items() if isinstance(one, datetime | list | msgspec.Struct)}
        changed = {name: _in_utc(one, f"{path}.{name}".lstrip("."), now) for name, one in deep.items()}
        return msgspec.structs.replace(value, **changed) if changed else value
    return value


def _wrong(told: str, body: type[Body]) -> WrongBody:
    """Name the field: msgspec tells an unknown or missing one in its words, and a wrong one by its path."""
    path = _PATH.search(told)
    named = _NAMED.search(told)
    parts = [path["path"] if path else "", named["name"] if named else ""]
    field = ".".join(part for part in parts if part) or "body"
    words = _PATH.sub("", told)
    if "matching regex" in words:
        words = "Expected printable text that is not blank"
    return WrongBody(field, f"{words}. It takes: {', '.join(body.__struct_fields__) or 'no field'}.")


def _bytes_of(request: Request, most: int, too_long: str) -> bytes:
    """Reads no more than the limit, whatever the headers promise: it is this address's own, and not Django's."""
    if request.content_type.partition(";")[0].strip().lower() != "application/json":
        raise WrongBody("Content-Type", "Send the body as application/json.")
    sent = bytes(request.read(most + 1))
    if len(sent) > most:
        size = f"{most // 1024**2} MiB" if most >= 1024**2 else f"{most // 1024} KiB"
        raise WrongBody("body", f"Send at most {size}. {too_long}".strip())
    return sent


def _keep(*, actor: str, key: str, path: str, sent: bytes, now: datetime) -> None:
    """One key of one caller stands for one request. It is kept before anything is done, and committed with nothing."""
    fingerprint, path = sha256(sent).hexdigest(), path[:PATH_CHARS_MAX]
    ApiWrite.objects.bulk_create(
        [ApiWrite(actor=actor, key=key, path=path, body_sha256=fingerprint, recorded_at=now)], ignore_conflicts=True
    )
    first = ApiWrite.objects.get(actor=actor, key=key)
    if (first.path, first.body_sha256) != (path, fingerprint):
        raise Conflict(
            KEY_HEADER,
            f"The key {key!r} was sent with another request before, to {first.path} at {first.recorded_at:%F %T} UTC;"
            " send this one under a key of its own.",
        )


def _try_later(error: StripeUnavailable) -> HttpResponse:
    waits = getattr(error, "retry_after", None)
    seconds = max(1, int(waits.total_seconds())) if waits is not None else RETRY_AFTER_SECONDS
    return problem(
        status=503,
        title="Stripe does not answer",
        detail="What was asked for is kept and may still be carried out: send the same request under the same key.",
        headers={"Retry-After": str(seconds)},
        field=KEY_HEADER,
    )
