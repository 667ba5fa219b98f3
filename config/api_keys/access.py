"""Lets a request in by its API key: `Authorization: Api-Key <key>`, or `Bearer <key>` as most client libraries say."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from config.api_keys.models import ApiKey
from config.api_keys.scopes import Scope
from config.problems import problem

SCHEMES = ("Api-Key", "Bearer")
CHALLENGE = ", ".join(SCHEMES)
UNUSABLE = "The API key is unknown, revoked or expired."
_SCHEMES = frozenset(scheme.lower() for scheme in SCHEMES)
P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


class InvalidApiKey(Exception):
    """The key is unknown, revoked or expired. The message does not say which: a stranger learns nothing from it."""


def presented_key(request: HttpRequest) -> str | None:
    """Return the key of the Authorization header, or None when the header is absent or of another scheme."""
    scheme, _, key = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return key.strip() or None if scheme.lower() in _SCHEMES else None


def usable_api_key(key: str) -> ApiKey:
    """Return the row of a key that may be used now. Raises InvalidApiKey."""
    if not (key.isascii() and key.isprintable()):  # PostgreSQL takes no NUL, and no key of ours holds such signs
        raise InvalidApiKey(UNUSABLE)
    try:
        found = cast("ApiKey", ApiKey.objects.get_from_key(key))
    except ApiKey.DoesNotExist:
        raise InvalidApiKey(UNUSABLE) from None
    if found.has_expired:
        raise InvalidApiKey(UNUSABLE)
    return found


def require_scope(scope: str) -> Callable[[View[P]], View[P]]:
    """Decorate a plain Django view: 401 without a usable key, 403 when the key lacks `scope`, both as problem+json.

    The view finds the key's row in `request.api_key`. No cookie is read, so there is nothing for CSRF to protect.
    """
    wanted = Scope(scope)

    def decorate(view: View[P]) -> View[P]:
        @csrf_exempt
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            key = presented_key(request)
            try:
                found = usable_api_key(key) if key else None
            except InvalidApiKey as error:
                return _unauthorized(str(error))
            if found is None:
                return _unauthorized(f"Send the header `Authorization: {SCHEMES[0]} <key>`.")
            if not found.allows(wanted):
                detail = f"This API key lacks the scope {wanted}. Ask for a key that has it."
                return problem(status=403, title="Forbidden", detail=detail)
            request.api_key = found  # type: ignore[attr-defined]
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def _unauthorized(detail: str) -> HttpResponseBase:
    return problem(status=401, title="Unauthorized", detail=detail, headers={"WWW-Authenticate": CHALLENGE})
