"""Select the examples of a split that are used, and count why the others are not. Paper: section 2.2."""

from __future__ import annotations

from collections.abc import Container, Iterable

import numpy as np
from numpy.typing import NDArray

from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.splits.split_source import IdAndImages
from twelvefold.store.prepared import ExampleCounts

VERSION = 2
"""Version of what this module computes. Increase it when a change gives other results: files made from it are then
made again."""


def select_rows(
    rows: Iterable[IdAndImages],
    removed_ids: Container[str] = (),
    *,
    images_with_features: Container[ImageKey] | None = None,
    allow_missing_features: bool = False,
    other_sizes: Container[ImageKey] = (),
    limit: int = 0,
    split_name: str = "",
) -> tuple[NDArray[np.int32], ExampleCounts]:
    """Return the row numbers of the examples that are used: (n,) int32, ascending; and counts.

    Every other example is counted under the first reason that applies.

    Args:
        rows: All examples of a split.
        removed_ids: Ids of the examples that cleaning removes.
        images_with_features: None skips this check.
        allow_missing_features: Leave out examples with an image without features instead of raising.
        other_sizes: Images that do not have the size that boxes were drawn on; their examples are left out.
        limit: Keep at most this many examples; 0 keeps all.
        split_name: Names the split in an error.

    Raises:
        TwelvefoldError: examples have an image without features and that is not allowed.
    """
    read, removed, other_size, beyond_limit = 0, 0, 0, 0
    selected, missing_features = list[int](), list[tuple[str, ImageKey]]()
    for row, (id_, images) in enumerate(rows):
        read += 1
        if id_ in removed_ids:
            removed += 1
        elif images_with_features is not None and (
            missing := [image for image in images if image not in images_with_features]
        ):
            missing_features.append((id_, missing[0]))
        elif any(image in other_sizes for image in images):
            other_size += 1
        elif limit and len(selected) >= limit:
            beyond_limit += 1
        else:
            selected.append(row)
    if missing_features and not allow_missing_features:
        first_three = ", ".join(f"{id_!r} ({key})" for id_, key in missing_features[:3])
        raise TwelvefoldError(
            f"{split_name}: {len(missing_features):,} of {read:,} examples have an image without "
            f"regions; the first are {first_three}. Extract those images, or leave such examples out with "
            f"--without-regions"
        )
    counts = ExampleCounts(
        read=read,
        removed=removed,
        without_regions=len(missing_features),
        other_size=other_size,
        beyond_limit=beyond_limit,
        kept=len(selected),
    )
    return np.array(selected, dtype=np.int32), counts
