"""Reader options: those of a recipe or a caller, on top of those that a drawn world states for itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.store import atomic_files

WORLD_FILE = "world.json"


class WorldFile(msgspec.Struct, kw_only=True):
    """What ``world.json`` states: the parameters of a drawn world, its examples by task and split, the options of its
    readers, and the size of each file in bytes."""

    reader_options: dict[str, dict[str, Any]]
    parameters: dict[str, Any] = {}
    examples: dict[str, dict[str, int]] | None = None
    files: dict[str, int] = {}


def read_world_file(path: Path) -> WorldFile | None:
    """Return the contents of ``world.json``, or None if there is no such file.

    Raises:
        TwelvefoldError: the file is broken or not a world's.
    """
    return atomic_files.read_optional(path, WorldFile, problem="is not the world.json of a drawn world (remove it?)")


def reader_options(
    data: Path, tasks: Iterable[str], options: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the keyword arguments of each task's reader: the data folder's own, overridden by ``options``.

    A world is smaller than the real data; its ``world.json`` states the sizes of its held-out splits. Real data has no
    such file.
    """
    world = read_world_file(data / WORLD_FILE)
    defaults = world.reader_options if world else {}
    return {name: {**defaults.get(name, {}), **(options or {}).get(name, {})} for name in tasks}


def world_seed(data: Path) -> int | None:
    """Return the seed of a drawn world; None for other data."""
    path = data / "world.json"
    if not path.exists():
        return None
    parameters = atomic_files.read_json(path).get("parameters", {})
    seed: int | None = parameters.get("seed")
    return seed
