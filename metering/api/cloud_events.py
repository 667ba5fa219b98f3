"""The events of one HTTP request, in each of the ways in which CloudEvents travel over HTTP.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md: structured (one event as
JSON), batched (a JSON list), and binary (attributes in `ce-` headers, the data alone in the body). Plain JSON, one
event or a list, is taken like the first two.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import unquote_to_bytes

import msgspec

from metering import operations

FAMILY = "application/cloudevents"
JSON_FORMATS = frozenset({f"{FAMILY}+json", f"{FAMILY}-batch+json"})
_ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time", "dataschema")
_HEADER = "HTTP_CE_"


class UnknownFormat(Exception):
    """The body is in a format or character set that is not read here. The text says what to send instead."""


def events_of(
    body: bytes, *, content_type: str, meta: Mapping[str, object]
) -> Sequence[operations.UsageEventInput | operations.Refusal]:
    """The events of a request with this body; `meta` is its WSGI environment.

    Raises UnknownFormat, and what `operations.decode_batch` raises.
    """
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if media_type.startswith(FAMILY):
        _require_readable(media_type, parameters)
        return operations.decode_batch(body)
    if f"{_HEADER}ID" in meta or f"{_HEADER}SPECVERSION" in meta:
        return _event_of_headers(body, content_type, meta)
    return operations.decode_batch(body)


def _require_readable(media_type: str, parameters: Sequence[str]) -> None:
    if media_type not in JSON_FORMATS:
        raise UnknownFormat(f"Events come as JSON: {' or '.join(sorted(JSON_FORMATS))}.")
    charsets = {
        value.strip('"') for name, _, value in (part.partition("=") for part in parameters) if name == "charset"
    }
    if charsets - {"utf-8", "utf8", "us-ascii"}:
        raise UnknownFormat("JSON is sent in UTF-8.")


def _event_of_headers(
    body: bytes, content_type: str, meta: Mapping[str, object]
) -> Sequence[operations.UsageEventInput | operations.Refusal]:
    """A binary event, put into the form of a structured one and read like it."""
    event: dict[str, object] = {"datacontenttype": content_type or None}
    for name in _ATTRIBUTES:
        value = meta.get(f"{_HEADER}{name.upper()}")
        if value is None:
            continue
        try:
            event[name] = _header_text(str(value))
        except UnicodeError:
            return [_unreadable_header(name, event)]
    if body:
        event["data"] = _json(body)
    return operations.decode_batch(msgspec.json.encode(event))


def _json(body: bytes) -> msgspec.Raw:
    """The body as it is, once it is known to be one JSON value and nothing more. Raises NotJSON."""
    try:
        return msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise operations.NotJSON(f"The body is not JSON: {error}.") from error


def _header_text(value: str) -> str:
    """Undo what the binding makes of an attribute: RFC 7230's quotes first, then percent-encoding of UTF-8.

    WSGI gives each byte of a header as one character. Raises UnicodeError when the bytes are no UTF-8.
    """
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = _unescaped(value[1:-1])
    return unquote_to_bytes(value.encode("latin-1")).decode()


def _unescaped(quoted: str) -> str:
    characters, escaped = [], False
    for character in quoted:
        escaped = character == "\\" and not escaped
        if not escaped:
            characters.append(character)
    return "".join(characters)


def _unreadable_header(name: str, event: Mapping[str, object]) -> operations.Refusal:
    return operations.Refusal(
        str(event.get("id", "")),
        name,
        f"the header ce-{name} is not UTF-8",
        "percent-encode what is not printable ASCII in headers",
    )
