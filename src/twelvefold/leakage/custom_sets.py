"""Collections without a reader: one's own pictures, what a network was pretrained on, what a detector was trained on.

Each split is a folder of pictures or a list of ids or paths (``splits.lists``). They come from flags
(``cats:train=cats/train``) or from a small TOML or JSON file::

    [[collection]]
    name = "pets"
    kind = "own"               # or "pretraining", "detector", which have train alone
    train = "pets/train"       # a folder of pictures, or one list, or several of either
    test = "pets/test.csv"
    source = "coco"            # whose ids these are; left out, names are the collection's own
    column = "image_id"        # of a table; left out where it is plain
    text = "caption"           # of a table, for text reuse
    pictures = "pets/all"      # where listed paths lie; beside the list where left out

    [[map]]                    # ids that name one photograph
    file = "ids.csv"
    columns = ["mine", "theirs"]
    sources = ["pets", "coco"]

Paths in the file are relative to its folder.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec

from twelvefold.datasets.reading.image_files import FOLDERS
from twelvefold.leakage import read_lists
from twelvefold.leakage.overlap import Collection, Kind, Part
from twelvefold.schema import ImageKey, SameImageLink, Split, TwelvefoldError, did_you_mean
from twelvefold.store import atomic_files

FILE = "file"
"""The source of pictures that have no publisher: a key is the file's path, seen from the current folder."""

URL = "url"
"""The source of pictures that are known by their addresses (Conceptual Captions)."""

NUMBERED = {"coco": "coco", "vg": "vg", "visual7w": "vg"}
"""Publishers whose ids are numbers, with or without zeros before them, and the source that their keys have."""

_SPLITS: tuple[Split, ...] = get_args(Split)
_SCHEME = re.compile(r"^\w+://(www\.)?", re.IGNORECASE)
_FLICKR = re.compile(r"(?:farm\d+\.)?(?:live\.)?static\.?flickr\.com/(?:\d+/)+(\d+)_", re.IGNORECASE)
"""An address of Flickr's has the photo's id, by which Flickr30k names its pictures and Visual Genome its sources."""


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One collection as it was asked for; the module says what each field is."""

    name: str
    kind: Kind = "own"
    train: str | list[str] = []
    val: str | list[str] = []
    test: str | list[str] = []
    source: str = ""
    column: str | int = ""
    text: str | int = ""
    pictures: str = ""

    def paths(self, split: Split) -> list[Path]:
        given = getattr(self, split)
        return [Path(path) for path in ([given] if isinstance(given, str) else given)]


class IdMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table that says which ids name one photograph."""

    file: str
    columns: tuple[str, str]
    sources: tuple[str, str]

    def joins(self) -> Iterator[SameImageLink]:
        path = Path(self.file)
        why = f"{' and '.join(self.columns)} in {path.name}"
        for ids in read_lists.pairs(path, self.columns):
            one, other = (key_of(id_, source, path) for id_, source in zip(ids, self.sources, strict=True))
            yield SameImageLink(one, other, "ids", why)


class AskedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A collections file."""

    collection: list[Asked] = []
    map: list[IdMap] = []


@dataclass(frozen=True, slots=True)
class Own:
    """A collection as it was found. ``pictures``: its files by key; ``missing``: listed files that are not there;
    ``hidden``: what can't be known of it."""

    collection: Collection
    pictures: dict[ImageKey, Path] = field(default_factory=dict)
    missing: dict[ImageKey, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)


def read_file(path: Path) -> AskedFile:
    """The collections and id maps that a TOML or JSON file asks for.

    Raises:
        TwelvefoldError: no such file, not TOML or JSON, a field that there isn't (names the closest) or of another
            type than it should be.
    """
    raw = _parsed(path)
    _known(path, raw, AskedFile.__struct_fields__)
    for table, kind in (("collection", Asked), ("map", IdMap)):
        items = raw.get(table)
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict):
                _known(path, item, kind.__struct_fields__, f"in {table} {item.get('name', '')}".rstrip() + ", ")
    try:
        asked = msgspec.convert(raw, AskedFile)
    except msgspec.ValidationError as error:
        raise TwelvefoldError(f"{path}: {error}") from error
    if not asked.collection and not asked.map:
        raise TwelvefoldError(f"{path} asks for nothing: expected at least one [[collection]]")
    beside = path.parent
    return AskedFile(
        [
            msgspec.structs.replace(
                one,
                **{split: [str(beside / given) for given in one.paths(split)] for split in _SPLITS},
                pictures=str(beside / one.pictures) if one.pictures else "",
            )
            for one in asked.collection
        ],
        [msgspec.structs.replace(one, file=str(beside / one.file)) for one in asked.map],
    )


def from_flags(flags: Iterable[str], kind: Kind) -> list[Asked]:
    """Collections from ``name:split=path`` or ``name@source:split=path``; what has train alone needs no
    split.

    Raises:
        TwelvefoldError: a flag of another form, an unknown split, two sources for one name.
    """
    found: dict[str, dict[str, Any]] = {}
    for flag in flags:
        match = re.fullmatch(r"([^:=@]+)(?:@([^:=]+))?(?::([^:=]+))?=(.+)", flag)
        if not match or (kind == "own" and not match[3]):
            raise TwelvefoldError(f"expected NAME:SPLIT=PATH, for example cats:train=cats/train, got {flag!r}")
        name, source, split, path = match.groups()
        split = split or "train"
        if split not in _SPLITS:
            raise TwelvefoldError(f"{flag!r}: expected a split of {', '.join(_SPLITS)}{did_you_mean(split, _SPLITS)}")
        one = found.setdefault(name, {"name": name, "kind": kind, "source": source or ""})
        if source and one["source"] != source:
            raise TwelvefoldError(
                f"{name} has the ids of {one['source'] or 'nobody'} and of {source}: give it one source"
            )
        one.setdefault(split, []).append(path)
    return [msgspec.convert(one, Asked) for one in found.values()]


