"""The catalog ``catalog.toml``: what ``twelvefold fetch`` can download, and what must be requested by hand."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from twelvefold.schema import TwelvefoldError, did_you_mean

KEYS = {"description": "what", "path": "to", "license": "licence", "instructions": "how", "items": "item"}
"""Attribute -> key in ``catalog.toml`` and in the output of ``twelvefold fetch --list --json``."""


class Item(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=KEYS):
    """One URL. Its content is stored either at ``path`` (a file, or a folder with ``unpack``) or as ``members``.

    ``members``: path below the data folder -> member of the archive.
    """

    name: str
    description: str
    url: str
    license: str
    named_in: str
    groups: tuple[str, ...] = ()
    path: str = ""
    unpack: Literal["", "all"] = ""
    members: dict[str, str] = {}
    size: int | None = None
    md5: str = ""
    sha256: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the stored files, below the data folder."""
        return tuple(self.members) or (self.path,)


class ManualItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=KEYS):
    """A file that no program may download: how to request it, and where to put it."""

    name: str
    description: str
    instructions: str
    path: str
    license: str


class Catalog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=KEYS):
    """All items, in the order of the file."""

    items: tuple[Item, ...]
    by_hand: tuple[ManualItem, ...] = ()

    def select(self, names: Iterable[str]) -> list[Item]:
        """Return the items with these names or groups, without repetition.

        Raises:
            TwelvefoldError: an unknown name, or one that must be requested by hand.
        """
        groups = {group for item in self.items for group in item.groups}
        known = [*groups, *(item.name for item in self.items)]
        by_hand = {item.name: item for item in self.by_hand}
        for name in names:
            if name in by_hand:
                manual = by_hand[name]
                raise TwelvefoldError(
                    f"{name} must be downloaded by hand: {manual.instructions}; then put it at {manual.path}"
                )
            if name not in known:
                suggestion = did_you_mean(name, [*known, *by_hand])
                raise TwelvefoldError(f"nothing called {name!r} to fetch{suggestion}; see `twelvefold fetch --list`")
        wanted = set(names)
        return [item for item in self.items if item.name in wanted or wanted & set(item.groups)]


def parse_catalog(text: str, source: str) -> Catalog:
    """Parse and check a catalog. ``source`` names it in error messages.

    Raises:
        TwelvefoldError: a missing or unknown field, a repeated name, or a path outside the data folder.
    """
    try:
        catalog = msgspec.toml.decode(text, type=Catalog)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise TwelvefoldError(f"{source}: {error}") from error
    names = [item.name for item in catalog.items] + [item.name for item in catalog.by_hand]
    for item in catalog.items:
        outside = [path for path in item.paths if not _is_inside(path)]
        if outside or bool(item.path) == bool(item.members):
            raise TwelvefoldError(
                f"{source}: {item.name}: expected either `to` or `members`, below the data folder, got "
                f"{', '.join(outside or item.paths)}"
            )
        if names.count(item.name) > 1:
            raise TwelvefoldError(f"{source}: {item.name} is listed twice")
    return catalog


def load_catalog() -> Catalog:
    """Return the catalog of the package."""
    name = "catalog.toml"
    return parse_catalog((resources.files("twelvefold.download") / name).read_text(encoding="utf-8"), name)


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not PurePosixPath(path).is_absolute() and ".." not in parts
