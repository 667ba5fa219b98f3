"""The nouns of Stripe that the sandbox keeps, one module each. Each registers its operations with `handles`."""

import importlib
import pkgutil


def load() -> None:
    """Import every module of this package, so that each can register what it answers."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
