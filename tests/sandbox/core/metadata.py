"""Metadata as Stripe merges it: given keys replace, an empty text unsets a key, an empty text for all unsets all."""

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters

# https://docs.stripe.com/api/metadata
KEYS_MAX, KEY_LENGTH_MAX, VALUE_LENGTH_MAX = 50, 40, 500


def merged_metadata(current: dict[str, str], parameters: Parameters) -> dict[str, str]:
    """The metadata after a request; `current` itself when the request does not name any.

    Raises `StripeError` 400 for more keys, or longer ones or values, than Stripe takes.
    """
    given = parameters.get("metadata")
    if given is None:
        return current
    if given == "":
        return {}
    merged = {key: value for key, value in {**current, **given}.items() if value != ""}
    if len(merged) > KEYS_MAX:
        raise StripeError(f"You can have up to {KEYS_MAX} keys, you have {len(merged)}.", param="metadata")
    for key, value in given.items():
        _check_length(key, KEY_LENGTH_MAX, "Metadata keys", key)
        _check_length(value, VALUE_LENGTH_MAX, "Metadata values", key)
    return merged


def _check_length(text: str, length_max: int, what: str, key: str) -> None:
    if len(text) > length_max:
        message = f"{what} can have up to {length_max} characters; you passed one of {len(text)}."
        raise StripeError(message, code="parameter_invalid_string_too_long", param=f"metadata[{key}]")


def unset(value: str | None) -> str | None:
    """An empty text means null."""
    return value or None
