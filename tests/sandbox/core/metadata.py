"""Metadata as Stripe merges it: given keys replace, an empty text unsets a key, an empty text for all unsets all."""

from tests.sandbox.core.parameters import Parameters


def merged_metadata(current: dict[str, str], parameters: Parameters) -> dict[str, str]:
    """The metadata after a request; `current` itself when the request does not name any."""
    given = parameters.get("metadata")
    if given is None:
        return current
    if given == "":
        return {}
    merged = {**current, **given}
    return {key: value for key, value in merged.items() if value != ""}


def unset(value: str | None) -> str | None:
    """An empty text means null."""
    return value or None
