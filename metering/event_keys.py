"""The identity of an event: a hash of source and id, laid so that events that come together lie together. Pure.

Every accepted event adds its key to one unique index. Where keys are scattered, each insert meets another page of it,
and after a checkpoint PostgreSQL logs each such page whole. So the first 48 bits of a key are, where the id tells it,
the id's own place in the order in which ids are made; the rest is hash. Which form an id has decides only where its key
lies: two events share a key only if 80 bits of BLAKE2b are equal too, and the key never depends on the event's time.
"""

import re
from functools import lru_cache
from hashlib import blake2b

# https://www.rfc-editor.org/rfc/rfc9562#section-5.7: the first 48 bits are milliseconds since 1970.
_UUID7 = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
# https://github.com/ulid/spec: 10 characters of Crockford's base 32 are the same milliseconds, 16 are random.
_ULID = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}", re.IGNORECASE | re.ASCII)
_CROCKFORD = bytes.maketrans(b"ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz", b"abcdefghijklmnopqrstuv" * 2)
_DIGITS = "0123456789"
_COUNTER_BITS = 36


def event_key(source: str, event_id: str) -> str:
    """The identity of an event, as 32 hexadecimal digits. The length says where the source ends and the id begins."""
    begun = _source_hash(source).copy()
    begun.update(event_id.encode("utf-8", "surrogatepass"))
    hashed = begun.hexdigest()
    place = key_place(source, event_id)
    return place + hashed[12:] if place else hashed


def key_place(source: str, event_id: str) -> str:
    """Where the key of an id lies, as 12 hexadecimal digits; empty when the id does not tell, so that the hash does.

    UUIDv7 and ULID: the milliseconds they begin with. A number, or an id that ends in one after a separator
    (`order-17`): 12 bits for source and stem, then the number's 36 highest, so each counter fills pages of its own.
    """
    length = len(event_id)
    if length == 36 and event_id[14] == "7" and (match := _UUID7.fullmatch(event_id)):
        return (match[1] + match[2]).lower()
    if length == 26 and _ULID.fullmatch(event_id):
        return f"{int(event_id[:10].encode().translate(_CROCKFORD), 32):012x}"
    stem = event_id.rstrip(_DIGITS)
    if len(stem) == length or (stem and stem[-1].isalnum()):
        return ""
    number = int(event_id[len(stem) :])
    excess = number.bit_length() - _COUNTER_BITS
    return f"{_counter_group(source, stem)}{number >> excess if excess > 0 else number:09x}"


# Few sources send many events, and most of their ids have a stem in common.
@lru_cache(maxsize=4096)
def _source_hash(source: str) -> blake2b:
    return blake2b(f"{len(source)}:{source}".encode("utf-8", "surrogatepass"), digest_size=16)


@lru_cache(maxsize=4096)
def _counter_group(source: str, stem: str) -> str:
    begun = _source_hash(source).copy()
    begun.update(stem.encode("utf-8", "surrogatepass"))
    return begun.hexdigest()[:3]
