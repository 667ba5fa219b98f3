"""The account itself, and the calls around it that a mirror makes."""

from tests.sandbox.billing.payments.paying_out import ACCOUNT_ID
from tests.sandbox.core.lists import list_answer
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


@handles("GET /v1/account")
def retrieve_account(world: World, parameters: Parameters) -> StripeObject:
    return _account(world)


@handles("GET /v1/accounts")
def list_accounts(world: World, parameters: Parameters) -> StripeObject:
    return list_answer([], has_more=False, url="/v1/accounts")


@handles("GET /v1/accounts/{account}")
def retrieve_account_by_id(world: World, parameters: Parameters, account_id: str) -> StripeObject:
    return _account(world)


def _account(world: World) -> StripeObject:
    return world.skeletons.new(
        "account",
        id=ACCOUNT_ID,
        charges_enabled=True,
        country="US",
        default_currency="usd",
        details_submitted=True,
        email="sandbox@example.com",
        metadata={},
        payouts_enabled=True,
        type="standard",
        settings={
            "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
            "card_payments": {
                "statement_descriptor_prefix": None,
                "statement_descriptor_prefix_kana": None,
                "statement_descriptor_prefix_kanji": None,
            },
            "dashboard": {"display_name": "Boring Billing sandbox", "timezone": "Etc/UTC"},
            "payments": {
                "statement_descriptor": "BORING SANDBOX",
                "statement_descriptor_kana": None,
                "statement_descriptor_kanji": None,
            },
        },
    )
