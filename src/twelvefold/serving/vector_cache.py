"""The twin encoder's vectors of an index's images, kept between searches and saved with the index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from twelvefold.model import tensor_files
from twelvefold.schema import ImageKey, Regions, TwelvefoldError

Embed = Callable[[Sequence[Regions]], Tensor]
"""Returns the vectors of images, (M, E) float32."""
PREFIX = "vectors-"


class VectorCache:
    """Vectors of images by key: one matrix for each number of regions that a task reads, as the image streams."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[ImageKey, int]] = {}
        self._vectors: dict[int, Tensor] = {}

    def get(
        self, max_regions: int, keys: Sequence[ImageKey], regions: Mapping[ImageKey, Regions], embed: Embed
    ) -> Tensor:
        """Return the vectors of these images in order, (M, E); ``embed`` computes those that are not known."""
        rows, distinct = self._rows.get(max_regions, {}), dict.fromkeys(keys)
        if list(rows) != list(distinct):
            new = [key for key in distinct if key not in rows]
            parts = [self._vectors[max_regions]] if rows else []
            vectors = torch.cat([*parts, *([embed([regions[key] for key in new])] if new else [])])
            rows = rows | {key: len(rows) + i for i, key in enumerate(new)}
            self._vectors[max_regions] = vectors[torch.tensor([rows[key] for key in distinct])]
            self._rows[max_regions] = rows = {key: i for i, key in enumerate(distinct)}
        vectors = self._vectors[max_regions]
        return vectors if len(rows) == len(keys) else vectors[torch.tensor([rows[key] for key in keys])]

    def save(self, folder: Path, digest: str, keys: Sequence[ImageKey]) -> None:
        """Write the matrices that have all of these images, in this order. ``digest``: of the twin encoder."""
        for max_regions, vectors in self._vectors.items():
            rows = self._rows[max_regions]
            if all(key in rows for key in keys):
                ordered = vectors[torch.tensor([rows[key] for key in keys], dtype=torch.int64)]
                tensor_files.write(folder / f"{PREFIX}{max_regions}.safetensors", {digest: ordered})

    def load(self, folder: Path, digest: str, keys: Sequence[ImageKey]) -> None:
        """Read what :meth:`save` wrote; vectors of another twin encoder are computed again when they are needed.

        Raises:
            TwelvefoldError: a file is damaged.
        """
        for path in folder.glob(f"{PREFIX}*.safetensors"):
            vectors = tensor_files.read_safetensors(path).tensors.get(digest)
            number = path.stem.removeprefix(PREFIX)
            if vectors is None:
                continue
            if not number.isdecimal() or len(vectors) != len(keys):
                raise TwelvefoldError(f"{path} has {len(vectors)} vectors for {len(keys)} images; delete it")
            self._vectors[int(number)] = vectors
            self._rows[int(number)] = {key: i for i, key in enumerate(keys)}
