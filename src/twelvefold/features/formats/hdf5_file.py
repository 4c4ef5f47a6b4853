"""Features in HDF5, in the three layouts that projects use.

Stacked: one dataset per field, with a row for each image (``features`` (images, regions, D), ``boxes``, ``num_boxes``,
``image_w``, ``image_h``, ``image_ids``). The bottom-up features for VQA are stacked too: ``image_features``,
``image_bb``, ``spatial_features`` (boxes relative to the image size, from which the size follows), with ``pos_boxes``
if the number of regions varies, and the names in ``<stem>_imgid2idx.pkl`` next to the file. By image: one group per
image, with its fields as datasets or attributes. By field: one group per field, with a dataset per image.

Fields have the names of :mod:`twelvefold.features.formats.fields`. Links to other files, and datasets whose values are
in other files, are not followed: each such image is rejected by name.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold.config.extract import ImportConfig
from twelvefold.features.formats.fields import BOXES, FEATURES, HEIGHT, NAME, PROBABILITIES, WIDTH, parse_regions
from twelvefold.features.formats.record import FeatureFile, FeatureRecord, RecordError, RegionsWithWarnings
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import digest_bytes, digest_value
from twelvefold.store.safe_pickle import load_plain

MAGIC = b"\x89HDF\r\n\x1a\n"
COUNTS = ("num_boxes", "num_bbox", "num_bboxes", "num_objects")
NAMES = (*NAME, "image_ids", "img_ids", "ids", "keys", "names", "filenames")
RELATIVE_BOXES = "spatial_features"
RANGES = "pos_boxes"
"""First and end row of each image's regions, (images, 2), where the regions of all images are in one list."""
INDEX_SUFFIX = "_imgid2idx.pkl"
MAX_RECORD_BYTES = 1 << 28
"""Largest field of an image; 100 regions of 2,048 numbers take 0.8 MB."""

Fields = dict[str, Any]


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins like HDF5."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


