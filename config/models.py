"""The tables of the platform itself."""

from config.api_keys.models import ApiKey

__all__ = ["ApiKey"]
