"""Errors of our HTTP interfaces, always told the same way: problem+json (RFC 9457)."""

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.response import Response

CONTENT_TYPE = "application/problem+json"


def problem(
    *, status: int, title: str, detail: str, headers: dict[str, str] | None = None, **members: Any
) -> JsonResponse:
    """Return an error body: `title` names the kind of error, `detail` says what to do, `members` are added."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE, headers=headers)


@csrf_exempt  # nothing is done here, so there is nothing to protect, and the answer is the same to every method
def no_such_address(request: HttpRequest, address: str) -> JsonResponse:
    """Where nothing of an API is: told as its other errors are, and not by a page."""
    detail = f"There is nothing at {request.path}. The addresses are described at /api/docs."
    return problem(status=404, title="Not found", detail=detail)


def rest_exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Give Django REST framework's errors the same shape. None leaves the error to Django, as the framework expects."""
    from rest_framework.views import exception_handler  # noqa: PLC0415  (its module reads this one's name from settings)

    response = exception_handler(error, context)
    if response is None:
        return None
    given = response.data
    told = given.pop("detail", None) if isinstance(given, dict) else None
    response.data = {
        "type": "about:blank",
        "title": response.status_text,
        "status": response.status_code,
        "detail": str(told) if told is not None else "Some fields are not acceptable; see errors.",
    }
    if told is None:
        response.data["errors"] = given
    response.content_type = CONTENT_TYPE
    return response