class Hdf5File(FeatureFile):
    """An HDF5 file."""

    def __init__(self, path: Path, config: ImportConfig) -> None:
        """Open it and list its images.

        Raises:
            TwelvefoldError: it is not HDF5, it is truncated, it has none of the layouts, or the package ``h5py`` is not
                installed.
        """
        if importlib.util.find_spec("h5py") is None:
            raise TwelvefoldError(
                "reading HDF5 files needs the package h5py, which is not installed: pip install 'twelvefold[hdf5]'"
            )
        super().__init__(path, config)
        if not is_hdf5(path):
            raise TwelvefoldError(f"{path} is not HDF5, or was truncated or overwritten")
        with self._open() as root:
            try:
                self._images = self._list_images(root)
            except (RecordError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
                raise TwelvefoldError(f"{path}: its images cannot be listed: {error!s:.300}") from error
        self.total = len(self._images)
        self.identity = {"records": self.total, "names": digest_value([name for name, _ in self._images])}

    def records(self, after: str = "") -> Iterator[FeatureRecord]:
        """Yield the images after the position ``after`` (the number of the image)."""
        with self._open() as root:
            for number in range(int(after) + 1 if after else 0, self.total):
                yield self._read(root, number)

    def _open(self) -> Any:
        import h5py

        try:
            return h5py.File(self._path, "r")
        except OSError as error:
            raise TwelvefoldError(f"{self._path} cannot be read as HDF5: {error}; damaged or truncated?") from error

    def _list_images(self, root: Any) -> list[tuple[str, Any]]:
        """Return name and location of each image: a row of stacked datasets, or the path of its group or dataset."""
        features = _member(root, FEATURES)
        if features is None:
            return [(path, path) for path in _groups_with_features(root)] or self._refuse(root)
        if hasattr(features, "keys"):
            return [(name, name) for name in sorted(_dataset_names(features))]
        names = _member(root, NAMES)
        if names is None:
            names_by_row = self._read_index()
        else:
            names_by_row = [_to_text(name) for name in _read_array(names, ()).reshape(-1)]
        ranges = _member(root, (RANGES,))
        num_images = len(features if ranges is None else ranges)
        if len(names_by_row) != num_images:
            raise TwelvefoldError(
                f"{self._path}: expected a name for each of {num_images} images, got {len(names_by_row)}"
            )
        return [(name, row) for row, name in enumerate(names_by_row)]

    def _refuse(self, root: Any) -> Any:
        raise TwelvefoldError(
            f"{self._path}: expected features under {' or '.join(FEATURES)}, for all images or in a group for "
            f"each, got only {', '.join(root) or 'nothing'}"
        )

    def _read_index(self) -> list[str]:
        """Return the names in the order of the rows, from the pickled mapping of names to rows next to the file."""
        path = self._path.with_name(self._path.stem + INDEX_SUFFIX)
        if not path.exists():
            raise TwelvefoldError(
                f"{self._path} does not name its images: expected a dataset {' or '.join(NAMES)}, or the file {path}"
            )
        rows = load_plain(path)
        if not isinstance(rows, dict) or sorted(rows.values(), key=str) != sorted(range(len(rows)), key=str):
            raise TwelvefoldError(f"{path}: expected a mapping from each image to its row 0, 1, ...")
        return [str(name) for name in sorted(rows, key=rows.__getitem__)]

    def _read(self, root: Any, number: int) -> FeatureRecord:
        name, location = self._images[number]
        result: RegionsWithWarnings | Exception
        digest = ""
        try:
            fields = _stacked_fields(root, location) if isinstance(location, int) else _named_fields(root, location)
            digest = digest_bytes(b"".join(np.asarray(value).tobytes() for value in fields.values()))
            result = parse_regions(fields, self._config)
        except (RecordError, TwelvefoldError) as error:
            result = error
        except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            result = RecordError(f"cannot be read: {error!s:.160}")
        return FeatureRecord(name, f"image {number} ({name})", str(number), digest, result)


def _stacked_fields(root: Any, row: int) -> Fields:
    ranges = _member(root, (RANGES,))
    start, end = (0, None) if ranges is None else map(int, ranges[row][:2])
    count = _member(root, COUNTS)
    if count is not None:
        end = int(np.asarray(count[row]).reshape(-1)[0])  # rows after it are padding

    def rows_of(names: tuple[str, ...]) -> NDArray[Any] | None:
        dataset = _member(root, names)
        if dataset is None:
            return None
        return _read_array(dataset, (row, slice(0, end)) if ranges is None else slice(start, end))

    fields: Fields = {}
    for names in (FEATURES, BOXES, PROBABILITIES):
        if (values := rows_of(names)) is not None:
            fields[names[0]] = values
    for names in (WIDTH, HEIGHT):
        if (sides := _member(root, names)) is not None:
            fields[names[0]] = sides[row]
    relative = rows_of((RELATIVE_BOXES,))
    if relative is not None and not {WIDTH[0], HEIGHT[0]} & set(fields) and BOXES[0] in fields:
        fields |= _sizes_from_boxes(fields[BOXES[0]], relative)
    return fields


def _sizes_from_boxes(boxes: NDArray[Any], relative: NDArray[Any]) -> Fields:
    """Return the image's size from its largest box in pixels and relative to the size."""
    sides = {}
    for name, column in ((WIDTH[0], 2), (HEIGHT[0], 3)):
        row = int(np.argmax(relative[:, column])) if len(relative) else 0
        if len(relative) and relative[row, column] > 0:
            sides[name] = round(float(boxes[row, column]) / float(relative[row, column]))
    return sides


def _named_fields(root: Any, name: str) -> Fields:
    features = _member(root, FEATURES)
    known = {*BOXES, *FEATURES, *PROBABILITIES, *WIDTH, *HEIGHT}
    if features is None:
        group = _inner(root, name)
        members = {key: _inner(group, key) for key in sorted(known) if _has(group, key)}
        fields = {key: value for key, value in group.attrs.items() if key in known}
        return fields | {key: _read_array(each, ()) for key, each in members.items() if not hasattr(each, "keys")}
    fields = {key: value for key, value in _inner(features, name).attrs.items() if key in known}
    for key in sorted(known):
        if _has(root, key) and hasattr(group := _inner(root, key), "keys") and _has(group, name):
            fields[key] = _read_array(_inner(group, name), ())
    return fields


def _read_array(dataset: Any, selection: Any) -> NDArray[Any]:
    """Return the selected values of a dataset.

    Raises:
        RecordError: they are too large, or a part of the file that is decompressed at once is.
    """
    shape = dataset.shape if selection == () else dataset.shape[1:]
    if isinstance(selection, slice):
        shape = (len(range(*selection.indices(len(dataset)))), *shape)
    for part in (shape, dataset.chunks or ()):
        num_bytes = dataset.dtype.itemsize * math.prod(part)
        if num_bytes > MAX_RECORD_BYTES:
            raise RecordError(f"{dataset.name}: expected at most {MAX_RECORD_BYTES:,} bytes at once, got {num_bytes:,}")
    return np.asarray(dataset[selection])


def _member(root: Any, names: tuple[str, ...]) -> Any:
    """Return the first of these members that a group has, or None."""
    return next((_inner(root, name) for name in names if _has(root, name)), None)


def _has(group: Any, name: str) -> bool:
    """Return whether a group has a member of that name, also if it is a link that leads nowhere."""
    return group.get(name, getlink=True) is not None


def _inner(group: Any, name: str) -> Any:
    """Return a member of a group.

    Raises:
        RecordError: it is, or its values are, in another file.
        KeyError: there is none.
    """
    import h5py

    if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
        raise RecordError(f"{name} is a link to another file, which is not followed")
    member = group[name]
    if member.file.filename != group.file.filename:
        raise RecordError(f"{name} leads to another file, which is not followed")
    if isinstance(member, h5py.Dataset):
        is_elsewhere = member.is_virtual and any(source.file_name != "." for source in member.virtual_sources())
        if is_elsewhere or member.external:
            raise RecordError(f"the values of {name} are in another file, which is not read")
    return member


def _dataset_names(group: Any) -> list[str]:
    """Return the names of all datasets in a group, at any depth (a name may have slashes), and of links that cannot be
    followed."""
    import h5py

    names: list[str] = []
    _visit_links(group, lambda path, kind: None if kind is h5py.Group else names.append(path))
    return names


def _groups_with_features(root: Any) -> list[str]:
    """Return the paths of the groups that have features, and of links that may lead to one but cannot be followed."""
    import h5py

    names: set[str] = set()
    fields = {*BOXES, *FEATURES, *PROBABILITIES, *WIDTH, *HEIGHT}

    def visit(path: str, kind: type | None) -> None:
        parent, _, key = path.rpartition("/")
        if parent and key in FEATURES:
            names.add(parent)
        elif (kind is None and key not in fields) or (
            kind is h5py.Group and any(_has(root[path], f) for f in FEATURES)
        ):
            names.add(path)

    _visit_links(root, visit)
    return sorted(names)


def _visit_links(group: Any, visit: Callable[[str, type | None], None]) -> None:
    """Call ``visit`` with the path of each member, at any depth, and its class: None for a link to another file, or one
    that leads nowhere. An object with several names is visited by each."""
    import h5py

    links: list[tuple[str, bool]] = []
    group.visititems_links(lambda path, link: links.append((path, isinstance(link, h5py.ExternalLink))))
    for path, is_external in links:
        kind = None
        if not is_external:
            with suppress(KeyError, OSError, RuntimeError):  # a link that leads nowhere
                kind = group.get(path, getclass=True)
        visit(path, kind)


def _to_text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
