"""Convert image names in feature files to the keys that the dataset readers use.

``COCO_val2014_000000391895``, ``v7w_2318324``, ``n161313`` and ``dev-850-0-img0`` show their dataset. Plain digits may
belong to COCO, Visual Genome (VG QA, GQA's train and val, Visual7W) or Flickr30k: the caller must name the source.
"""

from __future__ import annotations

import re

from twelvefold.datasets.reading.image_sources import (
    COCO,
    FLICKR30K,
    NAME_PATTERNS,
    VG,
    is_ambiguous,
    name_examples,
    published_key,
)
from twelvefold.features.formats.record import RecordError
from twelvefold.parsing.bounds import short_repr
from twelvefold.schema import ImageKey, TwelvefoldError, did_you_mean

SOURCES_WITH_DIGITS = (COCO, VG, FLICKR30K)
SUFFIX = re.compile(r"\.(?:jpe?g|png|npy|npz)$", re.IGNORECASE)


class AmbiguousNameError(TwelvefoldError):
    """A name that fits several datasets although no source was given; nothing is imported."""


def check_source(source: str) -> str:
    """Return ``source`` if it is a publisher's, a valid name of the user's own, or empty.

    Raises:
        TwelvefoldError: it resembles a publisher's name, or cannot be part of an image key.
    """
    suggestion = did_you_mean(source, NAME_PATTERNS)
    if source and source not in NAME_PATTERNS and (suggestion or not re.fullmatch(r"[\w.+-]+", source)):
        raise TwelvefoldError(
            f"no source {source!r}; there are {', '.join(NAME_PATTERNS)}, or a short name of your own{suggestion}"
        )
    return source


def parse_image_key(name: str, source: str = "") -> ImageKey:
    """Return the key of an image by its name in a feature file; folders and a suffix are ignored.

    Raises:
        AmbiguousNameError: the name is plain digits and ``source`` is empty.
        RecordError: the name does not match the source.
    """
    if source and source not in NAME_PATTERNS:
        return ImageKey(source, SUFFIX.sub("", name))
    key = published_key(name, source)
    if key is None and not source and is_ambiguous(name):
        *others, last = SOURCES_WITH_DIGITS
        raise AmbiguousNameError(
            f"the name {name!r} may be an image of {', '.join(others)} or {last}; "
            f"name the source: --source {' or --source '.join(SOURCES_WITH_DIGITS)} ({VG} for VG QA, GQA and Visual7W)"
        )
    if key is None:
        raise RecordError(f"expected an image name like {name_examples(source)}, got {short_repr(name, 80)}")
    return key
