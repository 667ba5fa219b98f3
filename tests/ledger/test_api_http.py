"""The ledger's API over real HTTP, with a key: what a service really meets."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest

from config.api_keys.models import ApiKey
from tests.ledger.chart import UNBILLED, accrual, post
from tests.processes import WebServer


@pytest.fixture
def key(committed_chart: None) -> str:
    """Made before the server starts, as in life."""
    for number in range(5):
        post(accrual(f"a{number}", f"{number + 1}.5"))
    _, key = ApiKey.objects.create_key(name="service", scopes=["billing:read"])
    return str(key)


def ask(url: str, key: str) -> tuple[int, str, dict[str, Any]]:
    request = urllib.request.Request(url, headers={"Authorization": f"Api-Key {key}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers["Content-Type"], json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], json.loads(error.read())


def test_a_service_reads_balances_and_walks_a_statement(key: str, web_process: WebServer) -> None:
    api = f"{web_process.address}/api/v1"

    status, content_type, body = ask(f"{api}/customers/acme/balances?kind=unbilled", key)
    assert (status, content_type, body["balances"][0]["balance"]) == (200, "application/json", "17.5")

    instant = urllib.parse.quote("2026-10-01T02:00:00+02:00")
    assert ask(f"{api}/accounts/{UNBILLED}/balance?known_at={instant}", key)[2]["balance"] == "17.5"

    address, seen = f"{api}/accounts/{urllib.parse.quote(UNBILLED, safe='')}/statement?limit=2", []
    while address:
        status, _, page = ask(address, key)
        assert status == 200
        seen += [line["debit"] for line in page["lines"]]
        address = page["next"]
    assert seen == ["5.5", "4.5", "3.5", "2.5", "1.5"]

    status, content_type, body = ask(f"{api}/customers/acme/balances?known_at=now", key)
    assert (status, content_type, body["field"]) == (400, "application/problem+json", "known_at")
    assert ask(f"{api}/customers/acme/balances", "nonsense")[0] == 401
