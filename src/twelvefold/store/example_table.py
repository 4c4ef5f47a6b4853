"""Example tables: the examples of one task and split, as one memory-mapped Arrow IPC file.

Written as a stream of record batches, so that memory stays flat; read at random in microseconds by looking
straight at Arrow's buffers. A table carries the digest of all that it was made from, so that a stale one can't
be taken for a fresh one.

Differs: the original cached pickled entries under names that said little of what they held, and reused them
blindly.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from twelvefold.schema import (
    Candidate,
    ClassName,
    Example,
    ImageKey,
    Label,
    Pair,
    PositivePair,
    SoftAnswers,
    TargetBox,
    TwelvefoldError,
)
from twelvefold.store import atomic_files

VERSION = 1
"""Of this file's layout; part of every table's digest."""

BATCH_ROWS = 8192
"""Examples in one record batch: a few megabytes at a time while writing."""

_LABELS: tuple[type[Label], ...] = (SoftAnswers, ClassName, PositivePair, TargetBox, Candidate)
_WITHHELD = len(_LABELS)

_PAIR = pa.struct(
    [
        ("image", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("candidates", pa.list_(pa.list_(pa.float64(), 4))),
    ]
)
_FIELDS = [
    ("id", pa.string()),
    ("kind", pa.string()),
    ("group", pa.string()),
    ("linked", pa.list_(pa.string())),
    ("pairs", pa.list_(_PAIR)),
    ("label", pa.int8()),
    ("names", pa.list_(pa.string())),
    ("numbers", pa.list_(pa.float64())),
]


def write_table(
    path: Path,
    examples: Iterable[Example],
    token_ids: Callable[[Sequence[str]], list[list[int]]],
    *,
    digest: str,
) -> int:
    """Write ``examples`` in order, atomically, and say how many there were.

    ``token_ids`` gives the ids of many texts, without special pieces. ``digest`` names all that the table is
    made from (source files, options, versions of the code).

    Raises:
        TwelvefoldError: an id comes twice, an example has no pair, a Candidate label points at no box.
    """
    schema = pa.schema(_FIELDS, metadata={"format": "twelvefold examples", "version": str(VERSION), "digest": digest})
    stream, seen = iter(examples), set[str]()
    with atomic_files.atomic_file(path) as sink, pa.ipc.new_file(sink, schema) as writer:
        while block := list(islice(stream, BATCH_ROWS)):
            for example in block:
                _check(example, seen, path)
            ids = token_ids([pair.text for example in block for pair in example.pairs])
            writer.write_batch(pa.RecordBatch.from_arrays(_columns(block, ids), schema=schema))
    return len(seen)


class ExampleTable:
    """Read-only and memory-mapped: any number of processes may open one. ``digest``: what it was made from."""

    def __init__(self, path: Path, batches: list[pa.RecordBatch], digest: str) -> None:
        self.path = path
        self.digest = digest
        self._batches = batches
        self._blocks = [_Block(batch) for batch in batches]
        self._starts: list[int] = [0, *accumulate(batch.num_rows for batch in batches)]

    @classmethod
    def open(cls, path: Path) -> ExampleTable:
        """Open a table.

        Raises:
            TwelvefoldError: there is none, or it was cut short, is foreign or of another version.
        """
        path = Path(path)
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            batches = [reader.get_batch(n) for n in range(reader.num_record_batches)]
        except FileNotFoundError as error:
            raise TwelvefoldError(f"there is no example table {path}; prepare the data (again)") from error
        except (pa.ArrowInvalid, OSError) as error:
            raise TwelvefoldError(f"{path} is no whole example table ({error}); prepare the data again") from error
        about = reader.schema.metadata or {}
        if about.get(b"format") != b"twelvefold examples" or about.get(b"version") != str(VERSION).encode():
            raise TwelvefoldError(f"{path} is not an example table of version {VERSION}; prepare the data again")
        return cls(path, batches, about[b"digest"].decode())

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Example:
        """One example by its place."""
        block, row = self._place(index)
        return block.example(row)

    def __iter__(self) -> Iterator[Example]:
        return (block.example(row) for block in self._blocks for row in range(block.rows))

    def token_ids(self, index: int, pair: int = 0) -> NDArray[np.int32]:
        """The ids of one pair's text, uncut and without special pieces, as a view."""
        block, row = self._place(index)
        return block.tokens(row, pair)

    def ids(self) -> list[str]:
        """The ids of all examples, in order."""
        return [id_ for batch in self._batches for id_ in batch.column("id").to_pylist()]

    def pictures(self) -> set[ImageKey]:
        """Every picture of every pair."""
        names = (pc.unique(batch.column("pairs").values.field("image")).to_pylist() for batch in self._batches)
        return {ImageKey.parse(name) for name in chain.from_iterable(names)}

    def images(self) -> tuple[list[ImageKey], NDArray[np.int32]]:
        """The distinct pictures in the order of their first use, and (N,) int32: which is example n's first."""
        columns = []
        for batch in self._batches:
            pairs = batch.column("pairs")
            firsts = pa.array(_numbers(pairs, 1, np.dtype(np.int32))[: len(pairs)])
            columns.append(pairs.values.field("image").take(firsts))
        coded = pc.dictionary_encode(pa.concat_arrays(columns or [pa.array([], pa.string())]))
        return [ImageKey.parse(name) for name in coded.dictionary.to_pylist()], coded.indices.to_numpy()

    def pieces(self) -> NDArray[np.int32]:
        """Every id of a word piece that occurs in the table's texts, once, ascending."""
        each = [np.unique(block.all_tokens) for block in self._blocks]
        return np.unique(np.concatenate([*each, np.empty(0, dtype=np.int32)]))

    def _place(self, index: int) -> tuple[_Block, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} examples, asked for number {index}")
        number = bisect.bisect_right(self._starts, index) - 1
        return self._blocks[number], index - self._starts[number]


