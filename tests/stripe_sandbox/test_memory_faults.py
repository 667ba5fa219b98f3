"""Lists that lag behind what is known, as Stripe's eventually consistent ones do; keys that Stripe has forgotten."""

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account


def names(account: Account) -> list[str]:
    return [str(customer.name) for customer in account.api.customers.list().data]


class TestLaggingLists:
    def test_what_was_just_made_is_missing_and_can_be_retrieved(
        self, account: Account, sandbox: SandboxProcess
    ) -> None:
        account.api.customers.create({"name": "old"})
        sandbox.fault(operation="GET /v1/customers", mode="lagging_lists", writes=1, times=None)

        new = account.api.customers.create({"name": "new"})

        assert names(account) == ["old"]
        assert account.api.customers.retrieve(new.id).name == "new"
        account.api.products.create({"name": "one write later"})
        assert names(account) == ["new", "old"]

    def test_what_was_just_changed_is_old_and_what_was_deleted_is_there(
        self, account: Account, sandbox: SandboxProcess
    ) -> None:
        first, second = (account.api.customers.create({"name": name}) for name in ("first", "second"))
        sandbox.fault(operation="GET /v1/customers", mode="lagging_lists", writes=2, times=None)

        account.api.customers.update(first.id, {"name": "renamed"})
        account.api.customers.delete(second.id)

        assert names(account) == ["second", "first"]
        assert account.api.customers.retrieve(first.id).name == "renamed"
        assert account.api.customers.retrieve(second.id).deleted
        account.api.products.create({"name": "one write later"})
        assert names(account) == ["second", "renamed"]
        account.api.products.create({"name": "two writes later"})
        assert names(account) == ["renamed"]

    def test_filters_see_the_past_too(self, account: Account, sandbox: SandboxProcess) -> None:
        customer = account.customer()
        account.invoice(customer, 1000)
        sandbox.fault(operation="GET /v1/invoices$", mode="lagging_lists", writes=1, times=None)

        [draft] = account.invoices(customer)
        account.api.invoices.finalize_invoice(draft.id)

        assert account.api.invoices.list({"status": "open"}).data == []
        assert [invoice.status for invoice in account.invoices(customer)] == ["draft"]
        assert account.api.invoices.retrieve(draft.id).status == "open"

    def test_events_lag(self, account: Account, sandbox: SandboxProcess) -> None:
        sandbox.fault(operation="GET /v1/events", mode="lagging_lists", writes=1, times=None)
        account.api.customers.create()
        account.api.products.create({"name": "x"})

        assert account.event_types() == ["customer.created"]

    def test_by_seconds_of_the_clock(self, account: Account, sandbox: SandboxProcess) -> None:
        sandbox.fault(operation="GET /v1/customers", mode="lagging_lists", seconds=60, times=None)
        account.api.customers.create({"name": "new"})

        assert names(account) == []
        sandbox.advance(sandbox.now() + 59)
        assert names(account) == []
        sandbox.advance(sandbox.now() + 1)
        assert names(account) == ["new"]

    def test_is_spent_by_lists_alone_and_ends(self, account: Account, sandbox: SandboxProcess) -> None:
        sandbox.fault(operation="/v1/customers", mode="lagging_lists", writes=5)
        customer = account.api.customers.create({"name": "new"})
        account.api.customers.retrieve(customer.id)

        assert names(account) == []
        assert names(account) == ["new"]

    def test_goes_together_with_another_fault(self, account: Account, sandbox: SandboxProcess) -> None:
        sandbox.fault(operation="GET /v1/customers", mode="lagging_lists", writes=5, times=None)
        sandbox.fault(operation="GET /v1/customers", mode="rate_limit")
        account.api.customers.create({"name": "new"})

        with pytest.raises(stripe.RateLimitError):
            names(account)
        assert names(account) == []


class TestForgottenKeys:
    def test_a_retry_repeats_the_work(self, account: Account, sandbox: SandboxProcess) -> None:
        sandbox.fault(operation="POST /v1/customers$", mode="forget_idempotency_keys")

        first, second, third = (
            account.api.customers.create({"name": "x"}, {"idempotency_key": "k1"}) for _ in range(3)
        )

        assert first.id != second.id == third.id
        assert names(account) == ["x", "x"]

    def test_after_a_time_out_there_are_two(self, account: Account, sandbox: SandboxProcess) -> None:
        sandbox.fault(operation="POST /v1/customers$", mode="forget_idempotency_keys")
        sandbox.fault(operation="POST /v1/customers$", mode="timeout_after_commit")

        with pytest.raises(stripe.APIConnectionError):
            account.api.customers.create({"name": "x"}, {"idempotency_key": "k1"})
        account.api.customers.create({"name": "x"}, {"idempotency_key": "k1"})

        assert names(account) == ["x", "x"]

    def test_other_parameters_are_no_mismatch_then(self, account: Account, sandbox: SandboxProcess) -> None:
        account.api.customers.create({"name": "x"}, {"idempotency_key": "k1"})
        sandbox.fault(operation="POST /v1/customers$", mode="forget_idempotency_keys")

        assert account.api.customers.create({"name": "y"}, {"idempotency_key": "k1"}).name == "y"
