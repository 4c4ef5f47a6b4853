"""Read files that an earlier version of the package wrote under other names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rename_keys(value: Any, names: Mapping[str, str]) -> Any:
    """Return a JSON value with the keys of all its objects renamed: ``names`` maps old names to new ones."""
    if isinstance(value, dict):
        return {names.get(key, key): rename_keys(entry, names) for key, entry in value.items()}
    return [rename_keys(entry, names) for entry in value] if isinstance(value, list) else value
