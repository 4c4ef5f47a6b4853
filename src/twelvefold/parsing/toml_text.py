"""Read TOML that a person wrote: recipes, lists of sets, settings."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from twelvefold.parsing.bounds import TooLargeError, check_bounds
from twelvefold.parsing.text import MAX_CONFIG_BYTES, read_text
from twelvefold.schema import TwelvefoldError


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        TwelvefoldError: the file cannot be read or is not TOML (:func:`parse_toml`).
    """
    return parse_toml(read_text(path, max_bytes=MAX_CONFIG_BYTES), str(path))


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Return the tables of a TOML text; errors call it ``name``.

    Raises:
        TwelvefoldError: it is not TOML, has a key twice, a number of thousands of digits, or is nested too deeply.
    """
    try:
        value = tomllib.loads(text.removeprefix("\ufeff"))
        check_bounds(value, MAX_CONFIG_BYTES)
    except RecursionError as error:
        raise TwelvefoldError(f"{name} is not TOML: it is nested too deeply") from error
    except TooLargeError as error:
        raise TwelvefoldError(f"{name} has {error}") from error
    except ValueError as error:  # tomllib.TOMLDecodeError, or a number too long to convert
        raise TwelvefoldError(f"{name} is not TOML: {error}") from error
    return value
