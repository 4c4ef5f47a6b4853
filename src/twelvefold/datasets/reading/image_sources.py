"""Publishers of images: ``ImageKey.source``, the folders under ``images/`` of a data folder, and every form of a name.

:func:`published_key` is the only place that knows how an id, a file name or a URL of a publisher is written. Image
files, feature files, id maps and the lists of an audit all use it.
"""

from __future__ import annotations

import re

from twelvefold.schema import ImageKey

COCO = "coco"
VG = "vg"
"""Visual Genome. Its images also have these keys in Visual7W and in GQA's train and val."""
GQA = "gqa"
"""GQA's own images: those of its test sets."""
FLICKR30K = "flickr30k"
NLVR2 = "nlvr2"

VISUAL7W = "visual7w"
"""A folder, and a source only by name: Visual7W's copies of Visual Genome's images, whose keys have the source VG."""

NUMERIC_SOURCES = {COCO: COCO, VG: VG, VISUAL7W: VG}
"""Publishers whose ids are numbers, with or without leading zeros, and the source of their keys."""

_VG_NAMES = ((r"([0-9]+)", VG), (r"(n[0-9]+)", GQA), (r"v7w_([0-9]+)", VG))
"""GQA and Visual7W use Visual Genome's images: each of the three has names of the others, and no two mean the same."""

NAME_PATTERNS: dict[str, tuple[tuple[str, str], ...]] = {
    # 2014's files have a prefix, 2017's have not; ALBEF and BLIP write coco_391895.
    COCO: ((r"COCO_(?:train|val|test|unlabeled)20[0-9]{2}_([0-9]+)", COCO), (r"(?:coco_)?([0-9]+)", COCO)),
    VG: _VG_NAMES,
    GQA: _VG_NAMES,
    VISUAL7W: _VG_NAMES,
    # Flickr's own file names have a secret, and perhaps a size, after the photo's id.
    FLICKR30K: ((r"([0-9]+)(?:_[0-9a-f]{8,10}(?:_[a-z0-9])?)?", FLICKR30K),),
    NLVR2: ((r"(\w+-[0-9]+-[0-9]+-img[01])", NLVR2),),
}
"""The publishers, which are also folders under ``images/``: patterns of names without folders and suffix, and the
source of the id that a pattern captures."""

NAME_EXAMPLES: dict[str, tuple[str, ...]] = {
    COCO: ("391895", "000000391895.jpg", "COCO_val2014_000000391895.jpg"),
    VG: ("2318324", "n161313", "v7w_2318324.jpg"),
    GQA: ("2318324", "n161313"),
    VISUAL7W: ("2318324", "v7w_2318324.jpg"),
    FLICKR30K: ("1000092795", "1000092795.jpg", "1000092795.jpg#2r1n"),
    NLVR2: ("dev-850-0-img0", "dev-850-0-img0.png"),
}

_FOLDERS_OF_PUBLISHERS = {
    COCO: r"(?:ms)?coco|(?:train|val|test|unlabeled)20(?:14|15|17)",
    VG: r"vg|vg_100k(?:_2)?|visual_?genome|gqa|visual7w|v7w",
    FLICKR30K: r"flickr30k(?:[-_]images)?",
    NLVR2: r"nlvr2?",
}
"""Patterns of folders, in lower case, that only one publisher's images are in. VG includes GQA and Visual7W."""

_SUFFIXES = re.compile(r"(?:\.[A-Za-z]\w{0,4})+$")
_PLAIN_DIGITS = re.compile(r"[0-9]+")
_COCO_DIGITS = re.compile(r"0[0-9]{11}")
"""COCO's file names since 2017: twelve digits with leading zeros."""


def image_key(source: str, id_: str) -> ImageKey:
    """Return the key of an image by the id that its publisher uses, with or without leading zeros if it is a number."""
    if source in NUMERIC_SOURCES and id_.isdecimal():
        return ImageKey(NUMERIC_SOURCES[source], str(int(id_)))
    return ImageKey(source, id_)


def published_key(name: str, source: str = "") -> ImageKey | None:
    """Return the key that a publisher's image has, or None if ``name`` is not the name of one.

    Args:
        name: An id, a file name, a path (also of Windows) or a URL. Only its last part counts, without suffixes, the
            query of a URL, and what follows ``#`` (the number of a caption).
        source: One of ``NAME_PATTERNS``. Empty: the name must show its publisher, which plain digits do not, unless
            they are the twelve of COCO's files.
    """
    stem, folder_source = _split_name(name)
    is_number = _PLAIN_DIGITS.fullmatch(stem) is not None
    if not source and is_number:
        return image_key(COCO, stem) if _COCO_DIGITS.fullmatch(stem) else None
    if source and folder_source not in ("", _image_owner(source)):
        return None
    for each in (source,) if source else NAME_PATTERNS:
        for pattern, id_source in NAME_PATTERNS[each]:
            match = re.fullmatch(pattern, stem)
            # Without a source, a name of digits and Flickr's secret may also be of another set of Flickr's images.
            if match and (source or each != FLICKR30K):
                return image_key(id_source, match[1])
    return None


def is_ambiguous(name: str) -> bool:
    """Return whether a name consists of plain digits, which are ids of several publishers."""
    stem, _ = _split_name(name)
    return _PLAIN_DIGITS.fullmatch(stem) is not None and not _COCO_DIGITS.fullmatch(stem)


def name_examples(source: str = "") -> str:
    """Return the forms that names of a publisher have, or those that show their publisher, for an error message."""
    if source:
        return " or ".join(NAME_EXAMPLES[source])
    return " or ".join(NAME_EXAMPLES[each][-1] for each in (COCO, VISUAL7W, GQA, NLVR2))


def _split_name(name: str) -> tuple[str, str]:
    """Return a name without folders and suffixes, and the publisher that its innermost known folder belongs to."""
    path = name.strip().replace("\\", "/").partition("#")[0].partition("?")[0]
    *folders, last = path.split("/")
    owners = [owner for folder in reversed(folders) if (owner := _owner_of_folder(folder.lower()))]
    return _SUFFIXES.sub("", last), owners[0] if owners else ""


def _owner_of_folder(folder: str) -> str:
    return next((owner for owner, pattern in _FOLDERS_OF_PUBLISHERS.items() if re.fullmatch(pattern, folder)), "")


def _image_owner(source: str) -> str:
    return VG if source in (GQA, VISUAL7W) else source
