"""The region store: a detector's regions of every image, as flat memory-mapped arrays.

A store is a folder of shards (:mod:`twelvefold.store.region_shard`) and ``store.json``, which is written last, so a
folder that has it is complete. Sizes are checked when a store is opened, contents by :meth:`RegionStore.verify`.
``store.index`` says where each image is (:mod:`twelvefold.store.region_index`); it is computed again from the shards if
it is missing or of another store.

Differs: the original kept pickled dictionaries in LMDB and searched its list of keys at each access.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from twelvefold.schema import ImageKey, Regions, Size, TwelvefoldError
from twelvefold.store import atomic_files, region_index
from twelvefold.store.region_arrays import check_regions, mean_feature
from twelvefold.store.region_index import RegionIndex, RepeatedKeyError
from twelvefold.store.region_shard import (
    HEADER_BYTES,
    ShardHeader,
    aligned,
    check_shard,
    map_arrays,
    read_names,
    read_shard_header,
    split_names,
)

MANIFEST = "store.json"
SUFFIX = ".regions"
FORMAT, VERSION = "twelvefold regions", 1
_MAX_MAPPED = 1 << 15
"""Shards that a process keeps mapped: half of the mappings that Linux allows a process (vm.max_map_count)."""


class ShardWriter:
    """Collects the images of one block and writes them as one shard, atomically, at the end of its ``with`` block.

    Nothing is written if the block raises. The bytes of the file depend only on the images and their order.
    """

    def __init__(self, path: Path, *, feature_size: int, num_categories: int = 0, half: bool = True) -> None:
        """``num_categories``: width of ``class_probs``, 0 if not kept. ``half``: float16 instead of float32."""
        self.path = Path(path)
        self._feature_size = feature_size
        self._num_categories = num_categories
        self._dtype = np.dtype(np.float16 if half else np.float32)
        self._regions: dict[ImageKey, Regions] = {}

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self._write()

    def add(self, key: ImageKey, regions: Regions) -> None:
        """Add one image's regions; there may be none.

        Raises:
            TwelvefoldError: the key was added before or has a line break, a shape is wrong, a number is not finite (or
                too large for float16), or the image has no size.
        """
        if "\n" in str(key):
            raise TwelvefoldError(f"an image key may not contain a line break: {str(key)!r}")
        if key in self._regions:
            raise TwelvefoldError(f"image {key} is added twice to {self.path.name}; a store holds an image once")
        self._regions[key] = check_regions(
            key, regions, feature_size=self._feature_size, num_categories=self._num_categories, dtype=self._dtype
        )

    def _write(self) -> None:
        images = list(self._regions.values())
        counts = [len(regions.boxes_px) for regions in images]
        keys = "\n".join(str(key) for key in self._regions).encode()
        arrays: list[list[NDArray[Any]]] = [
            [regions.features for regions in images],
            [regions.boxes_px for regions in images],
            [regions.class_probs for regions in images if regions.class_probs is not None],
            [mean_feature(regions) for regions in images],
            [np.array([regions.width for regions in images], dtype=np.int32)],
            [np.array([regions.height for regions in images], dtype=np.int32)],
            [np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)],
            [np.frombuffer(keys, dtype=np.uint8)],
        ]
        # Parts are written without being concatenated first: a block of published features is 50 MB.
        parts = [part for array in arrays for part in aligned(array)]
        checksum = xxhash.xxh3_128()
        for part in parts:
            checksum.update(part)
        sizes = (self._dtype.itemsize, len(images), sum(counts), self._feature_size, self._num_categories, len(keys))
        header = ShardHeader(*sizes, checksum.hexdigest())
        with atomic_files.atomic_file(self.path) as file:
            file.write(header.to_bytes().ljust(HEADER_BYTES, b"\0"))
            for part in parts:
                file.write(part)


def read_shard(path: Path) -> Iterator[tuple[ImageKey, Regions]]:
    """Yield the images of one shard with their regions, views of the mapped file.

    Raises:
        TwelvefoldError: as :func:`read_shard_header`.
    """
    header = read_shard_header(path)
    has_categories = header.num_categories > 0
    features, boxes, probabilities, _, widths, heights, offsets, keys = map_arrays(path, header)
    for row, name in enumerate(split_names(keys)):
        rows = slice(int(offsets[row]), int(offsets[row + 1]))
        class_probs = probabilities[rows] if has_categories else None
        yield (
            ImageKey.parse(name.decode()),
            Regions(boxes[rows], features[rows], int(widths[row]), int(heights[row]), class_probs),
        )


def finish_store(
    folder: Path, shards: Sequence[str], *, info: Mapping[str, Any], categories: Sequence[str] = ()
) -> RegionStore:
    """Write the manifest of the named shard files, in this order, and open the store.

    ``info`` is stored as it is: the detector's digest, the arithmetic, package versions. ``categories``: names of the
    columns of ``class_probs``, or empty if these are not kept.

    Raises:
        TwelvefoldError: a shard is missing or damaged, shards differ in shape, or an image is in two shards.
    """
    folder = Path(folder)
    headers = [read_shard_header(folder / name) for name in shards]
    shapes = sorted({(header.bytes_per_number, header.feature_size, header.num_categories) for header in headers})
    if len(shapes) > 1:
        raise TwelvefoldError(
            f"the shards of {folder} differ in (bytes per number, feature size, categories): {shapes}; "
            "they come from different detectors or settings: extract into an empty folder"
        )
    if shapes and shapes[0][2] != len(categories):
        raise TwelvefoldError(
            f"{folder}: expected the names of {shapes[0][2]} categories, as the shards hold, got {len(categories)}"
        )
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "feature_size": shapes[0][1] if shapes else 0,
        "pictures": sum(header.num_images for header in headers),
        "regions": sum(header.num_regions for header in headers),
        "kinds": list(categories),
        "info": dict(info),
        "shards": [header.to_json(name) for name, header in zip(shards, headers, strict=True)],
    }
    manifest["digest"] = _digest(manifest)
    content = _compute_index(folder, manifest)  # an image in two shards is found before the store counts as complete
    region_index.write_index(folder, content, manifest["pictures"], manifest["digest"])
    atomic_files.write_json(folder / MANIFEST, manifest)
    return RegionStore.open(folder)


class RegionStore:
    """A read-only, memory-mapped store with constant-time access; many processes may open the same one.

    feature_size: D. num_regions: of all images. categories: names of the columns of ``class_probs``, empty if not
    kept. info: from :func:`finish_store`. digest: of the contents, and so of detector, arithmetic and images.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.feature_size: int = manifest["feature_size"]
        self.num_regions: int = manifest["regions"]
        self.categories: tuple[str, ...] = tuple(manifest["kinds"])
        self.info: dict[str, Any] = manifest["info"]
        self.digest: str = manifest["digest"]
        self._shards = [shard["file"] for shard in manifest["shards"]]
        self._headers = _headers(manifest)
        self._starts = [0, *accumulate(header.num_images for header in self._headers)]
        self._index = _open_index(self.folder, manifest)
        self._arrays = lru_cache(maxsize=_MAX_MAPPED)(self._map_shard)

    @classmethod
    def open(cls, folder: Path) -> RegionStore:
        """Open a complete store; check its manifest and every shard's header and length.

        A shard is mapped when an image of it is used first.

        Raises:
            TwelvefoldError: the folder is not a store or not complete, a shard is truncated or was replaced, or the
                index is damaged.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).exists():
            raise TwelvefoldError(f"{folder} is not a complete region store: it has no {MANIFEST}; extract it (again)")
        manifest = atomic_files.read_manifest(folder / MANIFEST, FORMAT, VERSION, remedy="extract the store again")
        if manifest.get("digest") != _digest(manifest):
            raise TwelvefoldError(f"{folder / MANIFEST} was changed after it was written; extract the store again")
        for shard, header in zip(manifest["shards"], _headers(manifest), strict=True):
            check_shard(f"{folder}/{shard['file']}", header)
        return cls(folder, manifest)

    def __len__(self) -> int:
        return self._starts[-1]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, ImageKey) and self._index.find(key) is not None

    def keys(self) -> list[ImageKey]:
        """Return the keys of all images, in the order of extraction."""
        shards = zip(self._shards, self._headers, strict=True)
        return [ImageKey.parse(name.decode()) for file, h in shards for name in read_names(self.folder / file, h)]

    def __getitem__(self, key: ImageKey) -> Regions:
        """Return one image's regions as views of the mapped file; copy before changing them.

        Raises:
            TwelvefoldError: the store does not have that image.
        """
        shard, row = self._locate(key)
        features, boxes, probabilities, _, widths, heights, offsets, _ = self._arrays(shard)
        rows = slice(int(offsets[row]), int(offsets[row + 1]))
        return Regions(
            boxes_px=boxes[rows],
            features=features[rows],
            width=int(widths[row]),
            height=int(heights[row]),
            class_probs=probabilities[rows] if self.categories else None,
        )

    def size(self, key: ImageKey) -> Size | None:
        """Return width and height of an image in pixels, or None if the store does not have it."""
        if (location := self._find(key)) is None:
            return None
        shard, row = location
        _, _, _, _, widths, heights, _, _ = self._arrays(shard)
        return int(widths[row]), int(heights[row])

    def mean(self, key: ImageKey) -> NDArray[np.float32]:
        """Return (D,) float32: the stored mean of the image's features; zeros if it has no regions."""
        shard, row = self._locate(key)
        mean: NDArray[np.float32] = self._arrays(shard)[3][row]
        return mean

    def verify(self) -> list[str]:
        """Read every shard and compare checksums; return the names of shard files that differ."""
        paths = [self.folder / name for name in self._shards]
        return [p.name for p in paths if atomic_files.digest_file(p, HEADER_BYTES) != read_shard_header(p).checksum]

    def _find(self, key: ImageKey) -> tuple[int, int] | None:
        """Return the shard and the row of an image."""
        number = self._index.find(key)
        if number is None:
            return None
        shard = bisect_right(self._starts, number) - 1
        return shard, number - self._starts[shard]

    def _locate(self, key: ImageKey) -> tuple[int, int]:
        location = self._find(key)
        if location is None:
            raise TwelvefoldError(f"region store {self.folder} has no image {key}; extract its image folder too")
        return location

    def _map_shard(self, shard: int) -> list[NDArray[Any]]:
        return map_arrays(self.folder / self._shards[shard], self._headers[shard])


