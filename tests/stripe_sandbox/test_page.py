"""The page for people: it shows what there is, links it, and its buttons work. No browser is needed for that."""

import re
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account


def page(sandbox: SandboxProcess, path: str) -> str:
    with urllib.request.urlopen(sandbox.address + path, timeout=10) as answer:
        return str(answer.read().decode())


def press(sandbox: SandboxProcess, path: str, **fields: str) -> str:
    body = urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(sandbox.address + path, data=body, timeout=10) as answer:
        return str(answer.read().decode())


def test_every_page_and_every_link_on_them_answers(account: Account, sandbox: SandboxProcess) -> None:
    account.subscription(account.customer(name="Ada & <Co>"))
    sandbox.advance("2026-11-01T00:30:00Z")

    waiting, seen = ["/"], set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += re.findall(r'href="([^"]+)"', page(sandbox, path))

    assert {"/", "/customers", "/subscriptions", "/invoices", "/events", "/faults"} < seen
    assert sum(path.startswith("/objects/") for path in seen) > 20


def test_names_are_escaped(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer(name="<script>alert(1)</script>")

    for path in ("/", "/customers", f"/objects/{customer.id}"):
        text = page(sandbox, path)
        assert "<script>" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_invoice_shows_its_lines_and_sums(account: Account, sandbox: SandboxProcess) -> None:
    invoice = account.invoice(account.customer(), 123_456, -56)

    text = page(sandbox, f"/objects/{invoice.id}")

    assert "1,234.56 USD" in text
    assert "−0.56 USD" in text
    assert "1,234.00 USD" in text
    assert "draft" in text


@pytest.mark.parametrize(
    ("move", "expected"),
    [("hour", "2026-10-01 01:00:00"), ("day", "2026-10-02 00:00:00"), ("month", "2026-11-01 00:00:00")],
)
def test_clock_buttons(sandbox: SandboxProcess, move: str, expected: str) -> None:
    assert expected in press(sandbox, "/clock", move=move)


def test_fault_switches(account: Account, sandbox: SandboxProcess) -> None:
    press(sandbox, "/faults/add", operation="POST /v1/customers", mode="rate_limit", times="3")
    assert "rate_limit" in page(sandbox, "/faults").split("In force")[1]

    press(sandbox, "/faults/clear")

    assert "Nothing goes wrong." in page(sandbox, "/faults")
    assert account.api.customers.create().id.startswith("cus_")


def test_unknown_page(sandbox: SandboxProcess) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        page(sandbox, "/objects/in_none")

    assert refusal.value.code == 404
    refusal.value.close()
