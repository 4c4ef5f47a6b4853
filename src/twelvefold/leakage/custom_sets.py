"""Read collections without a reader: your own images, what a network was pretrained on, what a detector was trained on.

Each split is a folder of images or a list of ids or paths (``splits.read_lists``). Collections come from flags
(``cats:train=cats/train``) or from a small TOML or JSON file::

    [[collection]]
    name = "pets"
    kind = "own"               # or "pretraining" or "detector", which only have train
    train = "pets/train"       # a folder of images, or one list, or several of either
    test = "pets/test.csv"
    source = "coco"            # the source of the ids; by default the collection's own name
    column = "image_id"        # column of a table; not needed where only one can contain images
    text = "caption"           # column of a table, for text overlap
    pictures = "pets/all"      # folder of the listed paths; by default the list's own folder

    [[map]]                    # ids that name the same image
    file = "ids.csv"
    columns = ["mine", "theirs"]
    sources = ["pets", "coco"]

Paths in the file are relative to its folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec

from twelvefold.datasets.reading.image_sources import NAME_PATTERNS
from twelvefold.image_folder import UNEXAMINED, SkippedFile
from twelvefold.leakage.overlap import Collection, CollectionKind, SplitContent
from twelvefold.leakage.unmatched import ListedIds
from twelvefold.parsing.json_text import read_json
from twelvefold.parsing.toml_text import read_toml
from twelvefold.printable import printable_name
from twelvefold.schema import ImageKey, SameImageLink, Split, TwelvefoldError, did_you_mean
from twelvefold.splits import read_lists
from twelvefold.splits.read_lists import make_key

FILE_SOURCE = "file"
"""The source of images without a publisher: their key is the file's path, relative to the current folder."""

_SPLITS: tuple[Split, ...] = get_args(Split)


class CustomSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The description of one collection; the module's docstring explains the fields."""

    name: str
    kind: CollectionKind = "own"
    train: str | list[str] = []
    val: str | list[str] = []
    test: str | list[str] = []
    source: str = ""
    column: str | int = ""
    text: str | int = ""
    image_folder: str = msgspec.field(name="pictures", default="")

    def paths(self, split: Split) -> list[Path]:
        """Return the folders and lists of a split."""
        value = getattr(self, split)
        return [Path(path) for path in ([value] if isinstance(value, str) else value)]


class IdMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of ids that name the same image."""

    file: str
    columns: tuple[str, str]
    sources: tuple[str, str]

    def read_links(self) -> Iterator[SameImageLink]:
        path = Path(self.file)
        reason = f"{' and '.join(self.columns)} in {path.name}"
        columns = [read_lists.read_entries(path, column=column) for column in self.columns]
        for entries in zip(*columns, strict=True):
            first, second = (
                make_key(id_, source, path) for (id_, _), source in zip(entries, self.sources, strict=True)
            )
            yield SameImageLink(first, second, "ids", reason)


class CollectionsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a collections file."""

    collections: list[CustomSet] = msgspec.field(name="collection", default_factory=list)
    maps: list[IdMap] = msgspec.field(name="map", default_factory=list)


@dataclass(frozen=True, slots=True)
class CustomSetContent:
    """The images of a custom set.

    ``files``: by key. ``unreadable``: files that do not exist or cannot be read, with the reason. ``skipped``: files in
    its folders that are no images. ``limitations``: what cannot be found out about it. ``id_lists``: its lists without
    files.
    """

    collection: Collection
    files: dict[ImageKey, Path] = field(default_factory=dict)
    unreadable: dict[ImageKey, str] = field(default_factory=dict)
    skipped: list[SkippedFile] = field(default_factory=list)
    limitations: list[str] = field(default_factory=list)
    id_lists: list[ListedIds] = field(default_factory=list)