def _headers(manifest: Mapping[str, Any]) -> list[ShardHeader]:
    """Return the headers that ``store.json`` lists."""
    return msgspec.convert(manifest["shards"], list[ShardHeader])


def _compute_index(folder: Path, manifest: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the content of the index, from the keys in the shards.

    Raises:
        TwelvefoldError: an image is in two shards.
    """
    shards = [
        (folder / shard["file"], header) for shard, header in zip(manifest["shards"], _headers(manifest), strict=True)
    ]
    try:
        return region_index.index_content(read_names(path, header) for path, header in shards)
    except RepeatedKeyError as error:
        starts = [0, *accumulate(header.num_images for _, header in shards)]
        first, second = (bisect_right(starts, number) - 1 for number in (error.first, error.second))
        name = read_names(*shards[second])[error.second - starts[second]].decode()
        raise TwelvefoldError(
            f"{folder}: image {name} is in {shards[first][0].name} and in {shards[second][0].name}; "
            "a store holds an image once"
        ) from error


def _open_index(folder: Path, manifest: Mapping[str, Any]) -> RegionIndex:
    """Map the index; compute and write it first if it is missing or of another store.

    Processes that do so at the same time write the same file, each atomically.
    """
    num_images, digest = manifest["pictures"], manifest["digest"]
    index = region_index.read_index(folder, num_images, digest)
    if index is not None:
        return index
    content = _compute_index(folder, manifest)
    try:
        region_index.write_index(folder, content, num_images, digest)
    except TwelvefoldError as error:
        warnings.warn(
            f"{error}. The index of this region store is kept in memory, and computed each time the store is opened: "
            "open it once where it may be written",
            stacklevel=2,
        )
    return RegionIndex(content, num_images)


def _digest(manifest: Mapping[str, Any]) -> str:
    return atomic_files.digest_value({name: value for name, value in manifest.items() if name != "digest"})
