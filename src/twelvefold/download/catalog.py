"""What can be fetched and what must be asked for by hand: the plain table ``catalog.toml``, read and checked."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from twelvefold.schema import TwelvefoldError, did_you_mean


class Item(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One address. Either ``to`` (a file, or with ``unpack`` a folder) or ``members`` says where its content goes."""

    name: str
    what: str
    url: str
    licence: str
    named_in: str
    groups: tuple[str, ...] = ()
    to: str = ""
    unpack: Literal["", "all"] = ""
    members: dict[str, str] = {}
    size: int | None = None
    md5: str = ""
    sha256: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        """Where its content lies, below the data folder."""
        return tuple(self.members) or (self.to,)


class ByHand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What no program may get: how to ask for it, and where it then goes."""

    name: str
    what: str
    how: str
    to: str
    licence: str


class Catalogue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything, in the order of the table."""

    item: tuple[Item, ...]
    by_hand: tuple[ByHand, ...] = ()

    def named(self, names: Iterable[str]) -> list[Item]:
        """The items of these names and groups, each once.

        Raises:
            TwelvefoldError: there is no such name, or it must be asked for by hand.
        """
        groups = {group for item in self.item for group in item.groups}
        known = [*groups, *(item.name for item in self.item)]
        hand = {one.name: one for one in self.by_hand}
        for name in names:
            if name in hand:
                one = hand[name]
                raise TwelvefoldError(f"{name} must be got by hand: {one.how}; then put it at {one.to}")
            if name not in known:
                near = did_you_mean(name, [*known, *hand])
                raise TwelvefoldError(f"nothing called {name!r} to fetch{near}; `twelvefold fetch --list` has all")
        wanted = set(names)
        return [item for item in self.item if item.name in wanted or wanted & set(item.groups)]


def parse(text: str, where: str) -> Catalogue:
    """A catalogue, checked.

    Raises:
        TwelvefoldError: a field is missing or unknown, a name comes twice, or a place leads out of the data folder.
    """
    try:
        catalogue = msgspec.toml.decode(text, type=Catalogue)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TwelvefoldError(f"{where}: {error}") from error
    names = [item.name for item in catalogue.item] + [one.name for one in catalogue.by_hand]
    for item in catalogue.item:
        wrong = [place for place in item.places if not _inside(place)]
        if wrong or bool(item.to) == bool(item.members):
            raise TwelvefoldError(
                f"{where}: {item.name}: expected either `to` or `members`, below the data folder, got "
                f"{', '.join(wrong or item.places)}"
            )
        if names.count(item.name) > 1:
            raise TwelvefoldError(f"{where}: {item.name} comes twice")
    return catalogue


def shipped() -> Catalogue:
    """The catalogue of the package."""
    name = "catalog.toml"
    return parse((resources.files("twelvefold.download") / name).read_text(encoding="utf-8"), name)


def _inside(place: str) -> bool:
    path = PurePosixPath(place)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
