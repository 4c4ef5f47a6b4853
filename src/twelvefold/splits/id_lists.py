"""Read id lists of test images, as the original project has them (``coco_test_ids.npy``), and compare them with ours.

A list is one that the audit reads, such as a one-dimensional NumPy array of integers. Its file name, or the caller,
names the source of the ids. How the original's lists were made is not published, so :func:`compare_id_list` reports
which of our test images are in a list and which are not. Paper: section 2.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from twelvefold.datasets.reading.image_sources import COCO, FLICKR30K, VG
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.splits.manifest import IdListInfo
from twelvefold.splits.policy import ProtectedImages
from twelvefold.splits.read_lists import count_comments, list_images, make_key, read_entries
from twelvefold.store import atomic_files

SOURCES = {"coco_test_ids": COCO, "genome_test_ids": VG, "flickr_test_ids": FLICKR30K}
"""How the names of the original's list files begin, and the source of their ids."""

MAX_SAMPLES = 5
"""Number of sample images for each kind of difference."""


@dataclass(frozen=True, slots=True)
class IdList:
    """An id list and the keys of its images. num_comments: lines that were left out because they begin with #."""

    info: IdListInfo
    keys: frozenset[ImageKey]
    num_comments: int = 0


def load_id_list(file: str | Path) -> IdList:
    """Load a list of images: a file in any form that the audit reads, or a folder of images with their publisher's
    names. ``vg=lists/mine.csv`` names the source where the file name does not.

    Raises:
        TwelvefoldError: the list is missing, empty or not valid (:func:`twelvefold.splits.read_lists.read_entries`),
            its source is unknown, or has no such image.
    """
    prefix, _, rest = str(file).partition("=")
    source, path = (prefix, Path(rest)) if rest else ("", Path(file))
    source = source or next((source for name, source in SOURCES.items() if path.name.startswith(name)), "")
    if not source:
        raise TwelvefoldError(
            f"{path}: whose ids are these? The name begins with none of {', '.join(SOURCES)}; "
            f"put the source before the path, as in vg={path}"
        )
    if path.is_dir():
        names = [str(image) for image in list_images(path).files]
    else:
        names = [name for name, _ in read_entries(path)]
    if not names:
        raise TwelvefoldError(f"{path} lists no image")
    keys = frozenset(make_key(name, source, path) for name in names)
    digest = atomic_files.digest_value(sorted(map(str, keys)))
    return IdList(IdListInfo(path.name, source, len(keys), digest), keys, count_comments(path))


@dataclass(frozen=True, slots=True)
class IdListComparison:
    """Numbers of images in an id list (``theirs``) and of our protected images (``ours``), and samples of the
    differences. The counts by task state whose test sets the images are in; an image may be in several."""

    file: str
    source: str
    theirs: int
    ours: int
    both: int
    only_theirs: int
    only_ours: int
    both_by_task: dict[str, int]
    only_ours_by_task: dict[str, int]
    some_only_theirs: list[str]
    some_only_ours: list[str]


def compare_id_list(id_list: IdList, protected: ProtectedImages) -> IdListComparison:
    """Compare an id list with our protected images, under all their keys of the list's source."""
    ours = {key for key in protected.all_keys() if key.source == id_list.info.source}
    both, only_theirs, only_ours = ours & id_list.keys, id_list.keys - ours, ours - id_list.keys
    return IdListComparison(
        file=id_list.info.file,
        source=id_list.info.source,
        theirs=len(id_list.keys),
        ours=len(ours),
        both=len(both),
        only_theirs=len(only_theirs),
        only_ours=len(only_ours),
        both_by_task=_count_by_task(both, protected),
        only_ours_by_task=_count_by_task(only_ours, protected),
        some_only_theirs=[str(key) for key in _first_keys(only_theirs)],
        some_only_ours=[
            f"{key} ({', '.join(name for name, _ in protected.owners_of(key))})" for key in _first_keys(only_ours)
        ],
    )


def _count_by_task(keys: Collection[ImageKey], protected: ProtectedImages) -> dict[str, int]:
    return dict(sorted(Counter(task for key in keys for task, _ in protected.owners_of(key)).items()))


def _first_keys(keys: Collection[ImageKey]) -> list[ImageKey]:
    return sorted(keys, key=lambda key: (len(key.id), key.id))[:MAX_SAMPLES]
