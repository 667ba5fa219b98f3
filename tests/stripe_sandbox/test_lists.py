"""Lists: newest first, cursors in both directions, filters on `created`; and expansion on any of them."""

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account


def named_customers(account: Account, count: int) -> list[str]:
    return [account.api.customers.create({"name": f"c{number}"}).id for number in range(count)]


def test_pages_in_both_directions(account: Account) -> None:
    newest_first = named_customers(account, 5)[::-1]

    first = account.api.customers.list({"limit": 2})
    second = account.api.customers.list({"limit": 2, "starting_after": first.data[-1].id})
    last = account.api.customers.list({"limit": 2, "starting_after": second.data[-1].id})
    back = account.api.customers.list({"limit": 2, "ending_before": last.data[0].id})

    assert [[item.id for item in page.data] for page in (first, second, last, back)] == [
        newest_first[0:2],
        newest_first[2:4],
        newest_first[4:5],
        newest_first[2:4],
    ]
    assert [page.has_more for page in (first, second, last, back)] == [True, True, False, True]


def test_automatic_paging_meets_every_one_once(account: Account) -> None:
    made = named_customers(account, 23)

    met = [customer.id for customer in account.api.customers.list({"limit": 4}).auto_paging_iter()]

    assert met == made[::-1]


def test_created_filters(account: Account, sandbox: SandboxProcess) -> None:
    start = sandbox.now()
    made = []
    for hours in range(3):
        sandbox.advance(start + hours * 3600)
        made += named_customers(account, 1)

    def found(**bounds: int) -> list[str]:
        return [item.id for item in account.api.customers.list({"created": bounds}).data]

    assert found(gte=start + 3600) == made[:0:-1]
    assert found(gt=start + 3600) == [made[2]]
    assert found(lt=start + 3600) == [made[0]]
    assert found(gte=start + 3600, lte=start + 3600) == [made[1]]
    assert [item.id for item in account.api.customers.list({"created": start}).data] == [made[0]]


@pytest.mark.parametrize("limit", [0, 101])
def test_limit_is_1_to_100(account: Account, limit: int) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.customers.list({"limit": limit})

    assert refusal.value.param == "limit"


def test_invoices_are_filtered_by_what_they_are(account: Account) -> None:
    customer, other = account.customer(), account.customer()
    subscription = account.subscription(customer)
    draft = account.invoice(customer, 1000)
    account.invoice(other, 1000)

    def found(**filters: str) -> list[str]:
        return [item.id for item in account.api.invoices.list(filters).data]

    assert found(customer=customer.id, status="draft") == [draft.id]
    assert found(subscription=subscription.id) == [str(subscription.latest_invoice)]
    assert len(found(customer=customer.id)) == 2


def test_expansion_in_lists_and_below(account: Account) -> None:
    customer = account.customer()
    account.subscription(customer)

    [invoice] = account.api.invoices.list(
        {"expand": ["data.customer", "data.parent.subscription_details.subscription", "data.payments"]}
    ).data

    assert invoice.customer.id == customer.id
    assert invoice.parent.subscription_details.subscription.status == "active"
    assert invoice.payments.data[0].status == "paid"
    plain = account.api.invoices.retrieve(invoice.id)
    assert plain.customer == customer.id
    assert "payments" not in plain


def test_what_cannot_be_expanded_is_refused(account: Account) -> None:
    customer = account.customer()

    for path in ("email", "no_such_field", "invoice_settings.footer"):
        with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
            account.api.customers.retrieve(customer.id, {"expand": [path]})


def test_events_by_type_and_time(account: Account, sandbox: SandboxProcess) -> None:
    start = sandbox.now()
    account.api.customers.create({"name": "early"})
    sandbox.advance(start + 3600)
    account.api.products.create({"name": "late"})

    def found(**filters: object) -> list[str]:
        return [item.type for item in account.api.events.list(filters).data]

    assert found(type="customer.*") == ["customer.created"]
    assert found(types=["product.created", "customer.created"]) == ["product.created", "customer.created"]
    assert found(created={"gte": start + 1}) == ["product.created"]


def test_events_reach_back_30_days(account: Account, sandbox: SandboxProcess) -> None:
    account.api.customers.create({"name": "early"})

    sandbox.advance(sandbox.now() + 30 * 86_400)
    assert len(account.event_types()) == 1
    sandbox.advance(sandbox.now() + 1)
    assert account.event_types() == []


def test_deleted_customer_is_answered_as_deleted(account: Account) -> None:
    customer = account.customer()
    account.subscription(customer)

    account.api.customers.delete(customer.id)

    assert account.api.customers.retrieve(customer.id).to_dict() == {
        "id": customer.id,
        "object": "customer",
        "deleted": True,
    }
    assert account.api.customers.list().data == []
    assert "customer.subscription.deleted" in account.event_types()


def test_expansion_ends_at_four_levels_each_data_being_one(account: Account) -> None:
    """Stripe counts `data` too: stripe-java issue 2011 was refused `data.payments.data.payment.charge`."""
    account.subscription(account.customer())
    [invoice] = account.api.invoices.list({"expand": ["data.payments"]}).data
    four = account.api.invoices.retrieve(invoice.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert four.payments.data[0].payment.payment_intent.status == "succeeded"

    with pytest.raises(stripe.InvalidRequestError, match="more than 4 levels") as refused:
        account.api.invoices.list({"expand": ["data.payments.data.payment.payment_intent"]})
    assert refused.value.code == "property_expansion_max_depth"


def test_events_are_chosen_by_type_or_by_types(account: Account) -> None:
    customer = account.api.customers.create({"name": "A"})
    account.api.customers.update(customer.id, {"name": "B"})
    both = {"types": ["customer.created", "customer.updated"]}
    assert [event.type for event in account.api.events.list(both).data] == ["customer.updated", "customer.created"]
    assert len(account.api.events.list({"type": "customer.*"}).data) == 2

    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.api.events.list({**both, "type": "customer.created"})
    assert refused.value.code == "parameters_exclusive"


def test_no_more_than_20_types_of_events_can_be_asked_for(account: Account) -> None:
    account.api.customers.create({})
    twenty = [f"invoice.type_{number}" for number in range(19)] + ["customer.created"]
    assert len(account.api.events.list({"types": twenty}).data) == 1

    with pytest.raises(stripe.InvalidRequestError, match="up to 20") as refused:
        account.api.events.list({"types": [*twenty, "customer.updated"]})

    assert refused.value.param == "types"
