"""Decode JSON of any origin: nothing silent, and errors that say what is wrong.

JSON has no ``NaN``, a key that occurs twice leaves open which value counts, and half of a surrogate pair (``\\ud83d``)
is no text. Programs write all three. Here they are errors that name them. In a file of records they concern one record
only: :func:`mark_invalid` makes the file readable and such records undecodable.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from twelvefold.parsing.bounds import TooLargeError, check_bounds, short_repr
from twelvefold.parsing.text import MAX_FILE_BYTES, MAX_LINE_BYTES, read_bytes, to_utf8
from twelvefold.schema import TwelvefoldError

T = TypeVar("T")

JsonError = (ValueError, RecursionError, msgspec.MsgspecError)
"""What decoding may raise; a ``UnicodeError`` is a ``ValueError``."""

MARK = b"\xff"
"""Byte that no UTF-8 text has. A marked value can be skipped but not decoded."""
KEY_MARK = "\ufffd(invalid) "
"""Start of what replaces an invalid part of a key."""

_TOKENS = re.compile(
    rb'"(?P<text>(?:[^"\\]|\\.)*+)"(?P<key>\s*:)?|(?P<number>-?\b(?:NaN|nan|Infinity|inf)\b)', re.DOTALL
)
_SURROGATES = re.compile(
    rb"(?P<escaped>\\[^u])"
    rb"|(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def read_json(path: Path, *, remedy: str = "") -> Any:
    """Read a JSON file. ``remedy``: what to do if it is broken, the end of an error message.

    Raises:
        TwelvefoldError: the file cannot be read, is not JSON, holds NaN, a key twice or half of a surrogate pair, or is
            nested too deeply.
    """
    data = read_bytes(path)
    try:
        return parse_json(data)
    except JsonError as error:
        end = f"; {remedy}" if remedy else ""
        raise TwelvefoldError(f"{path} is not JSON: {describe_error(error, data)}{end}") from error


def parse_json(data: bytes | str) -> Any:
    """Decode JSON.

    Raises:
        ValueError: it is not JSON, or holds NaN, a key twice or half of a surrogate pair.
        RecursionError: it is nested too deeply.
    """
    text = to_utf8(data).decode() if isinstance(data, bytes) else data
    value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_reject_constant)
    check_bounds(value, MAX_FILE_BYTES)
    if "\\u" in text and (half := _find_half(text.encode(errors="surrogatepass"))):
        raise ValueError(f"it holds {half}, half of a surrogate pair, which is no character")
    return value


def decode_json(data: bytes, type_: type[T]) -> T:
    """Decode JSON as ``type_``.

    Raises:
        msgspec.ValidationError: it has another type.
        ValueError: as :func:`parse_json`; a key twice is an error where the type has a field for it or not.
    """
    data = to_utf8(data)
    value = msgspec.json.decode(data, type=type_)
    check_unique_keys(data)
    return value


def check_unique_keys(raw: bytes | msgspec.Raw) -> None:
    """Check that no object in ``raw``, which is valid JSON, has a key twice. As fast as decoding.

    Raises:
        ValueError: names the key.
    """
    data = bytes(raw)
    try:
        kept = msgspec.json.encode(msgspec.json.decode(data))
    except JsonError:
        return  # a number or text that only a typed decoder accepts or skips
    if kept.count(b":") != data.count(b":"):  # a dropped key, or an escaped colon in a text
        json.loads(data, object_pairs_hook=_unique_keys)


def describe_error(error: BaseException, data: bytes | msgspec.Raw) -> str:
    """Return what is wrong with JSON whose decoding raised ``error``: one line, without a stack."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, TooLargeError):
        return f"it has {error}"
    content = bytes(memoryview(data)[: 2 * MAX_LINE_BYTES])
    if isinstance(error, msgspec.ValidationError) and MARK not in content:
        return str(error)
    if marked := _find_marked(content):
        return marked
    if not content.strip():
        return "it is empty"
    return str(error)


def mark_invalid(data: bytes) -> bytes | None:
    """Return a file with its NaN, infinities and halves of surrogate pairs marked, or None if it has none.

    A record that contains a mark cannot be decoded, except in a field that its type ignores; all others can.
    """
    count = 0

    def replace(match: re.Match[bytes]) -> bytes:
        nonlocal count
        if match["number"]:
            count += 1
            return b'"' + MARK + match["number"] + b'"'
        text = match["text"]
        if b"\\ud" not in text and b"\\uD" not in text:
            return match[0]
        mark = KEY_MARK.encode() if match["key"] else MARK

        def replace_half(part: re.Match[bytes]) -> bytes:
            nonlocal count
            if not part["half"]:
                return part[0]
            count += 1
            return mark + b"\\" + part["half"]

        return b'"' + _SURROGATES.sub(replace_half, text) + b'"' + (match["key"] or b"")

    marked = _TOKENS.sub(replace, data)
    return marked if count else None


def _find_marked(content: bytes) -> str:
    """Return what is invalid in a record, marked or not, or an empty string."""
    for match in _TOKENS.finditer(content):
        if match["number"]:
            return f"it holds {match['number'].decode()}, which is no number in JSON"
        text = match["text"]
        if MARK + b"\\\\u" in text:
            start = text.index(MARK + b"\\\\u") + 2
            text = text[start:]
            return f"it holds {text[:6].decode(errors='replace')}, half of a surrogate pair, which is no character"
        if text.startswith(MARK) and text[1:] in (b"NaN", b"nan", b"Infinity", b"-Infinity", b"inf", b"-inf"):
            return f"it holds {text[1:].decode()}, which is no number in JSON"
        if half := _find_half(text):
            return f"it holds {half}, half of a surrogate pair, which is no character"
    return ""


def _find_half(text: bytes) -> str:
    return next((part["half"].decode() for part in _SURROGATES.finditer(text) if part["half"]), "")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {short_repr(key)} occurs twice in one object, and which value counts is unclear")
    return value


def _reject_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no number in JSON")
