"""The check is on wherever the tests speak with Stripe, and what it finds fails the test that it was found in."""

import ast
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import stripe
from django.conf import settings

from billing.stripe import gateway, mirror
from tests.conformance import CHECKED_CLIENT, CHECKOUT, SESSION_VARIABLE
from tests.processes import CeleryWorker, WebServer
from tests.sandbox import tally
from tests.sandbox.client import SandboxProcess
from tests.sandbox.conformance import CheckedClient
from tests.stripe_sandbox.account import sdk

# Whoever makes a client, or names one, and why that is no way around the checker.
NAMES = {"StripeClient", "RequestsClient", "UrlFetchClient", "PycurlClient", "HTTPXClient", "AIOHTTPClient"}
NAMES |= {"HTTPClient", "default_http_client", "new_default_http_client", "client_for_measurements"}
ALLOWED = {
    "billing/stripe/gateway.py": {"StripeClient"},  # with the client of the settings
    "billing/stripe/mirror.py": {"HTTPClient", "default_http_client"},  # the same, each call after its turn
    "tests/bench/month_end.py": {"RequestsClient"},  # no test: it counts the calls of a million
    "tests/bench/stripe_sandbox.py": {"StripeClient", "client_for_measurements"},  # no test
    "tests/sandbox/conformance.py": {"RequestsClient"},  # the checked one is one
    "tests/stripe_sandbox/account.py": {"StripeClient"},  # with a checked client
}
STRIPE_PATH = re.compile(r"(^|\s)/v1/")  # our own API has /api/v1/
# Asks without the SDK and without a check: one tests HTTP itself, the other speaks of the API to the page alone.
PLAIN_NAMES = {"urlopen", "HTTPConnection", "create_connection"}
PLAIN_ALLOWED = {"tests/stripe_sandbox/test_process.py", "tests/stripe_sandbox/test_page.py"}

PLUGIN = """
from contextlib import ExitStack

from tests.conformance import checked_session, hooks

stack = ExitStack()

def pytest_configure(config):
    stack.enter_context(checked_session("main"))
    config.pluginmanager.register(hooks(), "conformance")

def pytest_unconfigure():
    stack.close()
"""
CALL = """
import stripe
client = stripe.StripeClient("sk_test_x", base_addresses={"api": ADDRESS})
try:
    client.v1.customers.retrieve(CUSTOMER)
except AssertionError:
    pass  # somebody swallows it
"""
TESTS = """
import subprocess
import sys

ADDRESS, CUSTOMER = ADDRESS_AND_CUSTOMER
CALL = CALL_TEXT

def call():
    return CALL.replace("ADDRESS", repr(ADDRESS)).replace("CUSTOMER", repr(CUSTOMER))

def test_here():
    exec(call())

def test_in_a_process():
    code = "from tests.conformance import checked_session, CheckedClient\\nimport stripe\\n"
    code += "stripe._http_client._default_sync_client = CheckedClient\\n"
    subprocess.run([sys.executable, "-c", code + call()], check=True)

def test_innocent():
    pass
"""


def python_files() -> Iterator[Path]:
    for folder in ("billing", "config", "ledger", "metering", "promotions", "tests"):
        yield from (CHECKOUT / folder).rglob("*.py")


def names_in(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.ImportFrom):
            found |= {name.name for name in node.names}
    return found


def speaks_of_stripes_api(tree: ast.AST) -> bool:
    return any(isinstance(node, ast.Constant) and STRIPE_PATH.search(str(node.value)) for node in ast.walk(tree))


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.AST]:
    """Every module but this one that could use one of the names, by its path in the checkout.

    Python reads a name in its NFKC form; to parse the modules without any, nearly all, takes ten seconds.
    """
    some_name = re.compile("|".join(NAMES | PLAIN_NAMES))
    texts = {path: path.read_text() for path in python_files() if path != Path(__file__)}
    return {
        str(path.relative_to(CHECKOUT)): ast.parse(text)
        for path, text in texts.items()
        if some_name.search(unicodedata.normalize("NFKC", text))
    }


