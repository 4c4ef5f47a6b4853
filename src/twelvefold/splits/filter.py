"""Filter the examples of a split, and count why examples were left out. Paper: section 2.2."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from twelvefold.schema import Example, ImageKey, TwelvefoldError

VERSION = 1
"""Version of what this module computes. Increase it when a change gives other results: files made from it are then
made again."""


@dataclass(slots=True)
class FilterCounts:
    """Counts of a split's examples, complete once they have all been read. ``removed``: by cleaning.
    ``missing_features``: ids of examples with an image without features, and that image. ``beyond_limit``: more than
    the limit allows."""

    read: int = 0
    removed: int = 0
    missing_features: list[tuple[str, ImageKey]] = field(default_factory=list)
    beyond_limit: int = 0
    kept: int = 0


def filter_examples(
    examples: Iterable[Example],
    counts: FilterCounts,
    removed_ids: Container[str] = (),
    *,
    images_with_features: Container[ImageKey] | None = None,
    allow_missing_features: bool = False,
    limit: int = 0,
    split_name: str = "",
) -> Iterator[Example]:
    """Yield the examples that stay, in order. Every other example is counted under the first reason that applies.

    Args:
        examples: All examples of a split.
        counts: Is filled while the examples are read.
        removed_ids: Ids of the examples that cleaning removes.
        images_with_features: None skips this check.
        allow_missing_features: Leave out examples with an image without features instead of raising.
        limit: Keep at most this many examples; 0 keeps all.
        split_name: Names the split in an error.

    Raises:
        TwelvefoldError: at the end, if examples have an image without features and that is not allowed.
    """
    for example in examples:
        counts.read += 1
        if example.id in removed_ids:
            counts.removed += 1
        elif images_with_features is not None and (
            missing := [pair.image for pair in example.pairs if pair.image not in images_with_features]
        ):
            counts.missing_features.append((example.id, missing[0]))
        elif limit and counts.kept >= limit:
            counts.beyond_limit += 1
        else:
            counts.kept += 1
            yield example
    if counts.missing_features and not allow_missing_features:
        first_three = ", ".join(f"{id_!r} ({key})" for id_, key in counts.missing_features[:3])
        raise TwelvefoldError(
            f"{split_name}: {len(counts.missing_features):,} of {counts.read:,} examples have an image without "
            f"regions; the first are {first_three}. Extract those images, or leave such examples out with "
            f"--without-regions"
        )
