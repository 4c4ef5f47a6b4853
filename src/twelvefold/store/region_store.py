"""The region store: what a detector saw in every picture, as flat memory-mapped numbers.

A store is a folder of shards and ``store.json``. A shard is one block of consecutive pictures: a header (magic,
version, lengths, checksum of all that follows) and eight flat arrays, each on a 64-byte border: features, boxes,
class probabilities, means, widths, heights, offsets, keys. ``store.json`` is written last, so a folder that has it is
whole. Sizes are checked when a store is opened, contents by :meth:`RegionStore.verify`.

Differs: the original kept pickled dictionaries in LMDB and searched its list of keys anew at each access.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from twelvefold.schema import ImageKey, Regions, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.region_checks import check_regions

MANIFEST = "store.json"
SUFFIX = ".regions"
FORMAT, VERSION = "twelvefold regions", 1
_MAGIC = b"12FOLDRG"
_HEADER = struct.Struct("<8s I I Q Q Q Q Q 16s")  # as in ShardHead, then the checksum
_START = 128  # bytes kept for the header
_ALIGN = 64
_HALF = 2  # bytes of a half float


@dataclass(frozen=True, slots=True)
class ShardHead:
    """A shard's header. ``number_bytes``: 2 where features are half floats, 4 where float32. Counts, not bytes,
    for pictures, regions, feature_size (D) and kinds (C, 0 where probabilities are not kept)."""

    number_bytes: int
    pictures: int
    regions: int
    feature_size: int
    kinds: int
    key_bytes: int
    checksum: str

    def layout(self) -> list[tuple[int, np.dtype[Any], tuple[int, ...]]]:
        """(offset in bytes, dtype, shape) of the eight arrays, in file order."""
        number = np.dtype(np.float16 if self.number_bytes == _HALF else np.float32)
        parts: list[tuple[np.dtype[Any], tuple[int, ...]]] = [
            (number, (self.regions, self.feature_size)),
            (np.dtype(np.float32), (self.regions, 4)),
            (number, (self.regions, self.kinds)),
            (np.dtype(np.float32), (self.pictures, self.feature_size)),
            (np.dtype(np.int32), (self.pictures,)),
            (np.dtype(np.int32), (self.pictures,)),
            (np.dtype(np.int64), (self.pictures + 1,)),
            (np.dtype(np.uint8), (self.key_bytes,)),
        ]
        placed, offset = [], _START
        for dtype, shape in parts:
            placed.append((offset, dtype, shape))
            offset += -(-dtype.itemsize * int(np.prod(shape)) // _ALIGN) * _ALIGN
        return placed

    @property
    def file_bytes(self) -> int:
        """Length of the whole file."""
        offset, dtype, shape = self.layout()[-1]
        return offset + -(-dtype.itemsize * int(np.prod(shape)) // _ALIGN) * _ALIGN


class ShardWriter:
    """Collects the pictures of one block and writes them as one shard, atomically, when the ``with`` block ends.

    Nothing is written when the block ends by an error. The bytes depend on the pictures and their order alone.
    """

    def __init__(self, path: Path, *, feature_size: int, kinds: int = 0, half: bool = True) -> None:
        """``kinds``: width of ``class_probs``, 0 where they are not kept. ``half``: float16 rather than float32."""
        self.path = Path(path)
        self._feature_size = feature_size
        self._kinds = kinds
        self._dtype = np.dtype(np.float16 if half else np.float32)
        self._regions: dict[ImageKey, Regions] = {}

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._write()

    def add(self, key: ImageKey, regions: Regions) -> None:
        """Take one picture's regions; none at all is fine.

        Raises:
            TwelvefoldError: a key twice, a wrong shape, a number that isn't finite (also one too large for half
                floats), a picture without a size.
        """
        if key in self._regions:
            raise TwelvefoldError(f"picture {key} comes twice in {self.path.name}; each belongs once into a store")
        checked = check_regions(key, regions, feature_size=self._feature_size, kinds=self._kinds, dtype=self._dtype)
        self._regions[key] = checked

    def _write(self) -> None:
        pictures = list(self._regions.values())
        counts = [len(picture.boxes_px) for picture in pictures]
        names = "\n".join(str(key) for key in self._regions).encode()
        probabilities = [picture.class_probs for picture in pictures if picture.class_probs is not None]
        arrays: list[list[NDArray[Any]]] = [
            [picture.features for picture in pictures],
            [picture.boxes_px for picture in pictures],
            [*probabilities],
            [mean_feature(picture) for picture in pictures],
            [np.array([picture.width for picture in pictures], dtype=np.int32)],
            [np.array([picture.height for picture in pictures], dtype=np.int32)],
            [np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)],
            [np.frombuffer(names, dtype=np.uint8)],
        ]
        # Written part by part as it lies in memory: a block of published features is 50 MB, and every copy counts.
        parts = [part for array in arrays for part in _aligned(array)]
        checksum = xxhash.xxh3_128()
        for part in parts:
            checksum.update(part)
        numbers = (self._dtype.itemsize, len(pictures), sum(counts), self._feature_size, self._kinds, len(names))
        header = _HEADER.pack(_MAGIC, VERSION, *numbers, checksum.digest())
        with atomic_files.atomic_file(self.path) as file:
            file.write(header.ljust(_START, b"\0"))
            for part in parts:
                file.write(part)


def read_head(path: Path) -> ShardHead:
    """A shard's header, after checking magic, version and the file's length: cheap, whatever the size.

    Raises:
        TwelvefoldError: not a shard, of another version, or cut short.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
        size = path.stat().st_size
    except OSError as error:
        raise TwelvefoldError(f"can't read region shard {path}: {error.strerror}") from error
    if len(head) < _HEADER.size or not head.startswith(_MAGIC):
        raise TwelvefoldError(f"{path} is not a region shard: it doesn't begin with {_MAGIC!r}; extract it again")
    _, version, number_bytes, pictures, regions, feature_size, kinds, key_bytes, checksum = _HEADER.unpack(head)
    if version != VERSION:
        raise TwelvefoldError(f"{path} is a region shard of version {version}, this program reads {VERSION}")
    found = ShardHead(number_bytes, pictures, regions, feature_size, kinds, key_bytes, checksum.hex())
    if size != found.file_bytes:
        raise TwelvefoldError(
            f"{path} has {size:,} bytes, its header promises {found.file_bytes:,}: it was cut short or changed; "
            "remove it and extract again"
        )
    return found


