"""API keys in Django REST framework. A view names its scopes: `required_scopes = {"GET": "usage:read"}`."""

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from config.api_keys.access import CHALLENGE, InvalidApiKey, presented_key, usable_api_key
from config.api_keys.models import ApiKey

if TYPE_CHECKING:
    from rest_framework.views import APIView  # at run time the framework's views import this module first

READING = frozenset({"GET", "HEAD", "OPTIONS"})


class ApiKeyAuthentication(BaseAuthentication):
    """Puts the key's row into `request.auth`. A request without a key is left to the next authentication."""

    def authenticate(self, request: Request) -> tuple[Any, ApiKey] | None:
        key = presented_key(request)
        if not key:
            return None
        try:
            return AnonymousUser(), usable_api_key(key)
        except InvalidApiKey as error:
            raise AuthenticationFailed(str(error)) from None

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class RequiresScope(BasePermission):
    """Lets a key in that has every scope the view names for the method; lets signed-in staff read."""

    message = "This needs an API key with the right scopes, or a signed-in member of staff for reading."

    def has_permission(self, request: Request, view: "APIView") -> bool:
        method = request.method or ""
        if isinstance(request.auth, ApiKey):
            required = getattr(view, "required_scopes", {}).get("GET" if method in READING else method, ())
            needed = (required,) if isinstance(required, str) else required
            if needed:
                self.message = f"This needs an API key with the scope {' and '.join(needed)}."
            return bool(needed) and all(request.auth.allows(scope) for scope in needed)
        return method in READING and IsStaff().has_permission(request, view)


class IsStaff(BasePermission):
    """Lets signed-in members of staff in, and no key."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        user = request.user
        return bool(user and user.is_authenticated and user.is_active and user.is_staff)
