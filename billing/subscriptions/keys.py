"""Keys of wishes: whoever makes one up, it is their own, and never that of another caller or of a task of ours."""

from hashlib import sha256

# What is made of a key fits into a purpose, and with a phase's number into a scheduled change.
CHARS_MAX = 100


def own_key(*, way: str, actor: str, key: str) -> str:
    """
    Return the key that an operation is given for what an actor called `key`, by its way in, such as `api`.

    One that is too long is told by its fingerprint.
    """
    whole = f"{way}:{actor}:{key}"
    return whole if len(whole) <= CHARS_MAX else f"{way}:sha256:{sha256(whole.encode()).hexdigest()}"
