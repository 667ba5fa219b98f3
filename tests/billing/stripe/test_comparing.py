"""Whether an object at Stripe is as a request wanted it: what tells that an old update was carried out."""

from typing import Any

import pytest

from billing.stripe.comparing import fields_set, shows


class TestComparing:
    THING = {
        "name": "Ada",
        "active": True,
        "cancel_at": None,
        "metadata": {"team": "7"},
        "customer": {"id": "cus_1"},
        "invoice_settings": {"default_payment_method": "pm_1", "footer": None},
        "items": {"data": [{"id": "si_1", "price": {"id": "price_1"}, "quantity": 2}]},
    }

    @pytest.mark.parametrize(
        "wanted",
        [
            {"name": "Ada", "active": True},
            {"metadata": {"team": "7", "gone": ""}},
            {"cancel_at": ""},
            {"customer": "cus_1"},
            {"invoice_settings": {"default_payment_method": "pm_1"}},
            {"items": [{"id": "si_1", "price": "price_1", "quantity": 2}], "proration_behavior": "none"},
            {"items": [{"price": "price_1"}]},
            {"items": [{"id": "si_0", "deleted": True}]},
        ],
    )
    def test_shows(self, wanted: dict[str, Any]) -> None:
        assert shows(self.THING, wanted)

    @pytest.mark.parametrize(
        "wanted",
        [
            {"name": "Grace"},
            {"active": "true"},
            {"metadata": {"team": "8"}},
            {"metadata": ""},
            {"cancel_at": 5},
            {"invoice_settings": {"default_payment_method": "pm_2"}},
            {"items": [{"id": "si_1", "quantity": 3}]},
            {"items": [{"id": "si_1", "deleted": True}]},
            {"items": [{"price": "price_1"}, {"price": "price_1"}]},
            {"a_field_nobody_knows": 1},
        ],
    )
    def test_does_not_show(self, wanted: dict[str, Any]) -> None:
        assert not shows(self.THING, wanted)

    def test_fields(self) -> None:
        assert fields_set({"a": 1, "metadata": {"x": 1}, "expand": ["y"]}) == {"a", "metadata.x"}
