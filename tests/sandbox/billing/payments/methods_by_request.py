"""Payment methods as a request describes them: by card number or token, IBAN, or bank transfer."""

from datetime import UTC, datetime
from typing import Any

from tests.sandbox.billing.payments.attaching import EXPIRY_MONTH, EXPIRY_YEAR, new_card_method, new_method
from tests.sandbox.billing.payments.bank_accounts import iban_account
from tests.sandbox.billing.payments.cards import card_name
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

YEAR_MAX = 2200
NUMBER_INCORRECT = "Your card number is incorrect."


def new_payment_method(world: World, parameters: Parameters) -> StripeObject:
    """From the parameters of POST /v1/payment_methods, or `payment_method_data` of an intent. Raises `StripeError`."""
    kind = parameters.get("type", "card")
    details = merged_billing_details(
        world, world.skeletons.new("billing_details"), parameters.get("billing_details", {})
    )
    common = {"billing_details": details, "metadata": merged_metadata({}, parameters)}
    if "allow_redisplay" in parameters:
        common["allow_redisplay"] = parameters["allow_redisplay"]
    if kind == "card":
        if "card" not in parameters:
            raise StripeError("Missing required param: card.", code="parameter_missing", param="card")
        return _card_method(world, parameters["card"], common)
    if kind == "sepa_debit":
        return _debit_method(world, parameters, common)
    if kind == "customer_balance":
        return new_method(world, kind, customer_balance={}, **common)
    raise not_implemented(f"payment methods of type {kind}", param="type")


def merged_billing_details(world: World, current: StripeObject, given: Parameters) -> StripeObject:
    """Billing details after a request: what it gives replaces, an empty text unsets."""
    refuse_unsupported(given, frozenset({"address", "email", "name", "phone"}), "billing_details")
    merged = {**current, **{name: value or None for name, value in given.items() if name != "address"}}
    if "address" in given:
        former = current["address"] if given["address"] else None
        changes = {name: value or None for name, value in (given["address"] or {}).items()}
        merged["address"] = {**(former or world.skeletons.new("address")), **changes}
    return merged


def read_card(world: World, card: Parameters) -> tuple[str, int, int]:
    """The test card behind `card` of a request with number and expiry, and its expiry. Raises `StripeError` 402."""
    known = card_name(str(card.get("number", "")))
    if known is None:
        raise _card_error(NUMBER_INCORRECT, "incorrect_number", "number")
    month, year = read_expiry(card)
    now = datetime.fromtimestamp(world.now, UTC)
    if (year, month) < (now.year, now.month):
        raise _year_invalid()
    if "cvc" in card and not 3 <= len(str(card["cvc"])) <= 4:
        raise _card_error("Your card's security code is invalid.", "invalid_cvc", "cvc")
    return known, month, year


def read_expiry(card: Parameters) -> tuple[int, int]:
    """Month and year of expiry that a request gives, as numbers or texts. Raises `StripeError` 402."""
    month, year = card.get("exp_month", EXPIRY_MONTH), card.get("exp_year", EXPIRY_YEAR)
    if not str(month).isdecimal():
        raise _month_invalid()
    require_month(int(month))
    if not str(year).isdecimal() or int(year) > YEAR_MAX:
        raise _year_invalid()
    return int(month), int(year) + 2000 if int(year) < 100 else int(year)


def require_month(month: int) -> None:
    """Raises `StripeError` 402 for what is no month."""
    if not 1 <= month <= 12:
        raise _month_invalid()


def _card_method(world: World, card: Parameters, common: dict[str, Any]) -> StripeObject:
    refuse_unsupported(card, frozenset({"cvc", "exp_month", "exp_year", "number", "token"}), "card")
    if "token" not in card:
        known, month, year = read_card(world, card)
        return new_card_method(world, known, month=month, year=year, **common)
    token = world.store.find("token", card["token"])
    if token is not None and token["type"] == "card":
        expiry = {"month": token["card"]["exp_month"], "year": token["card"]["exp_year"]}
        return new_card_method(world, world.cards[token["id"]], **expiry, **common)
    named = card_name(card["token"]) if card["token"].startswith("tok_") else None
    if named is None:
        raise StripeError(f"No such token: '{card['token']}'", code="resource_missing", param="card[token]")
    return new_card_method(world, named, **common)


def _debit_method(world: World, parameters: Parameters, common: dict[str, Any]) -> StripeObject:
    details = common["billing_details"]
    for name in ("name", "email"):
        if not details[name]:
            raise StripeError(
                f"Missing required param: billing_details[{name}].",
                code="parameter_missing",
                param=f"billing_details[{name}]",
            )
    account = iban_account(parameters.get("sepa_debit", {}).get("iban", ""))
    shown = world.skeletons.new(
        "payment_method_sepa_debit",
        bank_code=account.iban[4:9],
        country=account.iban[:2],
        fingerprint=account.fingerprint,
        last4=account.iban[-4:],
    )
    payment_method = new_method(world, "sepa_debit", sepa_debit=shown, **common)
    world.debits[payment_method["id"]] = account.behaviour
    return payment_method


def _month_invalid() -> StripeError:
    return _card_error("Your card's expiration month is invalid.", "invalid_expiry_month", "exp_month")


def _year_invalid() -> StripeError:
    return _card_error("Your card's expiration year is invalid.", "invalid_expiry_year", "exp_year")


def _card_error(message: str, code: str, param: str) -> StripeError:
    return StripeError(message, status=402, kind="card_error", code=code, param=param)
