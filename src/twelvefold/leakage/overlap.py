"""How much of one collection's test pictures, and of its test texts, others learn from. Paper: section 2.2, Table 1.

A collection is anything with pictures: one of the twelve tasks, a dataset of one's own, what a network was pretrained
on, what a detector was trained on. Every picture is numbered once; after that all is counting in arrays.

Differs: the paper's table counts ids. Here a photograph counts once, whatever its names, and every count says by which
evidence the photograph was recognised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
import xxhash
from numpy.typing import NDArray

from twelvefold.duplicates.image_groups import Identity
from twelvefold.leakage.text_overlap import TextCell, Texts, normalise, text_reuse
from twelvefold.schema import Evidence, ImageKey, SameImageLink, Split

Kind = Literal["task", "own", "pretraining", "detector"]
"""One of the twelve or another with a reader, a dataset without one, and what networks had seen before."""

Numbers = NDArray[np.int64]
_NONE: Numbers = np.empty(0, dtype=np.int64)
LEARNT: Mapping[Split, tuple[Split, ...]] = {"test": ("train", "val"), "val": ("train",)}
"""Where a split's pictures must not be: Table 1 counts test pictures in train and val; a val picture may be in val."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One split of a collection. ``images``: its different pictures; ``digests``: (N,) uint64 of its normalised
    texts, and ``pictured``: (N,) int64, which of ``images`` each is about. Texts without words are left out."""

    images: list[ImageKey]
    digests: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    pictured: Numbers = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @classmethod
    def of(cls, pairs: Iterable[tuple[ImageKey, str]]) -> Part:
        """From pictures with their texts, in any order; a picture without a text has an empty one."""
        places: dict[ImageKey, int] = {}
        digests, pictured = list[int](), list[int]()
        for key, text in pairs:
            place = places.setdefault(key, len(places))
            if text and (words := normalise(text)):
                digests.append(xxhash.xxh3_64_intdigest(words.encode()))
                pictured.append(place)
        return cls(list(places), np.array(digests, dtype=np.uint64), np.array(pictured, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Collection:
    """``parts``: by split, those that there are. Pretraining and detector sets have ``train`` alone."""

    name: str
    kind: Kind
    parts: Mapping[Split, Part]


@dataclass(frozen=True, slots=True)
class Cell:
    """``count`` of the ``total`` photographs of ``row``'s split are learnt from by ``column``. ``by_evidence``: how
    many of them are known by that evidence and by no surer one; equal names count as ``ids``."""

    row: str
    column: str
    split: Split
    count: int
    total: int
    percent: float
    by_evidence: dict[Evidence, int]


class Shared(NamedTuple):
    """A photograph that both have: its name in the row, its name in the column, and the surest evidence."""

    key: ImageKey
    other: ImageKey
    evidence: Evidence


class Overlap:
    """Who learns from whose pictures. Rows and columns are in the order of the collections; a collection is a row
    where it has the split, and a column where it has something to learn from, its own included."""

    def __init__(self, collections: Sequence[Collection], joins: Iterable[SameImageLink]) -> None:
        """``collections``: of different names. ``joins``: what ``splits.evidence.gather`` found."""
        self._collections = {each.name: each for each in collections}
        number: dict[ImageKey, int] = {}
        self._numbers: dict[tuple[str, Split], Numbers] = {}
        for each in collections:
            for split, part in each.parts.items():
                own = [number.setdefault(key, len(number)) for key in part.images]
                self._numbers[each.name, split] = np.array(own, dtype=np.int64)
        self._keys = list(number)
        self._levels = _levels(self._keys, list(joins))
        self._photograph = list(self._levels.values())[-1]

    @property
    def photographs(self) -> int:
        """How many all collections have together."""
        return self._count(np.arange(len(self._keys)))

    def distinct(self, name: str, split: Split) -> int:
        """How many photographs a split has."""
        return self._count(self._of(name, [split]))

    @cached_property
    def tests(self) -> list[Cell]:
        """Test sets in train and val sets: Table 1."""
        return self._cells("test")

    @cached_property
    def vals(self) -> list[Cell]:
        """Val sets in train sets."""
        return self._cells("val")

    @cached_property
    def texts(self) -> list[TextCell]:
        """Test texts among the texts of train and val sets."""
        tests = {name: self._texts(name, ["test"]) for name in self._collections}
        return text_reuse(tests, {name: self._texts(name, LEARNT["test"]) for name in self._collections})

    def shared(self, row: str, column: str, split: Split = "test", *, most: int | None = None) -> list[Shared]:
        """Every photograph that :attr:`tests` (or :attr:`vals`) counts in that cell, the surest evidence first, at most
        ``most`` of them."""
        wanted, learnt = self._of(row, [split]), self._of(column, LEARNT[split])
        other, level = np.full(len(wanted), -1), np.zeros(len(wanted), dtype=np.int64)
        for n, labels in enumerate(self._levels.values()):
            known = np.full(len(self._keys), -1)
            known[labels[learnt]] = learnt
            level[other < 0] = n
            other = np.where(other < 0, known[labels[wanted]], other)
        is_same = self._mask(learnt)[wanted]
        other[is_same] = wanted[is_same]  # the very same name says more than another name of the photograph
        found = np.flatnonzero(other >= 0)
        found = found[np.argsort(level[found], kind="stable")]
        _, first = np.unique(self._photograph[wanted[found]], return_index=True)
        kinds = list(self._levels)
        return [
            Shared(self._keys[wanted[n]], self._keys[other[n]], kinds[level[n]]) for n in found[np.sort(first)[:most]]
        ]

    def _of(self, name: str, splits: Sequence[Split]) -> Numbers:
        """The different pictures of these splits of a collection, by number."""
        own = [self._numbers[name, split] for split in splits if (name, split) in self._numbers]
        return np.flatnonzero(self._mask(np.concatenate([_NONE, *own])))

    def _mask(self, numbers: Numbers) -> NDArray[np.bool_]:
        mask = np.zeros(len(self._keys), dtype=bool)
        mask[numbers] = True
        return mask

    def _count(self, keys: Numbers) -> int:
        """How many photographs these keys name."""
        return int(np.count_nonzero(self._mask(self._photograph[keys])))

    def _texts(self, name: str, splits: Sequence[Split]) -> Texts:
        parts = {split: part for split, part in self._collections[name].parts.items() if split in splits}
        photographs = [self._photograph[self._numbers[name, split][part.pictured]] for split, part in parts.items()]
        digests = [np.empty(0, dtype=np.uint64), *(part.digests for part in parts.values())]
        return Texts(np.concatenate(digests), np.concatenate([_NONE, *photographs]))

    def _cells(self, split: Split) -> list[Cell]:
        rows = {name: keys for name in self._collections if len(keys := self._of(name, [split]))}
        columns = {name: keys for name in self._collections if len(keys := self._of(name, LEARNT[split]))}
        counts: dict[tuple[str, str], dict[Evidence, int]] = {(row, col): {} for row in rows for col in columns}
        for column, learnt in columns.items():
            for evidence, labels in self._levels.items():
                is_learnt = self._mask(labels[learnt])
                for row, wanted in rows.items():
                    so_far = self._count(wanted[is_learnt[labels[wanted]]])
                    counts[row, column][evidence] = so_far - sum(counts[row, column].values())
        totals = {row: self._count(wanted) for row, wanted in rows.items()}
        cells = []
        for (row, column), by in counts.items():
            count, total = sum(by.values()), totals[row]
            cells.append(Cell(row, column, split, count, total, 100.0 * count / total, by))
        return cells


def _levels(keys: Sequence[ImageKey], joins: Sequence[SameImageLink]) -> dict[Evidence, Numbers]:
    """By evidence, the surest first: (keys,) the number of the photograph that each key names, if joins by that
    evidence and by surer ones count and no others. ``ids`` is always there, the rest where it joins anything."""
    found: dict[Evidence, Numbers] = {}
    kinds: tuple[Evidence, ...] = get_args(Evidence)
    for n, evidence in enumerate(kinds):
        if evidence == "ids" or any(join.evidence == evidence for join in joins):
            identity = Identity(join for join in joins if join.evidence in kinds[: n + 1])
            number: dict[ImageKey, int] = {}
            numbers = (number.setdefault(identity.photograph(key), len(number)) for key in keys)
            found[evidence] = np.fromiter(numbers, np.int64, len(keys))
    return found
