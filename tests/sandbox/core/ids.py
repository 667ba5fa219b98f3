"""Identifiers in Stripe's form: a prefix and 24 letters and digits. The same seed gives the same ones."""

import random
import string

ALPHABET = string.ascii_letters + string.digits


class IdSource:
    """Draws identifiers. A reset goes on drawing, so an old world's identifiers never come back in a new one."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)

    def new(self, prefix: str, length: int = 24) -> str:
        return f"{prefix}_" + "".join(self._random.choices(ALPHABET, k=length))

    def capitals(self, length: int) -> str:
        return "".join(self._random.choices(string.ascii_uppercase + string.digits, k=length))
