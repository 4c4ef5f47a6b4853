"""Print and encode any text: names that are not UTF-8, lone surrogates, control characters, terminals without Unicode.

A file name on Linux is a sequence of bytes. Python shows bytes that are not UTF-8 as lone surrogates, which no encoder
accepts. Here they become backslash escapes: the name of bytes ``caf\\xe9.jpg`` is written with these characters.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.schema import LONE_SURROGATE, escape_surrogates

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters and line separators, which a list of names must not contain."""


def is_encodable(text: str) -> bool:
    """Return whether UTF-8 can encode a text, because it has no lone surrogates."""
    return LONE_SURROGATE.search(text) is None


def escape_in_json(text: str) -> str:
    """Return JSON text that UTF-8 can encode: :func:`escape_surrogates` inside its strings."""
    return LONE_SURROGATE.sub(lambda match: json.dumps(escape_surrogates(match[0]))[1:-1], text)


def printable_name(name: str | os.PathLike[str]) -> str:
    """Return a file name as it is written in keys, JSON and messages: one line that UTF-8 can encode."""
    text = os.fspath(name)
    text = text if is_encodable(text) else escape_surrogates(text)
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable_text(text: str) -> str:
    """Return a text of several lines as a terminal may show it: without control sequences and lone surrogates."""
    return "\n".join(map(printable_name, text.replace("\t", "    ").split("\n")))


@contextmanager
def utf_8_path(path: Path) -> Iterator[Path]:
    """Yield a path to an existing file for libraries that accept names in UTF-8 only (on Linux: of an open file)."""
    if is_encodable(str(path)):
        yield path
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        yield Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def encode_json(value: Any) -> bytes:
    """Return a value as JSON in UTF-8. Objects without a JSON form are written as text; surrogates are escaped."""
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        return msgspec.json.encode(_escape_all(msgspec.to_builtins(value, enc_hook=str, str_keys=True)))


def print_json(value: Any, *, indent: int = 0) -> None:
    """Print a value as JSON, on one line unless ``indent`` is positive. A terminal without UTF-8 gets ASCII escapes."""
    data = encode_json(value)
    text = (msgspec.json.format(data, indent=indent) if indent else data).decode()
    if (sys.stdout.encoding or "utf-8").lower().replace("-", "") not in ("utf8", "utf8sig"):
        text = json.dumps(json.loads(text), indent=indent or None)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def never_fail_to_print() -> None:
    """Make standard output and error print characters that their encoding lacks as backslash escapes."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _escape_all(value: Any) -> Any:
    if isinstance(value, str):
        return escape_surrogates(value)
    if isinstance(value, dict):
        return {_escape_all(key): _escape_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escape_all(item) for item in value]
    return value
