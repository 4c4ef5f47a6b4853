"""What stays in a split, and what became of the rest. Paper: section 2.2."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from twelvefold.schema import Example, ImageKey, TwelvefoldError

VERSION = 1
"""Version of what this module computes. Increase it when a change gives other results: files made from it are then
made again."""


@dataclass(slots=True)
class Tally:
    """Counts of a split's examples while they stream past. removed: taken by cleaning. lacking: ids and pictures
    without regions. beyond_limit: more than were asked for."""

    read: int = 0
    removed: int = 0
    lacking: list[tuple[str, ImageKey]] = field(default_factory=list)
    beyond_limit: int = 0
    kept: int = 0


def keep(
    examples: Iterable[Example],
    tally: Tally,
    removed: Container[str] = (),
    *,
    pictures: Container[ImageKey] | None = None,
    may_lack: bool = False,
    limit: int = 0,
    what: str = "",
) -> Iterator[Example]:
    """The examples that stay, in order; every other is counted under the first reason that holds.

    ``removed``: ids that cleaning takes. ``pictures``: those that have regions, None where that doesn't matter yet.
    ``limit``: keep the first so many, 0 for all. ``what`` names the split in an error.

    Raises:
        TwelvefoldError: at the end, if an example's picture has no regions and examples may not lack them.
    """
    for example in examples:
        tally.read += 1
        if example.id in removed:
            tally.removed += 1
        elif pictures is not None and (bare := [p.image for p in example.pairs if p.image not in pictures]):
            tally.lacking.append((example.id, bare[0]))
        elif limit and tally.kept >= limit:
            tally.beyond_limit += 1
        else:
            tally.kept += 1
            yield example
    if tally.lacking and not may_lack:
        shown = ", ".join(f"{id_!r} ({key})" for id_, key in tally.lacking[:3])
        raise TwelvefoldError(
            f"{what}: {len(tally.lacking):,} of {tally.read:,} examples have a picture without regions, the first of "
            f"them {shown}. Extract those pictures, or go on without such examples with --without-regions"
        )
