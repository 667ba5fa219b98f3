"""The least that answers what a customer's accounts hold: one view, one statement, no key and no framework of APIs.

The yardstick for the ledger's API: the same server, the same middleware, the same body.
"""

import json
from decimal import Decimal

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path


def balances(request: HttpRequest, customer_key: str) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT code, kind, currency, balance FROM ledger_account WHERE customer_key = %s ORDER BY code",
            [customer_key],
        )
        rows = [
            {"account": code, "kind": kind, "currency": currency, "balance": _plain(balance)}
            for code, kind, currency, balance in cursor.fetchall()
        ]
    body = {"customer_key": customer_key, "effective_at": None, "known_at": None, "balances": rows}
    return HttpResponse(json.dumps(body, separators=(",", ":")), content_type="application/json")


def _plain(balance: Decimal) -> str:
    text = f"{balance:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [path("api/v1/customers/<str:customer_key>/balances", balances), path("healthz", healthz)]
settings.ROOT_URLCONF = __name__
application = get_wsgi_application()
