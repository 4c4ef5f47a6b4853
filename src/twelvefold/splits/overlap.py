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

from twelvefold.schema import Evidence, ImageKey, Join, Split
from twelvefold.splits.identity import Identity
from twelvefold.splits.reuse import TextCell, Texts, normalise, text_reuse

Kind = Literal["task", "own", "pretraining", "detector"]
"""One of the twelve or another with a reader, a dataset without one, and what networks had seen before."""

Numbers = NDArray[np.int64]
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

    def __init__(self, collections: Sequence[Collection], joins: Iterable[Join]) -> None:
        """``collections``: of different names. ``joins``: what ``splits.evidence.gather`` found."""
        self._collections = {each.name: each for each in collections}
        parts = [part for each in collections for part in each.parts.values()]
        number: dict[ImageKey, int] = {}
        for part in parts:
            for key in part.images:
                number.setdefault(key, len(number))
        self._keys = list(number)
        self._numbers = {id(p): np.fromiter(map(number.__getitem__, p.images), np.int64, len(p.images)) for p in parts}
        self._levels = _levels(self._keys, list(joins))
        self._photograph = list(self._levels.values())[-1]

    @property
    def photographs(self) -> int:
        """How many all collections have together."""
        return _count(self._photograph)

    def distinct(self, name: str, split: Split) -> int:
        """How many photographs a split has."""
        return _count(self._photograph[self._of(name, [split])])

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

    def shared(self, row: str, column: str, split: Split = "test") -> list[Shared]:
        """Every photograph that :attr:`tests` (or :attr:`vals`) counts in that cell, by its surest evidence."""
        wanted, learnt = self._of(row, [split]), self._of(column, LEARNT[split])
        found: dict[int, Shared] = {}
        same = set(np.intersect1d(wanted, learnt).tolist())
        for evidence, labels in self._levels.items():
            known = dict(zip(labels[learnt].tolist(), learnt.tolist(), strict=True))
            for key in wanted.tolist():
                photograph, label = int(self._photograph[key]), int(labels[key])
                if label in known and photograph not in found:
                    other = key if key in same else known[label]
                    found[photograph] = Shared(self._keys[key], self._keys[other], evidence)
        return list(found.values())

    def _of(self, name: str, splits: Sequence[Split]) -> Numbers:
        """The different pictures of these splits of a collection, by number."""
        parts = [part for split, part in self._collections[name].parts.items() if split in splits]
        return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(self._numbers[id(part)] for part in parts)]))

    def _texts(self, name: str, splits: Sequence[Split]) -> Texts:
        parts = [part for split, part in self._collections[name].parts.items() if split in splits]
        photographs = [self._photograph[self._numbers[id(part)][part.pictured]] for part in parts]
        digests = [np.empty(0, dtype=np.uint64), *(part.digests for part in parts)]
        return Texts(np.concatenate(digests), np.concatenate([np.empty(0, dtype=np.int64), *photographs]))

    def _cells(self, split: Split) -> list[Cell]:
        rows = {name: keys for name in self._collections if len(keys := self._of(name, [split]))}
        columns = {name: keys for name in self._collections if len(keys := self._of(name, LEARNT[split]))}
        counts: dict[tuple[str, str], dict[Evidence, int]] = {(row, col): {} for row in rows for col in columns}
        for column, learnt in columns.items():
            for evidence, labels in self._levels.items():
                is_learnt = np.zeros(len(self._keys), dtype=bool)
                is_learnt[labels[learnt]] = True
                for row, wanted in rows.items():
                    so_far = _count(self._photograph[wanted[is_learnt[labels[wanted]]]])
                    counts[row, column][evidence] = so_far - sum(counts[row, column].values())
        totals = {row: _count(self._photograph[wanted]) for row, wanted in rows.items()}
        cells = []
        for (row, column), by in counts.items():
            count, total = sum(by.values()), totals[row]
            cells.append(Cell(row, column, split, count, total, 100.0 * count / total, by))
        return cells


def _levels(keys: Sequence[ImageKey], joins: Sequence[Join]) -> dict[Evidence, Numbers]:
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


def _count(numbers: Numbers) -> int:
    return len(np.unique(numbers))