def finish_store(
    folder: Path, shards: Sequence[str], *, info: Mapping[str, Any], kinds: Sequence[str] = ()
) -> RegionStore:
    """Write the manifest over the named shard files (in this order) and open the store.

    ``info`` is kept as it is: the detector's digest, the arithmetic, package versions. ``kinds`` names the columns
    of ``class_probs``, or is empty where they are not kept.

    Raises:
        TwelvefoldError: a shard is missing or broken, shards differ in shape, a picture lies in two of them.
    """
    folder = Path(folder)
    heads = [read_head(folder / name) for name in shards]
    shapes = sorted({(head.number_bytes, head.feature_size, head.kinds) for head in heads})
    if len(shapes) > 1:
        raise TwelvefoldError(
            f"the shards of {folder} differ in (bytes per number, feature size, kinds): {shapes}; "
            "they come from different detectors or settings: extract into an empty folder"
        )
    if shapes and shapes[0][2] != len(kinds):
        raise TwelvefoldError(f"{folder}: {len(kinds)} kinds are named, the shards hold {shapes[0][2]} per region")
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "feature_size": shapes[0][1] if shapes else 0,
        "pictures": sum(head.pictures for head in heads),
        "regions": sum(head.regions for head in heads),
        "kinds": list(kinds),
        "info": dict(info),
        "shards": [{"file": name, **asdict(head)} for name, head in zip(shards, heads, strict=True)],
    }
    manifest["digest"] = _digest(manifest)
    _index(folder, manifest)  # a picture in two shards is found before the store counts as whole
    atomic_files.write_json(folder / MANIFEST, manifest)
    return RegionStore.open(folder)


