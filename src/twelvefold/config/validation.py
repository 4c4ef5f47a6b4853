"""Check the names in a recipe and word the errors: where, what was expected, the closest valid name."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from twelvefold.config.extract import check_detector_name
from twelvefold.config.renamed import RECIPE
from twelvefold.environment import check_device_name
from twelvefold.parsing.bounds import short_repr
from twelvefold.schema import TwelvefoldError, did_you_mean


def check_tables(tables: Mapping[str, Any], expected: Any, source: str) -> None:
    """Check the names, numbers, devices and detector of a recipe before it is converted to the type ``expected``.

    Raises:
        TwelvefoldError: a name or a choice is unknown, a number is not finite, or a device has no possible name.
    """
    check_keys(tables, expected, source)
    check_numbers(tables, source)
    for name, table in tables.items():
        if isinstance(table, Mapping) and isinstance(device := table.get("device"), str):
            check_device_name(device, f"{source}: [{name}] device")
        if name == "extract" and isinstance(table, Mapping) and isinstance(detector := table.get("detector"), str):
            check_detector_name(detector, f"{source}: [extract] detector")


def check_keys(value: object, expected: Any, source: str, path: tuple[str, ...] = ()) -> None:
    """Check that all names of a nested mapping are fields of the type ``expected``, and literals among their choices.

    msgspec checks the same, but its errors state neither the choices nor the closest name.

    Raises:
        TwelvefoldError: a name is unknown or was renamed, or a string is not among the choices of its field.
    """
    for member in _union_members(expected):
        if get_origin(member) is Literal and isinstance(value, str) and value not in get_args(member):
            raise TwelvefoldError(
                f"{source}: {_key_path(path)} can't be {value!r}{did_you_mean(value, get_args(member))}; "
                f"choose one of {', '.join(get_args(member))}"
            )
        is_table = isinstance(member, type) and (issubclass(member, msgspec.Struct) or dataclasses.is_dataclass(member))
        if isinstance(value, Mapping) and is_table:
            hints = get_type_hints(member)
            for name, inner in value.items():
                renamed = RECIPE.get(path[0], {}) if len(path) == 1 else {}
                check_name(name, hints, renamed, f"{source}: {_key_path((*path, name))}")
                check_keys(inner, hints[name], source, (*path, name))
        if isinstance(value, Mapping) and get_origin(member) is dict:
            for name, inner in value.items():
                check_keys(inner, get_args(member)[1], source, (*path, name))


def check_numbers(value: object, source: str, path: tuple[str, ...] = ()) -> None:
    """Check that all numbers of a nested mapping are finite, and that an integer fits in 64 bits.

    Raises:
        TwelvefoldError: a number is NaN or infinite, which no setting can be, or too large; names the key.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            check_numbers(inner, source, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for inner in value:
            check_numbers(inner, source, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise TwelvefoldError(f"{source}: {_key_path(path)} must be a finite number, got {value}")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise TwelvefoldError(f"{source}: {_key_path(path)} is out of range: {short_repr(value)}")


def check_name(name: str, valid: Collection[str], renamed: Mapping[str, str], label: str) -> None:
    """Check that a name is valid. ``renamed``: present names by earlier ones. ``label``: how errors call the name.

    Raises:
        TwelvefoldError: the name is unknown or was renamed.
    """
    if name in renamed:
        raise TwelvefoldError(f"{label} is now called {renamed[name]}; rename it")
    if name not in valid:
        raise TwelvefoldError(f"{label} does not exist; there are {', '.join(valid)}{did_you_mean(name, valid)}")


def describe_error(error: msgspec.ValidationError) -> str:
    """Return msgspec's message with ``$.training.lr`` written as ``[training] lr``."""
    message, _, path = str(error).partition(" - at `$.")
    return f"{_key_path(path.rstrip('`').split('.'))}: {message}" if path else message


def _union_members(expected: Any) -> Sequence[Any]:
    """Return the members of a union, or the type itself."""
    return get_args(expected) if get_origin(expected) in (Union, types.UnionType) else (expected,)


def _key_path(path: Sequence[str]) -> str:
    """Write a key as ``[training] lr``, or as its bare name at the top."""
    return f"[{'.'.join(path[:-1])}] {path[-1]}" if len(path) > 1 else path[-1]