def read_collections_file(path: Path) -> CollectionsFile:
    """Read a TOML or JSON file of collections and id maps.

    Raises:
        TwelvefoldError: the file is missing, or not TOML or JSON; a field is unknown (names the closest) or has the
            wrong type.
    """
    raw = _parse_file(path)
    _check_fields(path, raw, CollectionsFile)
    for table, item_type in (("collection", CustomSet), ("map", IdMap)):
        items = raw.get(table)
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict):
                _check_fields(path, item, item_type, f"in {table} {item.get('name', '')}".rstrip() + ", ")
    try:
        parsed = msgspec.convert(raw, CollectionsFile)
    except msgspec.ValidationError as error:
        raise TwelvefoldError(f"{path}: {error}") from error
    if not parsed.collections and not parsed.maps:
        raise TwelvefoldError(f"{path} is empty: expected at least one [[collection]]")
    base = path.parent
    return CollectionsFile(
        [
            msgspec.structs.replace(
                each,
                **{split: [str(base / split_path) for split_path in each.paths(split)] for split in _SPLITS},
                image_folder=str(base / each.image_folder) if each.image_folder else "",
            )
            for each in parsed.collections
        ],
        [msgspec.structs.replace(each, file=str(base / each.file)) for each in parsed.maps],
    )


def parse_flags(flags: Iterable[str], kind: CollectionKind) -> list[CustomSet]:
    """Return collections from ``name:split=path`` or ``name@source:split=path``. The split may be left out for
    pretraining and detector sets, which only have train.

    Raises:
        TwelvefoldError: a flag has another form or an unknown split, or a name has two sources.
    """
    fields_by_name: dict[str, dict[str, Any]] = {}
    for flag in flags:
        match = re.fullmatch(r"([^:=@]+)(?:@([^:=]+))?(?::([^:=]+))?=(.+)", flag, re.DOTALL)
        if not match or (kind == "own" and not match[3]):
            raise TwelvefoldError(f"expected NAME:SPLIT=PATH, for example cats:train=cats/train, got {flag!r}")
        name, source, split, path = match.groups()
        split = split or "train"
        if split not in _SPLITS:
            raise TwelvefoldError(f"{flag!r}: expected a split of {', '.join(_SPLITS)}{did_you_mean(split, _SPLITS)}")
        fields = fields_by_name.setdefault(name, {"name": name, "kind": kind, "source": source or ""})
        if source and fields["source"] != source:
            raise TwelvefoldError(
                f"{name} has ids of two sources, {fields['source'] or 'its own'} and {source}: give it one source"
            )
        fields.setdefault(split, []).append(path)
    return [msgspec.convert(fields, CustomSet) for fields in fields_by_name.values()]


def read_custom_set(custom_set: CustomSet) -> CustomSetContent:
    """Read the images and texts of a custom set.

    Raises:
        TwelvefoldError: it has no split; a pretraining or detector set has another split than train; a list is not
            valid, or contains an id that its source does not have.
    """
    name, kind = custom_set.name, custom_set.kind
    present = [split for split in _SPLITS if custom_set.paths(split)]
    if not present:
        raise TwelvefoldError(f"collection {name!r} has no images: give it train, val or test")
    if kind in ("pretraining", "detector") and present != ["train"]:
        raise TwelvefoldError(f"collection {name!r} is a {kind} set, so it may only have train, got {present}")
    splits: dict[Split, SplitContent] = {}
    content = CustomSetContent(Collection(name, kind, splits))
    for split in present:
        pairs = [pair for path in custom_set.paths(split) for pair in _read_pairs(custom_set, path, content)]
        if not pairs:
            raise TwelvefoldError(f"collection {name!r}: its {split} contains no image")
        splits[split] = SplitContent.from_pairs(pairs)
    if not custom_set.source and any(key.source == name for split in splits.values() for key in split.images[:1]):
        content.limitations.append(
            f"the ids of {name} have no source, and there are no files of those names next to its lists, so its images "
            f"cannot be found in other sets"
        )
    return content


