"""
The sandbox's pages in a real browser, narrow and wide: nothing is refused by their content security policy, no page is
wider than the screen, and the keyboard's place can be seen.
"""

import re
import urllib.request
from urllib.parse import urlsplit

import pytest

from tests.browser import visiting
from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.receiver import Receiver

LONG = "A customer with a rather long name, Incorporated and Sons (Holding) GmbH & Co. KG " * 2
SECTIONS = ["/", "/customers", "/subscriptions", "/invoices", "/payment-intents", "/events", "/requests", "/clock"]
SECTIONS += ["/faults", "/everything", "/search?q=customer", "/reset", "/nothing", "/prices", "/webhook-endpoints"]


@pytest.fixture
def paths(account: Account, sandbox: SandboxProcess, receiver: Receiver) -> list[str]:
    """The sections, and one page of every kind of object, of an account with a past."""
    customer = account.customer(name=LONG, email=f"{'a' * 60}@example.com", metadata={"key": "b" * 300})
    subscription = account.subscription(customer)
    account.api.customers.balance_transactions.create(customer.id, {"amount": -500, "currency": "usd"})
    failing = account.customer(card="pm_card_chargeCustomerFail")
    account.subscription(failing, payment_behavior="allow_incomplete")
    with pytest.raises(Exception, match="unknown parameter"):
        account.unchecked.customers.create({"nme" * 40: "typo"})
    sandbox.advance("2026-11-01T01:30:00Z")
    sandbox.wait_until_idle()
    state = sandbox.state()
    objects = [things[-1]["id"] for things in state.values() if isinstance(things, list) and _has_id(things)]
    request = re.findall(r'href="(/requests/req_[^"]+)"', _read(f"{sandbox.address}/requests"))[0]
    return [*SECTIONS, request, *(f"/objects/{name}" for name in [customer.id, subscription.id, *objects])]


def test_pages_work_and_fit(paths: list[str], sandbox: SandboxProcess) -> None:
    with visiting(sandbox.address) as visitor:
        page = visitor.page
        for path in paths:
            visitor.go(path, status=404 if path == "/nothing" else 200)
            visitor.look(path)
        visitor.go("/clock")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        visitor.follow("main button[value=week]")
        moved_to = urlsplit(page.url)
        notice = page.locator(".notice").inner_text()

    assert [said for said in visitor.complaints if "404" not in said] == []  # one of the pages is not there on purpose
    assert visitor.too_wide == {}
    assert outline == "solid"
    assert (moved_to.path, moved_to.query) == ("/clock", "moved=1")
    assert "2026-11-08 01:30" in notice


def _has_id(things: list[object]) -> bool:
    return bool(things) and isinstance(things[-1], dict) and "id" in things[-1] and "object" in things[-1]


def _read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return str(answer.read().decode())
