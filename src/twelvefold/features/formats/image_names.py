"""Convert image names in feature files to the keys that the dataset readers use.

``COCO_val2014_000000391895``, ``v7w_2318324``, ``n161313`` and ``dev-850-0-img0`` show their dataset. Plain digits may
belong to COCO, Visual Genome (VG QA, GQA's train and val, Visual7W) or Flickr30k: the caller must name the source.
"""

from __future__ import annotations

import re

from twelvefold.datasets.reading.image_files import FOLDERS
from twelvefold.datasets.reading.image_sources import COCO, FLICKR30K, NUMERIC_SOURCES, VG, image_key
from twelvefold.features.formats.record import RecordError
from twelvefold.schema import ImageKey, TwelvefoldError, did_you_mean

COCO_DIGITS = re.compile(r"0\d{11}")
"""COCO's file names since 2017: twelve digits with leading zeros."""
SOURCES_WITH_DIGITS = (COCO, VG, FLICKR30K)
SUFFIX = re.compile(r"\.(?:jpe?g|png|npy|npz)$", re.IGNORECASE)


class AmbiguousNameError(TwelvefoldError):
    """A name that fits several datasets although no source was given; nothing is imported."""


def check_source(source: str) -> str:
    """Return ``source`` if it is a publisher's, a valid name of the user's own, or empty.

    Raises:
        TwelvefoldError: it resembles a publisher's name, or cannot be part of an image key.
    """
    suggestion = did_you_mean(source, FOLDERS)
    if source and source not in FOLDERS and (suggestion or not re.fullmatch(r"[\w.+-]+", source)):
        raise TwelvefoldError(
            f"no source {source!r}; there are {', '.join(FOLDERS)}, or a short name of your own{suggestion}"
        )
    return source


def parse_image_key(name: str, source: str = "") -> ImageKey:
    """Return the key of an image by its name in a feature file; folders and a suffix are ignored.

    Raises:
        AmbiguousNameError: the name is plain digits and ``source`` is empty.
        RecordError: the name does not match the source.
    """
    if source and source not in FOLDERS:
        return ImageKey(source, SUFFIX.sub("", name))
    stem = name.rsplit("/", 1)[-1].split(".", 1)[0]
    for folder in (source,) if source else FOLDERS:
        for pattern, id_source in FOLDERS[folder]:
            ambiguous = not source and pattern == r"(\d+)"
            if not ambiguous and (match := re.fullmatch(pattern, stem)):
                return image_key(id_source, match[1])
    is_number = stem.isdecimal() and stem.isascii()
    if is_number and not source and COCO_DIGITS.fullmatch(stem):
        return ImageKey(COCO, str(int(stem)))
    if is_number and source in NUMERIC_SOURCES:
        return image_key(source, stem)
    if is_number and not source:
        *others, last = SOURCES_WITH_DIGITS
        raise AmbiguousNameError(
            f"the name {name!r} may be an image of {', '.join(others)} or {last}; "
            f"name the source: --source {' or --source '.join(SOURCES_WITH_DIGITS)}"
        )
    patterns = " or ".join(pattern for folder in ((source,) if source else FOLDERS) for pattern, _ in FOLDERS[folder])
    raise RecordError(f"expected an image name like {patterns}, got {name!r:.80}")
