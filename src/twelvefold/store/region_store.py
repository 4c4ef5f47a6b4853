"""The region store: a detector's regions of every image, as flat memory-mapped arrays.

A store is a folder of shards and ``store.json``. A shard is a block of consecutive images: a header (magic, version,
lengths, checksum of the rest) and eight flat arrays, each aligned to 64 bytes: features, boxes, class probabilities,
mean features, widths, heights, offsets, keys. ``store.json`` is written last, so a folder that has it is complete.
Sizes are checked when a store is opened, contents by :meth:`RegionStore.verify`.

Differs: the original kept pickled dictionaries in LMDB and searched its list of keys at each access.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from twelvefold.schema import ImageKey, Regions, Size, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.region_arrays import check_regions, mean_feature

MANIFEST = "store.json"
SUFFIX = ".regions"
FORMAT, VERSION = "twelvefold regions", 1
_MAGIC = b"12FOLDRG"
_HEADER = struct.Struct("<8s I I Q Q Q Q Q 16s")  # magic, version, the fields of ShardHeader, checksum
_HEADER_BYTES = 128  # reserved for the header
_ALIGNMENT = 64


HEADER_KEYS = {
    "bytes_per_number": "number_bytes",
    "num_images": "pictures",
    "num_regions": "regions",
    "num_categories": "kinds",
}
"""Attribute of ``ShardHeader`` -> key in ``store.json``, whose digest depends on the keys."""


class ShardHeader(msgspec.Struct, frozen=True, rename=HEADER_KEYS):
    """A shard's header.

    ``bytes_per_number``: of the features, 2 (float16) or 4 (float32). ``num_categories``: C, 0 if class probabilities
    are not kept. ``checksum``: xxh3_128 of everything after the header, in hexadecimal.
    """

    bytes_per_number: int
    num_images: int
    num_regions: int
    feature_size: int
    num_categories: int
    key_bytes: int
    checksum: str

    def layout(self) -> list[tuple[int, np.dtype[Any], tuple[int, ...]]]:
        """Return (offset in bytes, dtype, shape) of the eight arrays, in file order."""
        number = np.dtype(np.float16 if self.bytes_per_number == np.dtype(np.float16).itemsize else np.float32)
        arrays: list[tuple[np.dtype[Any], tuple[int, ...]]] = [
            (number, (self.num_regions, self.feature_size)),
            (np.dtype(np.float32), (self.num_regions, 4)),
            (number, (self.num_regions, self.num_categories)),
            (np.dtype(np.float32), (self.num_images, self.feature_size)),
            (np.dtype(np.int32), (self.num_images,)),
            (np.dtype(np.int32), (self.num_images,)),
            (np.dtype(np.int64), (self.num_images + 1,)),
            (np.dtype(np.uint8), (self.key_bytes,)),
        ]
        layout, offset = [], _HEADER_BYTES
        for dtype, shape in arrays:
            layout.append((offset, dtype, shape))
            offset += -(-dtype.itemsize * int(np.prod(shape)) // _ALIGNMENT) * _ALIGNMENT
        return layout

    @property
    def file_bytes(self) -> int:
        """Length of the whole file."""
        offset, dtype, shape = self.layout()[-1]
        return offset + -(-dtype.itemsize * int(np.prod(shape)) // _ALIGNMENT) * _ALIGNMENT

    def to_json(self, file: str) -> dict[str, Any]:
        """Return the shard's entry in ``store.json``."""
        return {"file": file, **msgspec.to_builtins(self)}


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
        parts = [part for array in arrays for part in _aligned(array)]
        checksum = xxhash.xxh3_128()
        for part in parts:
            checksum.update(part)
        sizes = (self._dtype.itemsize, len(images), sum(counts), self._feature_size, self._num_categories, len(keys))
        header = _HEADER.pack(_MAGIC, VERSION, *sizes, checksum.digest())
        with atomic_files.atomic_file(self.path) as file:
            file.write(header.ljust(_HEADER_BYTES, b"\0"))
            for part in parts:
                file.write(part)


