"""Stripe's error envelope."""

from typing import Any


class StripeError(Exception):
    """An answer other than success. `kind` is the error's `type`.

    `extra` joins the error object (charge, decline_code, payment_intent …).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        fields = {"code": code, "param": param, **extra}
        self.fields = {"message": message, "type": kind} | {k: v for k, v in fields.items() if v is not None}

    def body(self) -> dict[str, Any]:
        return {"error": self.fields}


def resource_missing(noun: str, object_id: str, *, param: str = "id", status: int = 404) -> StripeError:
    return StripeError(f"No such {noun}: '{object_id}'", status=status, code="resource_missing", param=param)


def not_implemented(what: str, *, param: str | None = None) -> StripeError:
    """Valid at Stripe, absent here. 400, because an SDK would try a 5xx again."""
    return StripeError(
        f"The sandbox does not implement {what}. Stripe does; tests/sandbox/README.md lists what is left out.",
        code="sandbox_not_implemented",
        param=param,
    )


def unrecognized_url(method: str, path: str) -> StripeError:
    return StripeError(
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/.",
        status=404,
    )