class RegionStore:
    """Read-only, memory-mapped; a picture in constant time; any number of processes may open one.

    feature_size: D. kinds: names of the columns of ``class_probs``, empty where not kept. info: what
    :func:`finish_store` was told. digest: of the contents, and so of detector, arithmetic and pictures.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.feature_size: int = manifest["feature_size"]
        self.kinds: tuple[str, ...] = tuple(manifest["kinds"])
        self.info: dict[str, Any] = manifest["info"]
        self.digest: str = manifest["digest"]
        self._shards = [shard["file"] for shard in manifest["shards"]]
        self._arrays = [_map(self.folder / shard) for shard in self._shards]
        self._places = _index(self.folder, manifest)

    @classmethod
    def open(cls, folder: Path) -> RegionStore:
        """Open a finished store, checking the manifest and every shard's magic, version and length.

        Raises:
            TwelvefoldError: not a store, not finished, or a shard that is cut short, foreign or exchanged.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).exists():
            raise TwelvefoldError(f"{folder} is no finished region store: it has no {MANIFEST}; extract it (again)")
        manifest = atomic_files.read_manifest(folder / MANIFEST, FORMAT, VERSION, again="extract the store again")
        if manifest.get("digest") != _digest(manifest):
            raise TwelvefoldError(f"{folder / MANIFEST} was changed after it was written; extract the store again")
        for shard in manifest["shards"]:
            if {"file": shard["file"], **asdict(read_head(folder / shard["file"]))} != shard:
                raise TwelvefoldError(f"{folder / shard['file']} is not the shard that {MANIFEST} lists")
        return cls(folder, manifest)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def keys(self) -> list[ImageKey]:
        """All pictures, in the order of extraction."""
        return list(self._places)

    def __getitem__(self, key: ImageKey) -> Regions:
        """One picture's regions as views into the mapped file: copy before changing.

        Raises:
            TwelvefoldError: the store doesn't have that picture.
        """
        shard, row = self._place(key)
        features, boxes, probabilities, _, widths, heights, offsets, _ = self._arrays[shard]
        rows = slice(int(offsets[row]), int(offsets[row + 1]))
        return Regions(
            boxes_px=boxes[rows],
            features=features[rows],
            width=int(widths[row]),
            height=int(heights[row]),
            class_probs=probabilities[rows] if self.kinds else None,
        )

    def mean(self, key: ImageKey) -> NDArray[np.float32]:
        """(D,) float32: the mean of all the picture's features, kept ready; zeros where it has no regions."""
        shard, row = self._place(key)
        mean: NDArray[np.float32] = self._arrays[shard][3][row]
        return mean

    def _place(self, key: ImageKey) -> tuple[int, int]:
        place = self._places.get(key)
        if place is None:
            raise TwelvefoldError(f"region store {self.folder} has no picture {key}; extract its picture folder too")
        return place

    def verify(self) -> list[str]:
        """Read everything and compare checksums: the shard files that differ, by name; empty when all is well."""
        return [
            name for name in self._shards if _checksum(self.folder / name) != read_head(self.folder / name).checksum
        ]


def _aligned(parts: Sequence[NDArray[Any]]) -> list[memoryview]:
    """The bytes of one array that lies in parts, and the zeros up to the next border."""
    flat = [part.reshape(-1).view(np.uint8).data for part in parts]
    return [*flat, memoryview(b"\0" * (-sum(map(len, flat)) % _ALIGN))]


def mean_feature(regions: Regions) -> NDArray[np.float32]:
    """(1, D): the mean feature, of which the IMG row is made (paper: section 3.1), or zeros."""
    if not len(regions.features):
        return np.zeros((1, regions.features.shape[1]), dtype=np.float32)
    mean: NDArray[np.float32] = regions.features.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
    return mean


def _map(path: Path) -> list[NDArray[Any]]:
    """The eight arrays of a shard as plain arrays over one map (indexing a memmap itself is seven times slower)."""
    raw = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    arrays = []
    for offset, dtype, shape in read_head(path).layout():
        arrays.append(raw[offset : offset + dtype.itemsize * int(np.prod(shape))].view(dtype).reshape(shape))
    return arrays


def _index(folder: Path, manifest: Mapping[str, Any]) -> dict[ImageKey, tuple[int, int]]:
    """Key -> (shard, row) of every picture."""
    places: dict[ImageKey, tuple[int, int]] = {}
    for number, shard in enumerate(manifest["shards"]):
        names = _map(folder / shard["file"])[-1].tobytes().decode()
        for row, name in enumerate(names.split("\n") if names else []):
            key = ImageKey.parse(name)
            if key in places:
                other = manifest["shards"][places[key][0]]["file"]
                raise TwelvefoldError(f"{folder}: picture {key} lies in {other} and in {shard['file']}; it may be once")
            places[key] = (number, row)
    return places


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(_START)
        state = xxhash.xxh3_128()
        while chunk := file.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()


def _digest(manifest: Mapping[str, Any]) -> str:
    return atomic_files.digest_value({name: value for name, value in manifest.items() if name != "digest"})
