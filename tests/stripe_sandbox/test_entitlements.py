"""Features of products, and the customers who have them."""

import pytest
import stripe

from tests.stripe_sandbox.account import Account


def test_subscription_entitles_while_it_runs(account: Account) -> None:
    feature = account.api.entitlements.features.create({"lookup_key": "export", "name": "Export"})
    price = account.price()
    account.api.products.features.create(price.product, {"entitlement_feature": feature.id})
    customer = account.customer()
    active = account.api.entitlements.active_entitlements
    assert active.list({"customer": customer.id}).data == []

    subscription = account.api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})

    [entitlement] = active.list({"customer": customer.id}).data
    assert (entitlement.feature, entitlement.lookup_key) == (feature.id, "export")
    assert active.retrieve(entitlement.id, {"expand": ["feature"]}).feature.name == "Export"
    account.api.subscriptions.cancel(subscription.id)
    assert active.list({"customer": customer.id}).data == []
    with pytest.raises(stripe.InvalidRequestError):
        active.retrieve(entitlement.id)


def test_features_are_kept_by_lookup_key(account: Account) -> None:
    feature = account.api.entitlements.features.create({"lookup_key": "export", "name": "Export"})
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.entitlements.features.create({"lookup_key": "export", "name": "Other"})
    assert refusal.value.param == "lookup_key"

    account.api.entitlements.features.update(feature.id, {"active": False, "metadata": {"a": "b"}})

    [archived] = account.api.entitlements.features.list({"archived": True}).data
    assert (archived.id, archived.metadata["a"]) == (feature.id, "b")
    assert account.api.entitlements.features.list({"archived": False}).data == []
