"""Reader options: those of a recipe or a caller, on top of those that a drawn world states for itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from twelvefold.store import atomic_files


def reader_options(
    data: Path, tasks: Iterable[str], options: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the keyword arguments of each task's reader: the data folder's own, overridden by ``options``.

    A world is smaller than the real data; its ``world.json`` states the sizes of its held-out splits. Real data has no
    such file.
    """
    path = data / "world.json"
    defaults = atomic_files.read_json(path)["reader_options"] if path.exists() else {}
    return {name: {**defaults.get(name, {}), **(options or {}).get(name, {})} for name in tasks}