class _Block:
    """One record batch, read through plain offsets."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        column = {name: batch.column(name) for name, _ in _FIELDS}
        pairs = column["pairs"].values
        self.rows: int = batch.num_rows
        self._id, self._kind, self._group = (_Strings(column[name]) for name in ("id", "kind", "group"))
        self._linked, self._names = (_StringLists(column[name]) for name in ("linked", "names"))
        self._pairs = _numbers(column["pairs"], 1, np.dtype(np.int32))
        self._image, self._text = _Strings(pairs.field("image")), _Strings(pairs.field("text"))
        self._tokens_at = _numbers(pairs.field("tokens"), 1, np.dtype(np.int32))
        self.all_tokens: NDArray[np.int32] = pairs.field("tokens").values.to_numpy()
        self._boxes_at = _numbers(pairs.field("candidates"), 1, np.dtype(np.int32))
        self._boxes = pairs.field("candidates").values.values.to_numpy().reshape(-1, 4)
        self._label = column["label"].to_numpy()
        self._numbers_at = _numbers(column["numbers"], 1, np.dtype(np.int32))
        self._numbers = column["numbers"].values.to_numpy()

    def example(self, row: int) -> Example:
        return Example(
            id=self._id[row],
            pairs=tuple(self._pair(n) for n in range(self._pairs[row], self._pairs[row + 1])),
            label=self._label_of(row),
            question_type=self._kind[row],
            group=self._group[row],
            linked=tuple(self._linked[row]),
        )

    def tokens(self, row: int, pair: int) -> NDArray[np.int32]:
        n = self._pairs[row] + pair
        if not 0 <= pair < self._pairs[row + 1] - self._pairs[row]:
            raise IndexError(f"example {self._id[row]} has no pair {pair}")
        ids: NDArray[np.int32] = self.all_tokens[self._tokens_at[n] : self._tokens_at[n + 1]]
        return ids

    def _pair(self, n: int) -> Pair:
        boxes = self._boxes[self._boxes_at[n] : self._boxes_at[n + 1]]
        return Pair(_key(self._image[n]), self._text[n], tuple(map(tuple, boxes.tolist())))

    def _label_of(self, row: int) -> Label | None:
        number = int(self._label[row])
        if number == _WITHHELD:
            return None
        values = self._numbers[self._numbers_at[row] : self._numbers_at[row + 1]].tolist()
        kind = _LABELS[number]
        if kind is SoftAnswers:
            return SoftAnswers(dict(zip(self._names[row], values, strict=True)))
        if kind is ClassName:
            return ClassName(self._names[row][0])
        if kind is TargetBox:
            return TargetBox((values[0], values[1], values[2], values[3]))
        return PositivePair(int(values[0])) if kind is PositivePair else Candidate(int(values[0]))


class _Strings:
    """A string column: element n is two offsets and a decoding."""

    def __init__(self, column: pa.StringArray) -> None:
        self._at = _numbers(column, 1, np.dtype(np.int32))
        data = column.buffers()[2]
        self._data = memoryview(data if data is not None else b"")

    def __getitem__(self, n: int) -> str:
        return str(self._data[self._at[n] : self._at[n + 1]], "utf-8")


class _StringLists:
    """A column of lists of strings."""

    def __init__(self, column: pa.ListArray) -> None:
        self._at = _numbers(column, 1, np.dtype(np.int32))
        self._strings = _Strings(column.values)

    def __getitem__(self, n: int) -> list[str]:
        return [self._strings[i] for i in range(self._at[n], self._at[n + 1])]


def _numbers(column: pa.Array, buffer: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A column's buffer as numbers, from the column's own first element; one offset for an empty column."""
    data = column.buffers()[buffer]
    if data is None or not data.size:
        return np.zeros(1, dtype=dtype)
    numbers: NDArray[Any] = np.frombuffer(data, dtype=dtype)[column.offset : column.offset + len(column) + 1]
    return numbers


