"""Which test texts others learn from: the same caption, question or statement in a test set and in a train set.

That a question comes twice is nothing; that it comes with the same photograph gives its answer away.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_NO_WORD = re.compile(r"[\W_]+")


def normalise(text: str) -> str:
    """The words of a text and nothing else: no case, no punctuation, one space between words.

    Composed and full-width forms of a letter are one (Unicode NFKC).
    """
    return _NO_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


class Texts(NamedTuple):
    """(N,) uint64 digests of normalised texts, and (N,) int64: the number of the photograph that each is about."""

    digests: NDArray[np.uint64]
    photographs: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TextCell:
    """Of ``total`` texts of ``row``'s test set (a text counts once with each photograph), how many are among those
    that ``column`` learns from: ``reused`` with any picture, ``same_picture`` with the same photograph."""

    row: str
    column: str
    reused: int
    same_picture: int
    total: int


def text_reuse(tests: Mapping[str, Texts], learnt: Mapping[str, Texts]) -> list[TextCell]:
    """Every test set's texts against everything learnt, both by collection; who has no texts is left out."""
    rows = {name: texts for name, texts in tests.items() if len(texts.digests)}
    columns = {name: texts for name, texts in learnt.items() if len(texts.digests)}
    if not rows or not columns:
        return []
    sides = [*rows.values(), *columns.values()]
    text = _numbered([side.digests for side in sides])
    many = max(int(numbers.max()) for numbers in text) + 1
    pair = _numbered([side.photographs * many + numbers for side, numbers in zip(sides, text, strict=True)])
    known = {name: (_mask(text, n), _mask(pair, n)) for n, name in enumerate(columns, len(rows))}
    cells = []
    for n, row in enumerate(rows):
        pairs, first = np.unique(pair[n], return_index=True)
        texts = text[n][first]
        for column, (text_known, pair_known) in known.items():
            found = int(text_known[texts].sum()), int(pair_known[pairs].sum())
            cells.append(TextCell(row, column, *found, total=len(pairs)))
    return cells


def _numbered(parts: Sequence[NDArray[np.uint64]] | Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """The parts with every value replaced by its number among all of them: equal values, equal numbers."""
    _, numbers = np.unique(np.concatenate(parts), return_inverse=True)
    return np.split(numbers, np.cumsum([len(part) for part in parts])[:-1])


def _mask(parts: Sequence[NDArray[np.int64]], which: int) -> NDArray[np.bool_]:
    """For every number of all parts, whether it occurs in one of them."""
    found = np.zeros(max(int(part.max()) for part in parts) + 1, dtype=bool)
    found[parts[which]] = True
    return found
