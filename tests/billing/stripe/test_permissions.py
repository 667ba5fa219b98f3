"""What a restricted key of ours has to be allowed: all that the code asks Stripe for."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from billing.stripe.permissions import NEEDS, check
from tests.sandbox.client import SandboxProcess

BILLING = Path(__file__).parents[3] / "billing"
# Stripe tells a key its account without a permission, or says that it does not (billing.stripe.modes).
ASKED_BY_ANY_KEY = ("/v1/account",)
PATH = re.compile(r"/v[12]/[a-z_]+(/[a-z_]+)*")


def _paths() -> Iterator[str]:
    """Every address of Stripe's API that is written anywhere in the code, as far as it is the same for all objects."""
    for file in sorted(BILLING.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            found = PATH.match(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
            if found is not None:
                yield found.group()


def test_every_address_that_the_code_asks_is_among_the_needs() -> None:
    named = (*(need.path for need in NEEDS), *ASKED_BY_ANY_KEY)
    paths = set(_paths())
    assert "/v1/invoices" in paths
    assert sorted(path for path in paths if not any(f"{path}/".startswith(f"{one}/") for one in named)) == []


def test_a_key_that_cannot_make_the_destination_of_thin_events_is_named(
    committed_db: None, at_sandbox: SandboxProcess
) -> None:
    at_sandbox.fault(operation="POST /v2/core/event_destinations", mode="forbidden", times=None)
    found = [check(need) for need in NEEDS]
    assert [(one.need.name, one.missing) for one in found if one.missing] == [("Event destinations", ("write",))]
