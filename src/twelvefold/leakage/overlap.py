"""Count the test images and texts of each collection that other collections learn from. Paper: section 2.2, Table 1.

A collection is anything with images: one of the twelve tasks, a dataset of your own, what a network was pretrained on,
or what a detector was trained on. Every image key gets an index; all counting is done on arrays of indices.

Differs: the paper's table counts ids. Here an image counts once, whatever its keys, and every count is split by the
evidence that the keys name the same image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
import xxhash
from numpy.typing import NDArray

from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.leakage.text_overlap import TextDigests, TextOverlapCell, count_text_overlap, normalize_text
from twelvefold.schema import Evidence, ImageKey, SameImageLink, Split

CollectionKind = Literal["task", "own", "pretraining", "detector"]
"""A dataset with a reader, a dataset without one, or what networks were trained on before."""

Indices = NDArray[np.int64]
_EMPTY: Indices = np.empty(0, dtype=np.int64)
TRAINED_SPLITS: Mapping[Split, tuple[Split, ...]] = {"test": ("train", "val"), "val": ("train",)}
"""Splits that must not contain a split's images: Table 1 counts test images in train and val; val images may be in
other val sets."""


@dataclass(frozen=True, slots=True, eq=False)
class SplitContent:
    """One split of a collection. ``images``: its distinct keys. ``text_digests``: (N,) uint64, of its normalized texts.
    ``text_images``: (N,) int64, the index in ``images`` of each text's image. Texts without words are left out."""

    images: list[ImageKey]
    text_digests: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    text_images: Indices = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[ImageKey, str]]) -> SplitContent:
        """Collect images and their texts, in any order. The text may be empty."""
        indices: dict[ImageKey, int] = {}
        digests, text_images = list[int](), list[int]()
        for key, text in pairs:
            index = indices.setdefault(key, len(indices))
            if text and (words := normalize_text(text)):
                digests.append(xxhash.xxh3_64_intdigest(words.encode()))
                text_images.append(index)
        return cls(list(indices), np.array(digests, dtype=np.uint64), np.array(text_images, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Collection:
    """``splits``: the content of each split. Pretraining and detector sets only have ``train``."""

    name: str
    kind: CollectionKind
    splits: Mapping[Split, SplitContent]

    def images(self) -> Iterator[ImageKey]:
        """Yield the images of all splits; an image of several splits is repeated."""
        return (key for content in self.splits.values() for key in content.images)


@dataclass(frozen=True, slots=True)
class OverlapCell:
    """``column`` learns from ``count`` of the ``total`` distinct images of ``row``'s split. ``by_evidence``: how many
    of them are known by that evidence and by no more certain one. Equal keys count as ``ids``."""

    row: str
    column: str
    split: Split
    count: int
    total: int
    percent: float
    by_evidence: dict[Evidence, int]


class SharedImage(NamedTuple):
    """An image in two collections: its key in the row, its key in the column, and the most certain evidence."""

    key: ImageKey
    other: ImageKey
    evidence: Evidence


class Overlap:
    """Counts the images that collections share. Rows and columns are in the order of the collections. A collection is
    a row where it has the split in question, and a column where it has splits to learn from; it is compared with itself
    too."""

    def __init__(self, collections: Sequence[Collection], links: Iterable[SameImageLink]) -> None:
        """``collections``: with distinct names. ``links``: from ``duplicates.evidence.collect_evidence``."""
        self._collections = {collection.name: collection for collection in collections}
        index: dict[ImageKey, int] = {}
        self._indices: dict[tuple[str, Split], Indices] = {}
        for collection in collections:
            for split, content in collection.splits.items():
                indices = [index.setdefault(key, len(index)) for key in content.images]
                self._indices[collection.name, split] = np.array(indices, dtype=np.int64)
        self._keys = list(index)
        self._levels = _evidence_levels(self._keys, list(links))
        self._group = list(self._levels.values())[-1].groups

    @property
    def num_images(self) -> int:
        """The number of distinct images of all collections."""
        return self._num_groups(np.arange(len(self._keys)))

    def num_images_in(self, name: str, split: Split) -> int:
        """Return the number of distinct images in a split of a collection."""
        return self._num_groups(self._key_indices(name, [split]))

    @cached_property
    def tests(self) -> list[OverlapCell]:
        """Test sets in train and val sets: Table 1."""
        return self._cells("test")

    @cached_property
    def vals(self) -> list[OverlapCell]:
        """Val sets in train sets."""
        return self._cells("val")

    @cached_property
    def texts(self) -> list[TextOverlapCell]:
        """Test texts among the texts of train and val sets."""
        test_texts = {name: self._text_digests(name, ["test"]) for name in self._collections}
        train_texts = {
            name: self._with_similar(self._text_digests(name, TRAINED_SPLITS["test"])) for name in self._collections
        }
        return count_text_overlap(test_texts, train_texts)

    def shared_images(
        self, row: str, column: str, split: Split = "test", *, limit: int | None = None
    ) -> list[SharedImage]:
        """Return every image that :attr:`tests` (or :attr:`vals`) counts in that cell, the most certain evidence first,
        and at most ``limit`` of them."""
        row_keys = self._key_indices(row, [split])
        column_keys = self._key_indices(column, TRAINED_SPLITS[split])
        match, level = np.full(len(row_keys), -1), np.zeros(len(row_keys), dtype=np.int64)
        for n, each in enumerate(self._levels.values()):
            key_of_group = each.spread(each.groups[column_keys], column_keys)
            level[match < 0] = n
            match = np.where(match < 0, key_of_group[each.groups[row_keys]], match)
        is_same_key = self._mask(column_keys)[row_keys]
        match[is_same_key] = row_keys[is_same_key]  # prefer the same key to another key of the image
        matched = np.flatnonzero(match >= 0)
        matched = matched[np.argsort(level[matched], kind="stable")]
        _, first = np.unique(self._group[row_keys[matched]], return_index=True)
        evidence = list(self._levels)
        return [
            SharedImage(self._keys[row_keys[n]], self._keys[match[n]], evidence[level[n]])
            for n in matched[np.sort(first)[:limit]]
        ]

    def _key_indices(self, name: str, splits: Sequence[Split]) -> Indices:
        """Return the sorted, distinct indices of the keys in these splits of a collection."""
        indices = [self._indices[name, split] for split in splits if (name, split) in self._indices]
        return np.flatnonzero(self._mask(np.concatenate([_EMPTY, *indices])))

    def _mask(self, indices: Indices) -> NDArray[np.bool_]:
        mask = np.zeros(len(self._keys), dtype=bool)
        mask[indices] = True
        return mask

    def _num_groups(self, indices: Indices) -> int:
        """Return the number of distinct images that these keys name."""
        return int(np.count_nonzero(self._mask(self._group[indices])))

    def _text_digests(self, name: str, splits: Sequence[Split]) -> TextDigests:
        contents = {split: content for split, content in self._collections[name].splits.items() if split in splits}
        images = [self._group[self._indices[name, split][content.text_images]] for split, content in contents.items()]
        digests = [np.empty(0, dtype=np.uint64), *(content.text_digests for content in contents.values())]
        return TextDigests(np.concatenate(digests), np.concatenate([_EMPTY, *images]))

    def _with_similar(self, texts: TextDigests) -> TextDigests:
        """Return the texts, and again with each image that is similar to theirs."""
        first, second = list(self._levels.values())[-1].similar.T
        order = np.argsort(texts.images, kind="stable")
        starts, ends = (np.searchsorted(texts.images[order], first, side=side) for side in ("left", "right"))
        rows = [order[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        images = np.repeat(second, ends - starts)
        digests = texts.digests[np.concatenate([_EMPTY, *rows])]
        return TextDigests(np.concatenate([texts.digests, digests]), np.concatenate([texts.images, images]))

    def _cells(self, split: Split) -> list[OverlapCell]:
        rows = {name: keys for name in self._collections if len(keys := self._key_indices(name, [split]))}
        columns = {
            name: keys for name in self._collections if len(keys := self._key_indices(name, TRAINED_SPLITS[split]))
        }
        counts: dict[tuple[str, str], dict[Evidence, int]] = {(row, col): {} for row in rows for col in columns}
        for column, column_keys in columns.items():
            for evidence, level in self._levels.items():
                is_trained = level.spread(level.groups[column_keys], column_keys) >= 0
                for row, row_keys in rows.items():
                    total_so_far = self._num_groups(row_keys[is_trained[level.groups[row_keys]]])
                    counts[row, column][evidence] = total_so_far - sum(counts[row, column].values())
        totals = {row: self._num_groups(row_keys) for row, row_keys in rows.items()}
        cells = []
        for (row, column), by_evidence in counts.items():
            count, total = sum(by_evidence.values()), totals[row]
            cells.append(OverlapCell(row, column, split, count, total, 100.0 * count / total, by_evidence))
        return cells


@dataclass(frozen=True, slots=True, eq=False)
class _EvidenceLevel:
    """What is known by some evidence and all more certain evidence. ``groups``: (N,) the group of every key, by
    equality. ``similar``: (M, 2) pairs of groups that are similar, in both directions."""

    groups: Indices
    similar: Indices

    def spread(self, groups: Indices, values: Indices) -> Indices:
        """Return (N,) the value of each group, or -1: that of the group itself, or else of a group similar to it."""
        own = np.full(len(self.groups), -1)
        own[groups] = values
        spread = own.copy()
        first, second = self.similar[own[self.similar[:, 0]] >= 0].T
        is_new = own[second] < 0
        spread[second[is_new]] = own[first[is_new]]
        return spread


def _evidence_levels(keys: Sequence[ImageKey], links: Sequence[SameImageLink]) -> dict[Evidence, _EvidenceLevel]:
    """Return for each evidence, the most certain first, what is known by it and by more certain evidence. ``ids`` is
    always present, other evidence where it has links."""
    levels: dict[Evidence, _EvidenceLevel] = {}
    order: tuple[Evidence, ...] = get_args(Evidence)
    for n, evidence in enumerate(order):
        if evidence == "ids" or any(link.evidence == evidence for link in links):
            known = ImageGroups(link for link in links if link.evidence in order[: n + 1])
            index: dict[ImageKey, int] = {}
            indices = (index.setdefault(known.group_of(key), len(index)) for key in keys)
            groups = np.fromiter(indices, np.int64, len(keys))
            pairs = [
                (number, index[other])
                for group, number in index.items()
                for other in known.matching_groups(group)[1:]
                if other in index
            ]
            levels[evidence] = _EvidenceLevel(groups, np.array(pairs, dtype=np.int64).reshape(-1, 2))
    return levels
