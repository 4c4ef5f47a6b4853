"""Find the image files of a data folder by key, and the candidate boxes that some tasks provide for them.

This is what ``extract`` reads. docs/data.md describes the layout of ``images/``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from twelvefold.datasets import Dataset, is_built_in, load_dataset
from twelvefold.datasets.reading.examples import read_examples
from twelvefold.datasets.reading.image_sources import NAME_PATTERNS, name_examples, published_key
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.images import walk_images
from twelvefold.progress import track
from twelvefold.schema import Box, ImageKey, Pair, Split, TwelvefoldError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png"))


def image_files(root: Path) -> dict[ImageKey, Path]:
    """Return every image file of a data folder, at any depth, by key; of two files with one key the first.

    A folder that is not a publisher's is a source of its own: ``images/pets/rex.jpg`` is ``pets/rex``. Files that are
    not JPEG or PNG by suffix are ignored.

    Raises:
        TwelvefoldError: there is no image folder, or a file name does not match its folder's pattern.
    """
    base = root / "images"
    folders = sorted(path.name for path in base.iterdir() if path.is_dir()) if base.is_dir() else []
    if not folders:
        expected = ", ".join(str(base / folder) for folder in NAME_PATTERNS)
        raise TwelvefoldError(f"no images: expected at least one of the folders {expected}, or one of your own")
    files: dict[ImageKey, Path] = {}
    for folder in [*NAME_PATTERNS, *(name for name in folders if name not in NAME_PATTERNS)]:
        for path in walk_images(base / folder, SUFFIXES):
            files.setdefault(_key_of_file(path, base / folder), path)
    return files


def _key_of_file(path: Path, folder: Path) -> ImageKey:
    if folder.name not in NAME_PATTERNS:
        return ImageKey(folder.name, path.relative_to(folder).with_suffix("").as_posix())
    key = published_key(path.name, folder.name)
    if key is None:
        raise TwelvefoldError(
            f"{path}: expected a file name in {folder} such as {name_examples(folder.name)}; rename the file or "
            "move it away"
        )
    return key


def candidate_boxes(
    root: Path, tasks: Mapping[str, Mapping[str, Any]], *, bad: BadRecords | None = None
) -> dict[ImageKey, NDArray[np.float32]]:
    """Return the candidate boxes of every image for which a task provides candidates, over all splits.

    ``tasks``: names as :func:`twelvefold.datasets.load_dataset` takes them, with the options of their readers.

    Returns:
        (N, 4) float32 by image: corner boxes in pixels, the union of ``Pair.candidates_px`` over all examples with that
        image, rounded to float32, without repetitions, in ascending order.
    """
    bad = BadRecords() if bad is None else bad
    union: dict[ImageKey, set[Box]] = {}
    for name, options in tasks.items():
        # A built-in dataset states whether it has candidates; the first example of your own shows it.
        if not getattr(load_dataset(name), "LISTS_CANDIDATES", not is_built_in(name)):
            continue
        pairs = _pairs_with_candidates(load_dataset(name), root, bad, options)
        for pair in track(pairs, description=f"candidate boxes of {name}"):
            union.setdefault(pair.image, set()).update(pair.candidates_px)
    rounded = {key: np.array(sorted(boxes), dtype=np.float32) for key, boxes in sorted(union.items())}
    return {key: np.unique(boxes, axis=0) for key, boxes in rounded.items()}


def _pairs_with_candidates(dataset: Dataset, root: Path, bad: BadRecords, options: Mapping[str, Any]) -> Iterator[Pair]:
    for split in get_args(Split):
        for example in read_examples(dataset, root, split, bad=bad, **options):
            if not any(pair.candidates_px for pair in example.pairs):
                return  # a task provides candidates with all of its examples or with none (RefCOCO)
            yield from example.pairs
