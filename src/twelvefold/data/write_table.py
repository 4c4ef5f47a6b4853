"""Tokenize examples and write them to a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from twelvefold.schema import Example
from twelvefold.store.example_table import BATCH_ROWS, TableWriter


def write_table(
    path: Path, examples: Iterable[Example], encode: Callable[[Sequence[str]], list[list[int]]], *, digest: str
) -> int:
    """Write ``examples`` in order, atomically, and return their number.

    ``encode`` converts many texts to token ids, without special tokens. ``digest``: of everything that the table is
    made from.

    Raises:
        TwelvefoldError: an id is repeated, an example has no pair, or a ``Candidate`` label has no box.
    """
    stream = iter(examples)
    with TableWriter(path, digest=digest) as writer:
        while block := list(islice(stream, BATCH_ROWS)):
            writer.write(block, encode([pair.text for example in block for pair in example.pairs]))
    return len(writer)
