"""The options of readers: a recipe's or a caller's own, and before them those that a world states for itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def reader_options(
    data: Path, tasks: Iterable[str], chosen: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """For every task the keyword arguments of its reader: what was ``chosen``, else what the data folder states.

    A world is smaller than the real data and says in ``world.json`` how long its held-out tails are; real data say
    nothing.
    """
    about = data / "world.json"
    stated = json.loads(about.read_text(encoding="utf-8"))["reader_options"] if about.exists() else {}
    return {name: {**stated.get(name, {}), **(chosen or {}).get(name, {})} for name in tasks}
