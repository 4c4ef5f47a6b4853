"""Descriptions of objects as facts: a referring expression, a question's subject or a guess before it has words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

Order = tuple[str, int]
ATTRIBUTES: Final = ("color", "pattern", "size")


@dataclass(frozen=True, slots=True)
class ObjectDescription:
    """Facts about one object. An empty field states nothing.

    ``hypernym`` and ``ability`` are names in ``HYPERNYMS`` and ``ABILITIES``. ``position`` is a part of the image:
    left, right, top, bottom, middle, or two of them (``top left``). ``order`` is (axis, rank) among the objects that
    match all other facts: ("left", 0) is the leftmost, ("left", 1) the second from the left. The axes are left,
    right, top, bottom, large and small. ``relation``: (name, description of the other object).
    """

    category: str = ""
    hypernym: str = ""
    ability: str = ""
    color: str = ""
    size: str = ""
    pattern: str = ""
    position: str = ""
    order: Order | None = None
    relation: tuple[str, ObjectDescription] | None = None

    def attributes(self, names: Iterable[str] = ATTRIBUTES) -> dict[str, str]:
        """Return the color, pattern and size that are stated, in the order of ``names``."""
        return {name: value for name in names if (value := getattr(self, name))}

    def with_attributes(self, attributes: Mapping[str, Any]) -> ObjectDescription:
        """Return the description with colors, patterns or sizes added."""
        return replace(self, **attributes)


ANYTHING: Final = ObjectDescription()