def zero_padding_limitations(collections: Iterable[Collection]) -> list[str]:
    """Return a sentence for each source whose ids differ only by leading zeros: such ids count as different."""
    first_ids: dict[str, dict[int, str]] = {}
    sentences: dict[str, str] = {}
    for key in (key for each in collections for key in each.images()):
        if key.source not in NAME_PATTERNS and key.id.isdecimal():
            first = first_ids.setdefault(key.source, {}).setdefault(int(key.id), key.id)
            if first != key.id:
                sentences.setdefault(key.source, f"ids of {key.source} such as {first} and {key.id} count as different")
    return list(sentences.values())


def _read_pairs(custom_set: CustomSet, path: Path, content: CustomSetContent) -> Iterator[tuple[ImageKey, str]]:
    """Yield the keys and texts of one folder or list, and add the files to ``content``."""
    unreadable: Mapping[Path, str] = {}
    if path.is_dir():
        folder_content = read_lists.list_images(path)
        files, unreadable = {str(file): file for file in folder_content.files}, folder_content.unreadable
        entries = [(name, "") for name in files]
        for each in folder_content.skipped:
            skipped = SkippedFile(printable_name(path / each.file), each.kind, each.reason)
            content.skipped.append(skipped)
            if each.kind in UNEXAMINED:
                content.unreadable[_file_key(path / each.file)] = each.reason
    else:
        entries = read_lists.read_entries(path, column=custom_set.column, text=custom_set.text)
        if num_comments := read_lists.count_comments(path):
            content.limitations.append(f"{path}: lines that begin with # are comments and left out: {num_comments:,}")
        folder = Path(custom_set.image_folder) if custom_set.image_folder else path.parent
        files = _listed_files(entries, folder, required=bool(custom_set.image_folder))
        if entries and not files:
            content.id_lists.append(ListedIds(path, custom_set.name))
    for name, text in entries:
        file: Path | None = files.get(name)
        if custom_set.source:
            key = make_key(name, custom_set.source, path)
        elif file is None:
            key = ImageKey(custom_set.name, name)
        else:
            key = _file_key(file)
        if not files:
            content.id_lists[-1].keys.append(key)
        if file is not None and file in unreadable:
            content.unreadable[key] = unreadable[file]
        elif file is not None and _is_file(file):
            content.files[key] = file
        elif file is not None:
            content.unreadable[key] = f"{file}: no such file"
        yield key, text


def _file_key(file: Path) -> ImageKey:
    return ImageKey(FILE_SOURCE, printable_name(Path(os.path.relpath(file)).as_posix()))


def _listed_files(entries: Sequence[read_lists.Entry], folder: Path, *, required: bool) -> dict[str, Path]:
    """Return the files of a list: the names of existing files, and all other names with an image's suffix, if any file
    exists or they are required. Otherwise the names are ids only."""
    siblings = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    files = {
        name: folder / name
        for name, _ in entries
        if (name in siblings and _is_file(folder / name))
        or read_lists.is_image_name(name)
        or ("/" in name and _is_file(folder / name))
    }
    return files if required or any(map(_is_file, files.values())) else {}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long for a file
        return False


def _parse_file(path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".json":
        value = read_json(path)
    else:
        value = read_toml(path)
    if not isinstance(value, dict):
        raise TwelvefoldError(f"{path}: expected an object with 'collection', got a {type(value).__name__}")
    return value


def _check_fields(path: Path, item: Mapping[str, Any], item_type: type[msgspec.Struct], prefix: str = "") -> None:
    """Refuse unknown fields, before their types are checked, and suggest the closest name."""
    fields = item_type.__struct_encode_fields__
    for name in item:
        if name not in fields:
            raise TwelvefoldError(
                f"{path}: {prefix}no field {name!r}; there are {', '.join(fields)}{did_you_mean(name, fields)}"
            )
