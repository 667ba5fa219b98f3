"""What can go wrong with requests: held before or after the work, errors, limits, answers that never come."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet

import pytest
import stripe

from tests.sandbox.client import SandboxFailed, SandboxProcess
from tests.stripe_sandbox.account import Account, sdk


def names(account: Account) -> list[str]:
    return [str(customer.name) for customer in account.api.customers.list().data]


def test_hold_before_waits_with_the_work(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="POST /v1/customers$", mode="hold_before")
    with ThreadPoolExecutor(1) as threads:
        call: Future[stripe.Customer] = threads.submit(account.api.customers.create, {"name": "held"})
        assert sandbox.wait_until_held() == [{"call": "POST /v1/customers", "mode": "hold_before"}]
        assert names(account) == []

        assert sandbox.release() == 1
        assert call.result(timeout=60).name == "held"

    assert names(account) == ["held"]


def test_hold_after_has_done_the_work(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="POST /v1/customers$", mode="hold_after")
    with ThreadPoolExecutor(1) as threads:
        call: Future[stripe.Customer] = threads.submit(account.api.customers.create, {"name": "held"})
        sandbox.wait_until_held()
        assert names(account) == ["held"]
        with pytest.raises(NotYet):
            call.result(timeout=0.1)

        sandbox.release()
        assert call.result(timeout=60).name == "held"


def test_error_500_does_nothing(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="POST /v1/customers$", mode="error_500")

    with pytest.raises(stripe.APIError) as failure:
        account.api.customers.create({"name": "x"}, {"idempotency_key": "k1"})

    assert failure.value.http_status == 500
    assert names(account) == []
    account.api.customers.create({"name": "x"}, {"idempotency_key": "k1"})
    assert names(account) == ["x"]


def test_error_500_after_commit_has_done_the_work_and_is_kept_under_the_key(
    account: Account, sandbox: SandboxProcess
) -> None:
    sandbox.fault(operation="POST /v1/customers$", mode="error_500_after_commit")

    for _ in range(2):  # the second is answered from the key: Stripe keeps a 500, too
        with pytest.raises(stripe.APIError) as failure:
            account.api.customers.create({"name": "x"}, {"idempotency_key": "k1"})
        assert failure.value.http_status == 500

    assert names(account) == ["x"]


def test_slow_answer_comes_late_and_the_work_is_done_at_once(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="POST /v1/customers$", mode="slow", seconds=2)
    with ThreadPoolExecutor(1) as threads:
        begun = time.monotonic()
        call = threads.submit(account.api.customers.create, {"name": "late"})
        while not names(account):
            time.sleep(0.01)
        answered_when_known = call.done()
        call.result(timeout=60)
        answered_after = time.monotonic() - begun

    assert not answered_when_known
    assert answered_after >= 2


def test_connection_reset_does_nothing(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="POST /v1/customers$", mode="connection_reset")

    with pytest.raises(stripe.APIConnectionError):
        account.api.customers.create({"name": "x"})

    assert names(account) == []


def test_connection_refused_until_the_port_is_open_again(account: Account, sandbox: SandboxProcess) -> None:
    account.api.customers.create({"name": "before"})
    sandbox.fault(operation="POST /v1/customers$", mode="connection_refused", seconds=2)

    begun = time.monotonic()
    with pytest.raises(stripe.APIConnectionError):
        account.api.customers.create({"name": "x"})
    with pytest.raises(stripe.APIConnectionError, match="refused"):
        account.api.customers.list()
    while time.monotonic() - begun < 60:
        try:
            assert names(account) == ["before"]
        except stripe.APIConnectionError:
            continue
        break

    assert 2 <= time.monotonic() - begun < 60


def test_forbidden_is_what_a_restricted_key_without_the_permission_gets(
    account: Account, sandbox: SandboxProcess
) -> None:
    sandbox.fault(operation="POST /v1/customers", mode="forbidden", permission="rak_customer_write")

    with pytest.raises(stripe.PermissionError, match="'rak_customer_write' permission would allow") as failure:
        account.api.customers.create({"name": "x"}, {"idempotency_key": "k1"})

    assert failure.value.http_status == 403
    assert account.api.accounts.retrieve_current().id in str(failure.value)
    assert account.api.customers.create({"name": "x"}, {"idempotency_key": "k1"}).name == "x"


def test_rate_limit_says_when_to_come_back(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="GET /v1/customers", mode="rate_limit", seconds=7)

    with pytest.raises(stripe.RateLimitError) as failure:
        account.api.customers.list()

    assert failure.value.http_status == 429
    assert failure.value.headers is not None
    assert failure.value.headers["Retry-After"] == "7"
    assert names(account) == []


def test_timeout_after_commit_is_mended_by_the_same_key(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="POST /v1/customers$", mode="timeout_after_commit")

    with pytest.raises(stripe.APIConnectionError):
        account.api.customers.create({"name": "x"}, {"idempotency_key": "k1"})
    again = account.api.customers.create({"name": "x"}, {"idempotency_key": "k1"})

    assert again.last_response is not None
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert names(account) == ["x"]


def test_the_sdk_retries_over_faults(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="POST /v1/customers$", mode="timeout_after_commit")
    sandbox.fault(operation="POST /v1/customers$", mode="error_500")

    sdk(sandbox, retries=2).v1.customers.create({"name": "x"})

    assert names(account) == ["x"]


def test_a_fault_is_spent_after_its_times_and_leaves_others_alone(account: Account, sandbox: SandboxProcess) -> None:
    sandbox.fault(operation="POST /v1/products", mode="error_500", times=2)
    account.api.customers.create()

    for _ in range(2):
        with pytest.raises(stripe.APIError):
            account.api.products.create({"name": "x"})
    assert account.api.products.create({"name": "x"}).name == "x"


def test_clock_does_not_go_back_or_astray(sandbox: SandboxProcess) -> None:
    with pytest.raises(SandboxFailed, match="cannot move back"):
        sandbox.advance("2026-09-30T00:00:00Z")
    with pytest.raises(SandboxFailed, match="no time zone"):
        sandbox.advance("2026-10-30T00:00:00")
    with pytest.raises(SandboxFailed, match="later than the year 9999"):
        sandbox.advance(10**18)
    assert sandbox.now() == 1_790_812_800


def test_altered_line_is_planted_without_a_trace(account: Account, sandbox: SandboxProcess) -> None:
    invoice = account.invoice(account.customer(), 1000, 500)
    before = account.event_types()

    sandbox.alter(invoice.lines.data[0].id, amount=999)

    planted = account.api.invoices.retrieve(invoice.id)
    assert [line.amount for line in planted.lines.data] == [999, 500]
    assert [line.amount for line in account.api.invoices.line_items.list(invoice.id).data] == [999, 500]
    assert planted.total == 1500
    assert account.event_types() == before


def test_reset_forgets_everything_and_lets_held_requests_go(account: Account, sandbox: SandboxProcess) -> None:
    account.api.customers.create({"name": "old"})
    sandbox.fault(operation="POST /v1/customers$", mode="hold_before")
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(account.api.customers.create, {"name": "new"})
        sandbox.wait_until_held()
        sandbox.reset(now="2027-01-01T00:00:00Z")
        call.result(timeout=60)

    assert names(account) == ["new"]
    assert sandbox.now() == account.api.customers.list().data[0].created
