"""Find the image files of a data folder by key, and the candidate boxes that some tasks provide for them.

This is what ``extract`` reads. docs/data.md describes the layout of ``images/``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from twelvefold.datasets import Dataset, is_built_in, load_dataset
from twelvefold.datasets.reading.examples import read_examples
from twelvefold.datasets.reading.image_sources import NAME_PATTERNS, name_examples, published_key
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.datasets.reading.shared_files import share_decoded_files
from twelvefold.image_folder import FileState, ImageFolder, SkippedFile, examine_file, scan_image_folder
from twelvefold.printable import printable_name
from twelvefold.progress import track
from twelvefold.schema import Box, ImageKey, Pair, Size, Split, TwelvefoldError


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """The image files of a data folder.

    files: by key; also those that cannot be read. unreadable: what cannot be read by its first bytes, by key, or by its
    path where it has none, with the reason. skipped: what is no image, by its path in ``images/``.
    """

    files: dict[ImageKey, Path] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    skipped: list[SkippedFile] = field(default_factory=list)


def image_files(root: Path) -> dict[ImageKey, Path]:
    """Return the files of :func:`scan_image_files`."""
    return scan_image_files(root).files


def scan_image_files(root: Path, known: Collection[FileState] = ()) -> ImageFiles:
    """Return every image file of a data folder, at any depth, by key; of two files with one key the first.

    A folder that is not a publisher's is a source of its own: ``images/pets/rex.jpg`` is ``pets/rex``. ``known``:
    states of files that were found to be images; these are not opened.

    Raises:
        TwelvefoldError: there is no image folder, or a file name does not match its folder's pattern.
    """
    base = root / "images"
    entries = sorted(base.iterdir()) if base.is_dir() else []
    folders = [path.name for path in entries if path.is_dir() and not path.name.startswith(".")]
    if not folders:
        expected = ", ".join(str(base / folder) for folder in NAME_PATTERNS)
        raise TwelvefoldError(f"no images: expected at least one of the folders {expected}, or one of your own")
    result = _files_outside_folders(base, [path for path in entries if path.name not in folders])
    published = [name for name in NAME_PATTERNS if name in folders]
    for folder in [*published, *(name for name in folders if name not in NAME_PATTERNS)]:
        content = scan_image_folder(base / folder, known)
        for path in [*content.images, *content.unreadable]:
            key = _key_of_file(path, base / folder)
            if result.files.setdefault(key, path) != path:
                _skip_repeated(path, key, result, base)
            elif path in content.unreadable:
                result.unreadable[str(key)] = f"{printable_name(path.relative_to(root))}: {content.unreadable[path]}"
        for each in content.skipped:
            result.skipped.append(SkippedFile(f"{printable_name(folder)}/{each.file}", each.kind, each.reason))
            if each.kind == "unreadable":
                result.unreadable[f"images/{printable_name(folder)}/{each.file}"] = each.reason
    return result


def _skip_repeated(path: Path, key: ImageKey, result: ImageFiles, base: Path) -> None:
    """Add a file whose key another file has. Publishers' folders share images; in your own it is a mistake."""
    name, used = printable_name(path.relative_to(base)), printable_name(result.files[key].relative_to(base))
    is_mistake = path.relative_to(base).parts[0] not in NAME_PATTERNS
    reason = f"{used} is used, which is {key} too{'; rename one of them' * is_mistake}"
    result.skipped.append(SkippedFile(name, "unreadable" if is_mistake else "other", reason))
    if is_mistake:
        result.unreadable[f"images/{name}"] = reason


def _files_outside_folders(base: Path, paths: Iterable[Path]) -> ImageFiles:
    """Return what lies directly in ``images/``, where only folders are read: images there are reported."""
    content = ImageFolder()
    for path in paths:
        if path.name.startswith("."):
            content.skipped.append(SkippedFile(printable_name(path.name), "hidden", "a name that begins with a dot"))
        else:
            examine_file(path, base, content)
    reason = "it lies directly in images/: move it into the folder of its source"
    images = [SkippedFile(printable_name(path.name), "unreadable", reason) for path in content.files]
    skipped = [*images, *content.skipped]
    return ImageFiles(
        unreadable={f"images/{each.file}": each.reason for each in skipped if each.kind == "unreadable"},
        skipped=skipped,
    )


def key_of_path(source: str, path: Path, folder: Path) -> ImageKey:
    """Return the key of a file without a publisher: its path in the folder without suffix, printable."""
    return ImageKey(printable_name(source), printable_name(path.relative_to(folder).with_suffix("").as_posix()))


def _key_of_file(path: Path, folder: Path) -> ImageKey:
    if folder.name not in NAME_PATTERNS:
        return key_of_path(folder.name, path, folder)
    key = published_key(path.name, folder.name)
    if key is None:
        raise TwelvefoldError(
            f"{path}: expected a file name in {folder} such as {name_examples(folder.name)}; rename the file or "
            "move it away"
        )
    return key


class CandidateBoxes(NamedTuple):
    """The candidate boxes of an image.

    boxes_px: (N, 4) float32, corners in pixels: the union of ``Pair.candidates_px`` over all examples with that image,
    rounded to float32, without repetitions, in ascending order. stated_size: of the image, as the annotations state it.
    """

    boxes_px: NDArray[np.float32]
    stated_size: Size | None = None


def candidate_boxes(
    root: Path, tasks: Mapping[str, Mapping[str, Any]], *, bad: BadRecords | None = None
) -> dict[ImageKey, CandidateBoxes]:
    """Return the candidate boxes of every image for which a task provides candidates, over all splits.

    ``tasks``: names as :func:`twelvefold.datasets.load_dataset` takes them, with the options of their readers.
    """
    bad = BadRecords() if bad is None else bad
    union: dict[ImageKey, set[Box]] = {}
    sizes: dict[ImageKey, Size | None] = {}
    for name, options in tasks.items():
        # A built-in dataset states whether it has candidates; the first example of your own shows it.
        if not getattr(load_dataset(name), "LISTS_CANDIDATES", not is_built_in(name)):
            continue
        pairs = _pairs_with_candidates(load_dataset(name), root, bad, options)
        with share_decoded_files():
            for pair in track(pairs, description=f"candidate boxes of {name}"):
                union.setdefault(pair.image, set()).update(pair.candidates_px)
                sizes[pair.image] = sizes.get(pair.image) or pair.stated_size
    rounded = {key: np.array(sorted(boxes), dtype=np.float32) for key, boxes in sorted(union.items())}
    return {key: CandidateBoxes(np.unique(boxes, axis=0), sizes[key]) for key, boxes in rounded.items()}


def _pairs_with_candidates(dataset: Dataset, root: Path, bad: BadRecords, options: Mapping[str, Any]) -> Iterator[Pair]:
    for split in get_args(Split):
        for example in read_examples(dataset, root, split, bad=bad, **options):
            if not any(pair.candidates_px for pair in example.pairs):
                return  # a task provides candidates with all of its examples or with none (RefCOCO)
            yield from example.pairs