def read_shard_header(path: Path) -> ShardHeader:
    """Read a shard's header and check magic, version and file length; fast for a shard of any size.

    Raises:
        TwelvefoldError: the file is not a shard, has another version, or is truncated.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(_HEADER.size)
        size = path.stat().st_size
    except OSError as error:
        raise TwelvefoldError(f"cannot read region shard {path}: {error.strerror}") from error
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        raise TwelvefoldError(f"{path} is not a region shard: it does not begin with {_MAGIC!r}; extract it again")
    _, version, number, images, regions, features, categories, keys, checksum = _HEADER.unpack(data)
    if version != VERSION:
        raise TwelvefoldError(f"{path} is a region shard of version {version}, this program reads {VERSION}")
    header = ShardHeader(number, images, regions, features, categories, keys, checksum.hex())
    if size != header.file_bytes:
        raise TwelvefoldError(
            f"{path} has {size:,} bytes, its header states {header.file_bytes:,}: it was truncated or changed; "
            "remove it and extract again"
        )
    return header


def read_shard(path: Path) -> Iterator[tuple[ImageKey, Regions]]:
    """Yield the images of one shard with their regions, views of the mapped file.

    Raises:
        TwelvefoldError: as :func:`read_shard_header`.
    """
    has_categories = read_shard_header(path).num_categories > 0
    features, boxes, probabilities, _, widths, heights, offsets, keys = _map_arrays(path)
    names = keys.tobytes().decode()
    for row, name in enumerate(names.split("\n") if names else []):
        rows = slice(int(offsets[row]), int(offsets[row + 1]))
        class_probs = probabilities[rows] if has_categories else None
        yield (
            ImageKey.parse(name),
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
    manifest = {
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
    _read_index(folder, manifest)  # an image in two shards is found before the store counts as complete
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
        self._arrays = [_map_arrays(self.folder / shard) for shard in self._shards]
        self._index = _read_index(self.folder, manifest)

    @classmethod
    def open(cls, folder: Path) -> RegionStore:
        """Open a complete store; check its manifest and every shard's magic, version and length.

        Raises:
            TwelvefoldError: the folder is not a store or not complete, or a shard is truncated or was replaced.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).exists():
            raise TwelvefoldError(f"{folder} is not a complete region store: it has no {MANIFEST}; extract it (again)")
        manifest = atomic_files.read_manifest(folder / MANIFEST, FORMAT, VERSION, remedy="extract the store again")
        if manifest.get("digest") != _digest(manifest):
            raise TwelvefoldError(f"{folder / MANIFEST} was changed after it was written; extract the store again")
        for shard in manifest["shards"]:
            if read_shard_header(folder / shard["file"]).to_json(shard["file"]) != shard:
                raise TwelvefoldError(f"{folder / shard['file']} is not the shard that {MANIFEST} lists")
        return cls(folder, manifest)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def keys(self) -> list[ImageKey]:
        """Return the keys of all images, in the order of extraction."""
        return list(self._index)

    def __getitem__(self, key: ImageKey) -> Regions:
        """Return one image's regions as views of the mapped file; copy before changing them.

        Raises:
            TwelvefoldError: the store does not have that image.
        """
        shard, row = self._locate(key)
        features, boxes, probabilities, _, widths, heights, offsets, _ = self._arrays[shard]
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
        if key not in self._index:
            return None
        shard, row = self._index[key]
        return int(self._arrays[shard][4][row]), int(self._arrays[shard][5][row])

    def mean(self, key: ImageKey) -> NDArray[np.float32]:
        """Return (D,) float32: the stored mean of the image's features; zeros if it has no regions."""
        shard, row = self._locate(key)
        mean: NDArray[np.float32] = self._arrays[shard][3][row]
        return mean

    def verify(self) -> list[str]:
        """Read every shard and compare checksums; return the names of shard files that differ."""
        paths = [self.folder / name for name in self._shards]
        return [p.name for p in paths if atomic_files.digest_file(p, _HEADER_BYTES) != read_shard_header(p).checksum]

    def _locate(self, key: ImageKey) -> tuple[int, int]:
        location = self._index.get(key)
        if location is None:
            raise TwelvefoldError(f"region store {self.folder} has no image {key}; extract its image folder too")
        return location


def _aligned(parts: Sequence[NDArray[Any]]) -> list[memoryview]:
    """Return the bytes of an array given in parts, followed by zeros up to the alignment."""
    flat = [part.reshape(-1).view(np.uint8).data for part in parts]
    return [*flat, memoryview(b"\0" * (-sum(map(len, flat)) % _ALIGNMENT))]


def _map_arrays(path: Path) -> list[NDArray[Any]]:
    """Map a shard and return its eight arrays (plain arrays: indexing a memmap is seven times slower)."""
    raw = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    arrays = []
    for offset, dtype, shape in read_shard_header(path).layout():
        arrays.append(raw[offset : offset + dtype.itemsize * int(np.prod(shape))].view(dtype).reshape(shape))
    return arrays


def _read_index(folder: Path, manifest: Mapping[str, Any]) -> dict[ImageKey, tuple[int, int]]:
    """Return (shard, row) of every image."""
    index: dict[ImageKey, tuple[int, int]] = {}
    for number, shard in enumerate(manifest["shards"]):
        names = _map_arrays(folder / shard["file"])[-1].tobytes().decode()
        for row, name in enumerate(names.split("\n") if names else []):
            key = ImageKey.parse(name)
            if key in index:
                other = manifest["shards"][index[key][0]]["file"]
                raise TwelvefoldError(
                    f"{folder}: image {key} is in {other} and in {shard['file']}; a store holds an image once"
                )
            index[key] = (number, row)
    return index


def _digest(manifest: Mapping[str, Any]) -> str:
    return atomic_files.digest_value({name: value for name, value in manifest.items() if name != "digest"})
