"""Count which test texts are also training texts: the same caption, question or statement.

A question that occurs twice gives nothing away; a question that occurs twice with the same image gives its answer away.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

_NON_WORD = re.compile(r"[\W_]+")


def normalize_text(text: str) -> str:
    """Return the words of a text: case-folded, without punctuation, with single spaces.

    Composed and full-width forms of a letter are equal (Unicode NFKC).
    """
    return _NON_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


class TextDigests(NamedTuple):
    """``digests``: (N,) uint64, of normalized texts. ``images``: (N,) int64, the index of each text's image."""

    digests: NDArray[np.uint64]
    images: NDArray[np.int64]


class TextOverlapCell(msgspec.Struct, frozen=True, rename={"same_image": "same_picture"}):
    """Of ``total`` test texts of ``row`` (a text counts once with each image), the number that ``column`` learns from:
    ``reused`` with any image, ``same_image`` with the same image."""

    row: str
    column: str
    reused: int
    same_image: int
    total: int


def count_text_overlap(
    test_texts: Mapping[str, TextDigests], train_texts: Mapping[str, TextDigests]
) -> list[TextOverlapCell]:
    """Compare the test texts of every collection with the training texts of every collection, both by collection name.
    Collections without texts are left out."""
    rows = {name: texts for name, texts in test_texts.items() if len(texts.digests)}
    columns = {name: texts for name, texts in train_texts.items() if len(texts.digests)}
    if not rows or not columns:
        return []
    sides = [*rows.values(), *columns.values()]
    text_ids = _to_indices([side.digests for side in sides])
    num_texts = max(int(ids.max()) for ids in text_ids) + 1
    pair_ids = _to_indices([side.images * num_texts + ids for side, ids in zip(sides, text_ids, strict=True)])
    trained = {name: (_mask(text_ids, n), _mask(pair_ids, n)) for n, name in enumerate(columns, len(rows))}
    cells = []
    for n, row in enumerate(rows):
        pairs, first = np.unique(pair_ids[n], return_index=True)
        texts = text_ids[n][first]
        for column, (is_text_trained, is_pair_trained) in trained.items():
            counts = int(is_text_trained[texts].sum()), int(is_pair_trained[pairs].sum())
            cells.append(TextOverlapCell(row, column, *counts, total=len(pairs)))
    return cells


def _to_indices(arrays: Sequence[NDArray[np.uint64]] | Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return the arrays with every value replaced by its index among all distinct values of all arrays."""
    _, indices = np.unique(np.concatenate(arrays), return_inverse=True)
    return np.split(indices, np.cumsum([len(array) for array in arrays])[:-1])


def _mask(arrays: Sequence[NDArray[np.int64]], selected: int) -> NDArray[np.bool_]:
    """Return, for every index that occurs in ``arrays``, whether it occurs in the selected one."""
    mask = np.zeros(max(int(array.max()) for array in arrays) + 1, dtype=bool)
    mask[arrays[selected]] = True
    return mask