def read(asked: Asked) -> Own:
    """The pictures and texts of a collection.

    Raises:
        TwelvefoldError: it has no split; a pretraining or detector set has another than train; a list is not what it
            should be, or holds an id that is none of its source's.
    """
    given = [split for split in _SPLITS if asked.paths(split)]
    if not given:
        raise TwelvefoldError(f"collection {asked.name!r} has no pictures: give it train, val or test")
    if asked.kind in ("pretraining", "detector") and given != ["train"]:
        raise TwelvefoldError(f"collection {asked.name!r} is a {asked.kind} set, so it has train alone, got {given}")
    found = Own(Collection(asked.name, asked.kind, {}))
    parts: dict[Split, Part] = {}
    for split in given:
        pairs = [pair for path in asked.paths(split) for pair in _pairs(asked, path, found)]
        if not pairs:
            raise TwelvefoldError(f"collection {asked.name!r}: its {split} lists no picture")
        parts[split] = Part.of(pairs)
    if not asked.source and any(key.source == asked.name for part in parts.values() for key in part.images[:1]):
        found.hidden.append(
            f"the ids of {asked.name} are its own (no source is given, and no files of those names lie beside its "
            f"lists), so its pictures are recognised nowhere else"
        )
    return Own(Collection(asked.name, asked.kind, parts), found.pictures, found.missing, found.hidden)


def zeros(collections: Iterable[Collection]) -> list[str]:
    """Sources whose ids are written with and without zeros before them, in sentences: such ids don't meet."""
    found: dict[str, dict[int, str]] = {}
    told: dict[str, str] = {}
    for key in (key for each in collections for part in each.parts.values() for key in part.images):
        if key.source not in FOLDERS and key.id.isdecimal():
            first = found.setdefault(key.source, {}).setdefault(int(key.id), key.id)
            if first != key.id:
                told.setdefault(key.source, f"ids of {key.source} such as {first} and {key.id} count as different")
    return list(told.values())


def key_of(name: str, source: str, where: Path) -> ImageKey:
    """The key of an id or a file's name among the pictures of a publisher, or of any other source.

    Raises:
        TwelvefoldError: the publisher names its pictures otherwise; ``where`` it was listed is named.
    """
    if source == URL:
        flickr = _FLICKR.search(name)
        return ImageKey("flickr30k", flickr[1]) if flickr else ImageKey(URL, _SCHEME.sub("", name).split("#")[0])
    if source not in FOLDERS:
        return ImageKey(source, name)  # an id as it stands: for 12 and 012 to be one, a source must be known
    stem = Path(name).stem if not name.isdecimal() and read_lists.is_picture(name) else name
    if stem.isdecimal() and source in NUMBERED:
        return ImageKey(NUMBERED[source], str(int(stem)))
    for pattern, key in FOLDERS[source]:
        if match := re.fullmatch(pattern, stem):
            return key(match[1])
    wanted = " or ".join(pattern for pattern, _ in FOLDERS[source])
    raise TwelvefoldError(f"{where}: {name!r} is no picture of {source}, whose names are like {wanted}")


def _pairs(asked: Asked, path: Path, found: Own) -> Iterator[tuple[ImageKey, str]]:
    """Keys and texts of one folder or list; the files behind them go to ``found``."""
    if path.is_dir():
        there = {str(file): file for file in read_lists.pictures(path)}
        listed = [(name, "") for name in there]
    else:
        listed = read_lists.entries(path, column=asked.column, text=asked.text)
        there = _files_of(listed, Path(asked.pictures) if asked.pictures else path.parent, must=bool(asked.pictures))
    for name, text in listed:
        file: Path | None = there.get(name)
        if asked.source:
            key = key_of(name, asked.source, path)
        else:
            key = ImageKey(asked.name, name) if file is None else ImageKey(FILE, Path(os.path.relpath(file)).as_posix())
        if file is not None and file.is_file():
            found.pictures[key] = file
        elif file is not None:
            found.missing[key] = f"{file}: no such file"
        yield key, text


def _files_of(listed: Sequence[read_lists.Entry], folder: Path, *, must: bool) -> dict[str, Path]:
    """The files that a list means: all that end as pictures do, if any of them is there or must be. Else the list
    gives mere names."""
    meant = {name: folder / name for name, _ in listed if read_lists.is_picture(name)}
    return meant if must or any(file.is_file() for file in meant.values()) else {}


def _parsed(path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".json":
        value = atomic_files.read_json(path)
    else:
        try:
            value = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise TwelvefoldError(f"can't read the collections file {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise TwelvefoldError(f"{path} is not TOML: {error}") from error
    if not isinstance(value, dict):
        raise TwelvefoldError(f"{path}: expected an object with 'collection', got a {type(value).__name__}")
    return value


def _known(path: Path, item: Mapping[str, Any], fields: Sequence[str], what: str = "") -> None:
    """Refuse a misspelt field before its type is looked at."""
    for name in item:
        if name not in fields:
            raise TwelvefoldError(
                f"{path}: {what}no field {name!r}; there are {', '.join(fields)}{did_you_mean(name, fields)}"
            )