@lru_cache(maxsize=1 << 16)
def _key(name: str) -> ImageKey:
    return ImageKey.parse(name)


def _check(example: Example, seen: set[str], path: Path) -> None:
    if example.id in seen:
        raise TwelvefoldError(
            f"{path.stem}: example id {example.id!r} comes twice; ids name predictions, so each may be once"
        )
    seen.add(example.id)
    if not example.pairs:
        raise TwelvefoldError(f"{path.stem}: example {example.id!r} has no image and text")
    count = len(example.pairs[0].candidates_px)
    if isinstance(example.label, Candidate) and not 0 <= example.label.index < count:
        raise TwelvefoldError(
            f"{path.stem}: example {example.id!r} means candidate {example.label.index} of {count} boxes"
        )


def _columns(block: Sequence[Example], token_ids: list[list[int]]) -> list[pa.Array]:
    """The columns of ``_FIELDS``, built flat: several times as fast as one dictionary for each row."""
    pairs = [pair for example in block for pair in example.pairs]
    labels = [_flat(example.label) for example in block]
    kinds = [_WITHHELD if e.label is None else _LABELS.index(type(e.label)) for e in block]
    boxes = np.array([box for pair in pairs for box in pair.candidates_px], dtype=np.float64)
    parts = [
        pa.array([str(pair.image) for pair in pairs], pa.string()),
        pa.array([pair.text for pair in pairs], pa.string()),
        _lists(token_ids, pa.int32()),
        pa.ListArray.from_arrays(
            _offsets([pair.candidates_px for pair in pairs]),
            pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4),
        ),
    ]
    return [
        pa.array([example.id for example in block], pa.string()),
        pa.array([example.question_type for example in block], pa.string()),
        pa.array([example.group for example in block], pa.string()),
        _lists([example.linked for example in block], pa.string()),
        pa.ListArray.from_arrays(
            _offsets([example.pairs for example in block]),
            pa.StructArray.from_arrays(parts, fields=list(_PAIR)),
        ),
        pa.array(kinds, pa.int8()),
        _lists([names for names, _ in labels], pa.string()),
        _lists([numbers for _, numbers in labels], pa.float64()),
    ]


def _lists(rows: Sequence[Sequence[object]], kind: pa.DataType) -> pa.ListArray:
    flat = list(chain.from_iterable(rows))
    return pa.ListArray.from_arrays(_offsets(rows), pa.array(flat, kind))


def _offsets(rows: Sequence[Sequence[object]]) -> pa.Array:
    return pa.array(np.cumsum([0, *map(len, rows)], dtype=np.int32))


def _flat(label: Label | None) -> tuple[list[str], list[float]]:
    match label:
        case None:
            return [], []
        case SoftAnswers(scores):
            return list(scores), [float(score) for score in scores.values()]
        case ClassName(name):
            return [name], []
        case PositivePair(index) | Candidate(index):
            return [], [float(index)]
        case TargetBox(box):
            return [], [float(side) for side in box]
