"""
Where a list of lines goes on: opaque to who receives it, and of use for that one list only.

A cursor is the place of the last line of a page and a digest of what the list is (its address and filters): with
another list it is refused, instead of answering with lines that belong elsewhere.
"""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from struct import Struct

import msgspec

from ledger.api.refusals import BadParameter

_PLACE = Struct(">qh")
_DIGEST_BYTES = 8
_LENGTH = _PLACE.size + _DIGEST_BYTES


def cursor_after(place: tuple[int, int], *, of: Sequence[str | None]) -> str:
    """The cursor that continues the list `of` after a line; `of` names the list."""
    return urlsafe_b64encode(_PLACE.pack(*place) + _digest(of)).rstrip(b"=").decode()


def place_of(cursor: str, *, of: Sequence[str | None]) -> tuple[int, int]:
    """
    The place a cursor of the list `of` stands for.

    :raises BadParameter: if it is none of ours, or another list's.
    """
    remedy = "Take the cursor from `next` of the page before, with the same address and filters; or leave it out."
    try:
        packed = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
    except (UnicodeEncodeError, NotBase64):
        raise BadParameter("cursor", remedy) from None
    if len(packed) != _LENGTH or packed[_PLACE.size :] != _digest(of):
        raise BadParameter("cursor", remedy)
    entry_id, line_no = _PLACE.unpack(packed[: _PLACE.size])
    return entry_id, line_no


def _digest(of: Sequence[str | None]) -> bytes:
    return hashlib.sha256(msgspec.json.encode(list(of))).digest()[:_DIGEST_BYTES]
