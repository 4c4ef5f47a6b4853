"""Which image keys name one photograph.

The sources overlap: half of Visual Genome's pictures are COCO's, GQA's are Visual Genome's, SNLI-VE's are
Flickr30k's. Publishers' id maps say so (``datasets.identity``), and files of equal bytes show it; nothing else is
guessed. Paper: section 2.2, Table 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from twelvefold.progress import track
from twelvefold.schema import ImageKey
from twelvefold.store import files

Join = tuple[ImageKey, ImageKey, str]
"""Two keys of one photograph, and how that is known."""


class Identity:
    """The photographs behind keys, from joins in any order. A key in no join is a photograph of its own."""

    def __init__(self, joins: Iterable[Join] = ()) -> None:
        self._parent: dict[ImageKey, ImageKey] = {}
        for one, other, _ in joins:
            first, second = sorted((self.photograph(one), self.photograph(other)))
            self._parent[second] = first  # the least key leads, so the order of joins can't matter

    def photograph(self, key: ImageKey) -> ImageKey:
        """The key that stands for the photograph: the least of all its keys."""
        top = key
        while (parent := self._parent.get(top, top)) != top:
            top = parent
        while (parent := self._parent.get(key, key)) != top:  # shorten the way for the next call
            self._parent[key], key = top, parent
        return top

    def same(self, one: ImageKey, other: ImageKey) -> bool:
        """Whether two keys name one photograph."""
        return self.photograph(one) == self.photograph(other)


def equal_files(images: Mapping[ImageKey, Path]) -> Iterator[Join]:
    """Joins between keys whose picture files hold the same bytes.

    Only files of a size that occurs twice are read, so a folder without repeats costs one look at its sizes.

    Raises:
        TwelvefoldError: a file can't be read.
    """
    by_size = _groups(images, {key: path.stat().st_size for key, path in images.items()})
    suspects = [key for keys in by_size for key in keys]
    digests = {key: files.digest_file(images[key]) for key in track(suspects, what="pictures of equal size")}
    for keys in _groups(digests, digests):
        for key in keys[1:]:
            yield keys[0], key, "the files are equal"


def noted_equal_files(images: Mapping[ImageKey, Path], note: Path) -> list[Join]:
    """:func:`equal_files`, written down in ``note`` and taken from there while no file's size or time changes."""
    seen = [(str(key), info.st_size, info.st_mtime_ns) for key, path in images.items() for info in (path.stat(),)]
    digest = files.digest_value(seen)
    if not note.exists() or files.read_json(note)["digest"] != digest:
        joins = [(str(one), str(other), why) for one, other, why in equal_files(images)]
        files.write_json(note, {"digest": digest, "joins": joins})
    return [(ImageKey.parse(one), ImageKey.parse(other), why) for one, other, why in files.read_json(note)["joins"]]


def _groups(keys: Iterable[ImageKey], value: Mapping[ImageKey, object]) -> list[list[ImageKey]]:
    """Keys that share a value, where two or more do."""
    found: defaultdict[object, list[ImageKey]] = defaultdict(list)
    for key in keys:
        found[value[key]].append(key)
    return [group for group in found.values() if len(group) > 1]