def test_no_client_is_made_beside_the_checked_one(trees: dict[str, ast.AST]) -> None:
    found = {name: names_in(tree) & NAMES for name, tree in trees.items()}

    assert {name: names for name, names in found.items() if names} == ALLOWED


def test_nobody_asks_the_api_without_the_sdk_and_unchecked(trees: dict[str, ast.AST]) -> None:
    found = {
        name
        for name, tree in trees.items()
        if name.startswith("tests/") and names_in(tree) & PLAIN_NAMES and speaks_of_stripes_api(tree)
    }
    unchecked = {name for name in found if "check_plain_answer" not in names_in(trees[name])}

    assert unchecked <= PLAIN_ALLOWED


def test_the_setting_names_the_checked_client() -> None:
    assert settings.STRIPE_HTTP_CLIENT == os.environ["STRIPE_HTTP_CLIENT"] == CHECKED_CLIENT


def test_the_gateway_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "STRIPE_SECRET_KEY", "sk_test_" + "a" * 24)

    assert isinstance(gateway.client()._requestor._client, CheckedClient)


def test_dj_stripe_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe, "default_http_client", None)

    mirror.install()

    assert isinstance(stripe.default_http_client, CheckedClient)


def test_a_client_built_without_naming_one_has_it() -> None:
    assert isinstance(stripe.StripeClient("sk_test_x")._requestor._client, CheckedClient)


class Recorder:
    """Stands where the process supervisor stands, and starts nothing."""

    log_directory = Path()

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}

    def start(self, name: str, command: list[str], *, env: Mapping[str, str], ready: object) -> None:
        self.environment = dict(env)


@pytest.mark.parametrize("kind", [WebServer, CeleryWorker])
def test_processes_have_it(kind: type[Any]) -> None:
    recorder = Recorder()

    kind(recorder).start({"STRIPE_API_BASE": "http://127.0.0.1:1"})

    assert recorder.environment["STRIPE_HTTP_CLIENT"] == CHECKED_CLIENT
    assert recorder.environment[tally.FOLDER_VARIABLE] == os.environ[tally.FOLDER_VARIABLE]
    with pytest.raises(AssertionError, match="STRIPE_HTTP_CLIENT"):
        kind(recorder).start({"STRIPE_HTTP_CLIENT": "stripe.RequestsClient"})


def test_what_is_not_checked_is_not_sent() -> None:
    client = CheckedClient()
    with pytest.raises(AssertionError, match="streamed"):
        client.request_stream("get", "http://127.0.0.1:1/v1/customers", {}, None)


@pytest.fixture
def lying_sandbox() -> Iterator[tuple[str, str]]:
    """The address of a sandbox that does not check itself, and a customer of it whose balance is a word."""
    with SandboxProcess(strict=False) as sandbox:
        customer = sdk(sandbox).v1.customers.create()
        sandbox.alter(customer.id, balance="ten")
        yield sandbox.address, customer.id


def test_a_problem_fails_its_test_whoever_swallows_it(lying_sandbox: tuple[str, str], tmp_path: Path) -> None:
    """Tests of their own: one is answered what is not allowed, one starts a process that is, and one is innocent."""
    text = TESTS.replace("ADDRESS_AND_CUSTOMER", repr(lying_sandbox)).replace("CALL_TEXT", repr(CALL))
    (tmp_path / "test_planted.py").write_text(text)
    (tmp_path / "conftest.py").write_text(PLUGIN)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    own = {SESSION_VARIABLE, tally.FOLDER_VARIABLE}
    environment = {name: value for name, value in os.environ.items() if name not in own}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:django", "-p", "no:cacheprovider", "-q", "-rE", str(tmp_path)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "3 passed, 2 errors" in done.stdout, done.stdout + done.stderr
    assert "ERROR test_planted.py::test_here" in done.stdout
    assert "ERROR test_planted.py::test_in_a_process" in done.stdout
    assert "balance: type, expected integer, got str 'ten'" in done.stdout
    assert "Stripe conformance: 2 requests, 0 answers, 0 events checked, 2 problems" in done.stdout
