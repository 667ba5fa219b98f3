"""Identifiers in Stripe's form: a prefix and 24 letters and digits. The same seed gives the same ones."""

import random
import string

ALPHABET = string.ascii_letters + string.digits
# Each byte to a letter or digit. Some letters come a little oftener than others, which no identifier minds.
LETTER_OF_BYTE = bytes(ord(ALPHABET[byte % len(ALPHABET)]) for byte in range(256))


class IdSource:
    """Draws identifiers. A reset goes on drawing, so an old world's identifiers never come back in a new one."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)

    def aside(self) -> "IdSource":
        """A source of other identifiers that goes by where this one stands, and moves it by nothing."""
        return IdSource(hash(self._random.getstate()[1]))

    def new(self, prefix: str, length: int = 24) -> str:
        return f"{prefix}_{self._random.randbytes(length).translate(LETTER_OF_BYTE).decode()}"

    def number(self, bits: int) -> int:
        """A whole number of that many bits, for whoever needs a seed of their own."""
        return self._random.getrandbits(bits)

    def capitals(self, length: int) -> str:
        return "".join(self._random.choices(string.ascii_uppercase + string.digits, k=length))
