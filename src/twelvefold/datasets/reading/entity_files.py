"""The files of Flickr30k Entities: captions with marked phrases, and the boxes of the entities that these mention.

They are in the publishers' ``annotations.zip``, or unpacked in the folders ``Sentences`` and ``Annotations``.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from twelvefold.datasets.reading.records import InvalidRecordError
from twelvefold.parsing.bounds import short_repr
from twelvefold.parsing.text import to_utf8
from twelvefold.schema import Box, Size, TwelvefoldError

MAX_IMAGE_FILE_BYTES = 4 << 20
"""Largest file of one image; official ones have a few kilobytes."""
NOT_VISUAL = "0"
"""The id of phrases that mention nothing visible."""

_PHRASE = re.compile(r"\[/EN#(\d+)/([^\s\[\]]+)(?:\s([^\[\]]*))?\]")
_MARK = "[/EN#"


class Phrase(NamedTuple):
    """A marked phrase. ``types``: such as ``people``; some phrases have several."""

    entity: str
    types: tuple[str, ...]
    text: str


@dataclass(slots=True)
class ImageEntities:
    """The entities of an image by id.

    boxes_px: counted from 0, as the publishers' parser returns them. scenes, unboxed: ids stated to be the whole scene,
    or to have no box. invalid: ids with a box that cannot be used, and where it is and why.
    """

    size: Size
    boxes_px: dict[str, list[Box]] = field(default_factory=dict)
    scenes: set[str] = field(default_factory=set)
    unboxed: set[str] = field(default_factory=set)
    invalid: dict[str, str] = field(default_factory=dict)


class EntityFiles:
    """The two files of each image, in a zip file or in two folders."""

    def __init__(self, task: str, path: Path) -> None:
        """``path``: the zip file, or the folder that holds the two folders.

        Raises:
            TwelvefoldError: the zip file is truncated, or no zip file.
        """
        self._path, self._archive = path, None
        if path.is_dir():
            return
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise TwelvefoldError(f"{task}: {path} is truncated or not a zip file: {error}") from None
        names = [name for name in self._archive.namelist() if not name.startswith("__MACOSX")]
        self._names = {"/".join(name.split("/")[-2:]): name for name in names}

    def read(self, name: str) -> bytes:
        """Return the text of a file (``Sentences/1000092795.txt``) in UTF-8.

        Raises:
            InvalidRecordError: there is no such file, or it cannot be read.
        """
        try:
            data = self._read_archive(name) if self._archive is not None else self._read_file(self._path / name)
            return to_utf8(data)
        except FileNotFoundError:
            raise InvalidRecordError("expected this file, which the list of the split names, got none") from None
        except (OSError, UnicodeError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise InvalidRecordError(f"expected a file of text, got one that cannot be read: {error}") from None

    def _read_archive(self, name: str) -> bytes:
        if self._archive is None or name not in self._names:
            raise FileNotFoundError(name)
        _check_size(self._archive.getinfo(self._names[name]).file_size)
        return self._archive.read(self._names[name])

    @staticmethod
    def _read_file(path: Path) -> bytes:
        _check_size(path.stat().st_size)
        return path.read_bytes()


def _check_size(size: int) -> None:
    if size > MAX_IMAGE_FILE_BYTES:
        raise InvalidRecordError(f"expected at most {MAX_IMAGE_FILE_BYTES:,} bytes about one image, got {size:,}")


def parse_captions(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield the line number and the text of each caption of a ``Sentences`` file; empty lines are none.

    Raises:
        InvalidRecordError: the file is not text in UTF-8.
    """
    try:
        text = data.decode()
    except UnicodeError as error:
        raise InvalidRecordError(f"expected text in UTF-8: {error}") from None
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if line.strip():
            yield number, line


def parse_phrases(caption: str) -> list[Phrase]:
    """Return the phrases of a caption, as marked by ``[/EN#1/people Two young guys]``.

    Raises:
        InvalidRecordError: a mark has another form, or does not end.
    """
    phrases = [
        Phrase(entity, tuple(types.split("/")), " ".join((text or "").split()))
        for entity, types, text in _PHRASE.findall(caption)
    ]
    if len(phrases) != caption.count(_MARK):
        raise InvalidRecordError(f"expected phrases marked as [/EN#1/people a man], got {short_repr(caption)}")
    return phrases


def parse_entities(data: bytes) -> ImageEntities:
    """Return the entities of an ``Annotations`` file.

    Raises:
        InvalidRecordError: it is not the XML of an image, or states no size.
    """
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise InvalidRecordError("expected XML without a document type, got one with it")
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 - without a document type there are no entities
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InvalidRecordError(f"expected XML: {error}") from None
    width, height = (_number(root.find(f"size/{side}"), f"size/{side}") for side in ("width", "height"))
    if width < 1 or height < 1:
        raise InvalidRecordError(f"expected the size of an image, got {width} x {height}")
    image = ImageEntities((width, height))
    for number, item in enumerate(root.findall("object")):
        names = [(name.text or "").strip() for name in item.findall("name")]
        try:
            _add_object(image, names, item)
        except InvalidRecordError as error:
            image.invalid |= dict.fromkeys(names, f"object {number}: {error}")
    return image


def _add_object(image: ImageEntities, names: list[str], item: ElementTree.Element) -> None:
    box = item.find("bndbox")
    if box is None:
        if _number(item.find("scene"), "scene", 0):
            image.scenes.update(names)
        image.unboxed.update(names)
        return
    sides = [_number(box.find(side), f"bndbox/{side}") - 1 for side in ("xmin", "ymin", "xmax", "ymax")]
    x1, y1, x2, y2 = sides
    width, height = image.size
    if not (x1 <= x2 and y1 <= y2 and x1 < width and y1 < height and x2 >= 0 and y2 >= 0):
        stated = ", ".join(str(side + 1) for side in sides)
        raise InvalidRecordError(f"expected a box inside the image ({width} x {height}), got {stated}")
    for name in names:
        image.boxes_px.setdefault(name, []).append((float(x1), float(y1), float(x2), float(y2)))


def _number(element: ElementTree.Element | None, name: str, default: int | None = None) -> int:
    if element is None and default is not None:
        return default
    text = "" if element is None else (element.text or "").strip()
    if not re.fullmatch(r"-?\d{1,9}", text, re.ASCII):
        raise InvalidRecordError(f"expected a number at {name}, got {short_repr(text) if text else 'none'}")
    return int(text)
