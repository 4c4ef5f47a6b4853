"""Picture names as feature files write them, as the keys that the readers of the twelve datasets use.

``COCO_val2014_000000391895``, ``v7w_2318324``, ``n161313`` and ``dev-850-0-img0`` say whose they are. Plain digits may
be COCO's, Visual Genome's (VG QA, GQA's train and val, Visual7W) or Flickr30k's: the caller must say.
"""

from __future__ import annotations

import re

from twelvefold.datasets.reading.image_files import FOLDERS
from twelvefold.features.formats.record import RecordError
from twelvefold.schema import ImageKey, TwelvefoldError, did_you_mean

COCO_DIGITS = re.compile(r"0\d{11}")
"""COCO's file names since 2017: twelve digits, with leading zeros."""
PLAIN = ("coco", "vg", "flickr30k")
SUFFIX = re.compile(r"\.(?:jpe?g|png|npy|npz)$", re.IGNORECASE)


class AmbiguousNameError(TwelvefoldError):
    """A name that may be several datasets' and no source was said: nothing can be imported before it is."""


def check_source(source: str) -> str:
    """``source`` where it names one of the publishers' or an own one; empty: names must tell.

    Raises:
        TwelvefoldError: it looks like a misspelt publisher's, or can't be part of a key.
    """
    near = did_you_mean(source, FOLDERS)
    if source and source not in FOLDERS and (near or not re.fullmatch(r"[\w.+-]+", source)):
        raise TwelvefoldError(
            f"no source {source!r}; there are {', '.join(FOLDERS)}, or a short name of your own{near}"
        )
    return source


def picture_key(name: str, source: str = "") -> ImageKey:
    """The key of a picture by its name in a feature file; folders before it and a suffix are passed over.

    Raises:
        AmbiguousNameError: plain digits, and ``source`` is empty.
        RecordError: no picture of that source is named so.
    """
    if source and source not in FOLDERS:
        return ImageKey(source, SUFFIX.sub("", name))
    stem = name.rsplit("/", 1)[-1].split(".", 1)[0]
    for folder in (source,) if source else FOLDERS:
        for pattern, key in FOLDERS[folder]:
            plain = not source and pattern == r"(\d+)"
            if not plain and (match := re.fullmatch(pattern, stem)):
                return key(match[1])
    digits = stem.isdecimal() and stem.isascii()
    if digits and (source == "coco" or (not source and COCO_DIGITS.fullmatch(stem))):
        return ImageKey("coco", str(int(stem)))
    if digits and source == "visual7w":
        return ImageKey("vg", str(int(stem)))
    if digits and not source:
        raise AmbiguousNameError(
            f"the name {name!r} may be a picture of {', '.join(PLAIN[:-1])} or {PLAIN[-1]}; "
            f"say whose features these are: --source {' or --source '.join(PLAIN)}"
        )
    wanted = " or ".join(pattern for folder in ((source,) if source else FOLDERS) for pattern, _ in FOLDERS[folder])
    raise RecordError(f"expected a picture's name like {wanted}, got {name!r:.80}")
