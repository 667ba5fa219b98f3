"""Which requests and events a fault hits: pattern, object, those let through, chance that repeats, and how often."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxFailed, SandboxProcess
from tests.sandbox.core.faults import FAILING, Faults, UnknownFault
from tests.sandbox.core.ids import IdSource
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.receiver import Receiver

DRAWS = 700


def fails(account: Account) -> bool:
    try:
        account.api.customers.create()
    except stripe.APIError:
        return True
    return False


def test_after_lets_the_first_ones_through(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="POST /v1/customers$", mode="error_500", after=2, times=2)

    assert [fails(account) for _ in range(6)] == [False, False, True, True, False, False]


def test_without_times_it_lasts_until_it_is_cleared(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="POST /v1/customers$", mode="error_500", times=None)

    assert [fails(account) for _ in range(5)] == [True] * 5
    sandbox.clear_faults()
    assert not fails(account)


def test_where_hits_requests_about_one_object(account: Account, sandbox: SandboxProcess) -> None:
    """Named in the path, in the query, or as a parameter."""
    hit, spared = account.customer(), account.customer()
    sandbox.fault(operation=".*", where=hit.id, mode="error_500", times=None)

    calls: list[Callable[[str], Any]] = [
        account.api.customers.retrieve,
        lambda customer: account.api.invoices.list({"customer": customer}),
        lambda customer: account.api.invoices.create({"customer": customer}),
    ]
    for call in calls:
        with pytest.raises(stripe.APIError):
            call(hit.id)
        call(spared.id)


def test_where_hits_events_about_one_object(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    hit, spared = account.api.customers.create(), account.api.customers.create()
    sandbox.wait_until_idle()
    sandbox.fault(event=".*", where=hit.id, mode="drop", times=None)
    for customer in (hit, spared):
        account.api.invoices.create({"customer": customer.id})
    sandbox.wait_until_idle()

    invoices = [event.data.object for event in receiver.received if event.type == "invoice.created"]
    assert [invoice["customer"] for invoice in invoices] == [spared.id]


def test_the_same_seed_hits_the_same_requests(account: Account, sandbox: SandboxProcess) -> None:
    found = []
    for seed in (3, 3, 4):
        sandbox.reset()
        sandbox.fault(operation="POST", mode="error_500", probability="1/2", seed=seed, times=None)
        found.append([fails(account) for _ in range(20)])

    assert found[0] == found[1] != found[2]
    assert {True, False} == set(found[0])


def test_without_a_seed_the_sandboxs_own_decides() -> None:
    """The rule tells the seed that it drew, so that a run without `--seed` can be repeated as well."""
    found = []
    for options in (("--seed", "7"), ("--seed", "7"), ("--seed", "8")):
        with SandboxProcess(options=options) as process:
            found.append(process.fault(operation="POST", mode="error_500", probability="1/2")["seed"])

    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("probability", ["1/7", "0.1", 0.1, "1"])
def test_probability_is_exact(probability: str | float) -> None:
    """By the law of large numbers: within four standard deviations of the share, which is no float."""
    rules = Faults(IdSource(1))
    wanted = {"operation": "x", "mode": "error_500", "probability": probability, "times": None, "seed": 5}
    share = rules.add(wanted).probability

    hits = sum(rules.take("operation", "x", modes=FAILING) is not None for _ in range(DRAWS))

    assert share == Fraction(str(probability))
    assert (hits - DRAWS * share) ** 2 <= 16 * DRAWS * share * (1 - share)


def test_the_oldest_rule_that_strikes_wins(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="POST", mode="rate_limit", after=1)
    sandbox.fault(operation="POST", mode="error_500", times=2)

    found = []
    for _ in range(3):
        with pytest.raises(stripe.StripeError) as failure:
            account.api.customers.create()
        found.append(failure.value.http_status)

    assert found == [500, 429, 500]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"operation": "POST", "mode": "explode"}, "mode: 'explode' is none; .* hold_before"),
        ({"event": "invoice.paid", "mode": "error_500"}, "mode: 'error_500' is none; .* drop"),
        ({"operation": "(", "mode": "error_500"}, "operation: .* no regular expression"),
        ({"operation": 5, "mode": "error_500"}, "operation: 5 is no regular expression"),
        ({"mode": "error_500"}, "operation, event: a fault needs one"),
        ({"operation": "x", "event": "y", "mode": "drop"}, "operation, event: a fault needs one"),
        ({"operation": "x", "mode": "error_500", "tmies": 3}, "tmies: a fault has no such field"),
        ({"operation": "x", "mode": "error_500", "times": 0}, "times: 0 is no whole number from 1"),
        ({"operation": "x", "mode": "error_500", "times": "3"}, "times: '3' is no whole number"),
        ({"operation": "x", "mode": "error_500", "after": -1}, "after: -1 is no whole number"),
        ({"operation": "x", "mode": "error_500", "where": ""}, "where: '' is no object's id"),
        ({"operation": "x", "mode": "error_500", "probability": "1/0"}, "probability: '1/0' is no fraction"),
        ({"operation": "x", "mode": "error_500", "probability": "often"}, "probability: 'often' is no fraction"),
        ({"operation": "x", "mode": "error_500", "probability": 0}, "probability: 0 is not above 0"),
        ({"operation": "x", "mode": "error_500", "probability": "3/2"}, "probability: '3/2' is not above 0"),
        ({"operation": "x", "mode": "error_500", "seed": 1.5}, "seed: 1.5 is no whole number"),
        ({"operation": "x", "mode": "error_500", "seconds": 3}, "seconds: error_500 waits for nothing"),
        ({"operation": "x", "mode": "slow", "seconds": -3}, "seconds: -3 is no number"),
        ({"operation": "x", "mode": "slow", "writes": 3}, "writes: only lagging_lists"),
        ({"operation": "x", "mode": "lagging_lists"}, "seconds, writes: say by how many"),
        ({"operation": "x", "mode": "slow", "permission": "rak_a_read"}, "permission: only forbidden"),
        ({"operation": "x", "mode": "forbidden", "permission": "customers"}, "permission: 'customers' is no"),
        ({"event": "x", "mode": "delay", "places": 3}, "places: only reorder"),
        ({"event": "x", "mode": "reorder", "places": 0}, "places: 0 is no whole number"),
    ],
)
def test_a_bad_rule_is_refused_by_the_name_of_its_field(fault: dict[str, Any], words: str) -> None:
    with pytest.raises(UnknownFault, match=words):
        Faults(IdSource()).add(fault)


def test_the_client_is_told_too(sandbox: SandboxProcess) -> None:
    with pytest.raises(SandboxFailed, match="probability: 'often' is no fraction"):
        sandbox.fault(operation="x", mode="error_500", probability="often")
