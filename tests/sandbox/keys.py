"""Who is let in: any test key, as Bearer token or as the user name of Basic authentication."""

import base64
import binascii

from tests.sandbox.core.errors import StripeError
from tests.sandbox.wire import Request


def credential_of(request: Request) -> str:
    """The key or token that a request brings; raises `StripeError` 401 for none."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            credential = base64.b64decode(credential, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            credential = ""
    if not credential.strip():
        raise StripeError(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            status=401,
        )
    return credential.strip()


def check_key(request: Request) -> None:
    """Raises `StripeError` 401 for what is no test key."""
    credential = credential_of(request)
    if not credential.startswith(("sk_test_", "rk_test_")):
        raise StripeError(f"Invalid API Key provided: {credential[:8]}****", status=401)
