"""Example tables: the examples of one task and split, as one memory-mapped Arrow IPC file.

A table is written as a stream of record batches, so memory use is constant, and read at random in microseconds,
directly from Arrow's buffers. It stores the digest of everything that it was made from, so a stale table is recognized.

A table holds all examples that a reader yields. :meth:`ExampleTable.open` takes the row numbers of those that a run
uses, so cleaning and limits change no table.

Differs: the original cached pickled entries under names that did not identify their contents, and reused them without
a check.
"""

from __future__ import annotations

import bisect
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

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
    Size,
    SoftAnswers,
    TargetBox,
    TargetBoxes,
    TwelvefoldError,
)
from twelvefold.store import atomic_files
from twelvefold.store.table_columns import FIELDS, LABELS, NO_LABEL, NO_SIZE, make_columns

VERSION = 3
"""Version of a table's layout; part of every table's digest. Version 1 had no ``chosen_answer``, 2 no sizes."""

BATCH_ROWS = 8192
"""Examples in one record batch: a few megabytes are in memory while writing."""


class TableWriter:
    """Writes a table block by block, atomically: ``with TableWriter(path, digest=...) as writer``.

    ``digest``: of everything that the table is made from (source files, options, versions of the code).
    """

    def __init__(self, path: Path, *, digest: str) -> None:
        metadata = {"format": "twelvefold examples", "version": str(VERSION), "digest": digest}
        self._path, self._schema = path, pa.schema(FIELDS, metadata=metadata)
        self._ids, self._stack = set[str](), ExitStack()

    def __enter__(self) -> Self:
        sink = self._stack.enter_context(atomic_files.atomic_file(self._path))
        self._file = self._stack.enter_context(pa.ipc.new_file(sink, self._schema))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def __len__(self) -> int:
        return len(self._ids)

    def write(self, examples: Sequence[Example], token_ids: list[list[int]]) -> None:
        """Append examples, with the token ids of all their texts in order, without special tokens.

        Raises:
            TwelvefoldError: an id is repeated, an example has no pair, or a ``Candidate`` label has no box.
        """
        for example in examples:
            _check(example, self._ids, self._path)
        self._file.write_batch(pa.RecordBatch.from_arrays(make_columns(examples, token_ids), schema=self._schema))


class ExampleTable:
    """A read-only, memory-mapped table; many processes may open the same one. ``digest``: of what it was made from.

    ``num_rows`` counts all examples of the file; indices, lengths and iteration refer to the selected ones.
    """

    def __init__(
        self, path: Path, batches: list[pa.RecordBatch], digest: str, rows: NDArray[np.int32] | None = None
    ) -> None:
        self.path = path
        self.digest = digest
        self._batches = batches
        self._blocks = [_Block(batch) for batch in batches]
        self._starts: list[int] = [0, *accumulate(batch.num_rows for batch in batches)]
        self._rows = rows
        self.num_rows: int = self._starts[-1]

    @classmethod
    def open(cls, path: Path) -> ExampleTable:
        """Open a table with all of its examples.

        Raises:
            TwelvefoldError: there is no such file, or it is truncated, not a table, or of another version.
        """
        path = Path(path)
        try:
            reader = pa.ipc.open_file(pa.memory_map(os.fsencode(path)))
            batches = [reader.get_batch(n) for n in range(reader.num_record_batches)]
        except FileNotFoundError as error:
            raise TwelvefoldError(f"there is no example table {path}; prepare the data (again)") from error
        except (pa.ArrowInvalid, OSError) as error:
            raise TwelvefoldError(
                f"{path} is not a complete example table ({error}); prepare the data again"
            ) from error
        metadata = reader.schema.metadata or {}
        if metadata.get(b"format") != b"twelvefold examples" or metadata.get(b"version") not in (b"1", b"2", b"3"):
            raise TwelvefoldError(f"{path} is not an example table of version {VERSION}; prepare the data again")
        return cls(path, batches, metadata[b"digest"].decode())

    def select(self, rows: NDArray[np.int32]) -> ExampleTable:
        """Return this table with the examples at ``rows`` only: (n,) int32, ascending row numbers of the file."""
        return ExampleTable(self.path, self._batches, self.digest, np.asarray(rows))

    def __len__(self) -> int:
        return self.num_rows if self._rows is None else len(self._rows)

    def __getitem__(self, index: int) -> Example:
        """Return the example at an index."""
        block, row = self._locate(index)
        return block.example(row)

    def __iter__(self) -> Iterator[Example]:
        return (
            block.example(row) for block, rows in zip(self._blocks, self._block_rows(), strict=True) for row in rows
        )

    def token_ids(self, index: int, pair: int = 0) -> NDArray[np.int32]:
        """Return the token ids of one pair's text, not truncated and without special tokens, as a view."""
        block, row = self._locate(index)
        return block.tokens(row, pair)

    def ids(self) -> list[str]:
        """Return the ids of all examples, in order."""
        return [id_ for batch in self._selected_batches("id") for id_ in batch.column("id").to_pylist()]

    def ids_and_images(self) -> Iterator[tuple[str, tuple[ImageKey, ...]]]:
        """Yield the id and the images of all pairs of each example, in order."""
        for batch in self._selected_batches("id", "pairs"):
            offsets, coded = _coded_images(batch.column("pairs"))
            keys = [_key(name) for name in coded.dictionary.to_pylist()]
            indices = coded.indices.to_pylist()
            for row, id_ in enumerate(batch.column("id").to_pylist()):
                yield id_, tuple([keys[n] for n in indices[offsets[row] : offsets[row + 1]]])

    def stated_sizes(self) -> dict[ImageKey, list[Size]]:
        """Return the sizes that the annotations state, by image; several if they contradict each other."""
        sizes: dict[ImageKey, list[Size]] = {}
        for batch in self._selected_batches("pairs"):
            offsets, coded = _coded_images(batch.column("pairs"))
            pairs = batch.column("pairs").values
            if not _has_sizes(pairs):
                return {}
            columns = [coded.indices, pairs.field("width"), pairs.field("height")]
            rows = np.stack([column.to_numpy()[offsets[0] : offsets[-1]] for column in columns], axis=1)  # (P, 3)
            for code, width, height in np.unique(rows, axis=0).tolist():
                if (width, height) != NO_SIZE:
                    of_image = sizes.setdefault(_key(coded.dictionary[code].as_py()), [])
                    of_image += [(width, height)] if (width, height) not in of_image else []
        return sizes

    def has_boxes(self) -> bool:
        """Return whether examples have candidate boxes or a true box."""
        box_labels = pa.array([LABELS.index(TargetBox), LABELS.index(TargetBoxes)], pa.int8())
        return any(
            len(batch.column("pairs").values.field("candidates").values)
            or pc.any(pc.is_in(batch.column("label"), box_labels)).as_py()
            for batch in self._selected_batches("pairs", "label")
        )

    def is_labeled(self) -> NDArray[np.bool_]:
        """Return whether each example has a label: (N,); False where it is withheld."""
        labels = [batch.column("label").to_numpy() != NO_LABEL for batch in self._selected_batches("label")]
        return np.concatenate([*labels, np.zeros(0, dtype=np.bool_)])

    def answer_counts(self) -> Counter[str]:
        """Return how often each chosen answer occurs."""
        counts = Counter[str]()
        for batch in self._selected_batches("chosen_answer"):
            for pair in pc.value_counts(batch.column("chosen_answer")).to_pylist():
                counts[pair["values"]] += pair["counts"]
        return counts

    def count_answered(self, answers: Collection[str]) -> int:
        """Return the number of examples with one of ``answers`` among those that their label scores above 0."""
        count, wanted = 0, pa.array(list(answers), pa.string())
        for batch in self._selected_batches("names", "numbers", "label"):
            batch = batch.filter(pc.equal(batch.column("label"), LABELS.index(SoftAnswers)))
            is_answer = pc.and_(
                pc.is_in(batch.column("names").flatten(), wanted), pc.greater(batch.column("numbers").flatten(), 0.0)
            )
            sums = np.cumsum([0, *is_answer.to_numpy(zero_copy_only=False)])
            ends = np.cumsum([0, *pc.list_value_length(batch.column("names")).to_numpy(zero_copy_only=False)])
            count += int(np.count_nonzero(np.diff(sums[ends])))
        return count

    def all_images(self) -> set[ImageKey]:
        """Return the images of all pairs."""
        return {
            ImageKey.parse(name)
            for batch in self._selected_batches("pairs")
            for name in _coded_images(batch.column("pairs"))[1].dictionary.to_pylist()
        }

    def image_sources(self) -> set[str]:
        """Return the sources of the images of all pairs."""
        return {
            name.partition("/")[0]
            for batch in self._selected_batches("pairs")
            for name in _coded_images(batch.column("pairs"))[1].dictionary.to_pylist()
        }

    def first_images(self) -> tuple[list[ImageKey], NDArray[np.int32]]:
        """Return the distinct images of first pairs in order of first use, and (N,) int32: their index by example."""
        columns = []
        for batch in self._selected_batches("pairs"):
            pairs = batch.column("pairs")
            firsts = pa.array(_numbers(pairs, 1, np.dtype(np.int32))[: len(pairs)])
            columns.append(pairs.values.field("image").take(firsts))
        coded = pc.dictionary_encode(pa.concat_arrays(columns or [pa.array([], pa.string())]))
        return [ImageKey.parse(name) for name in coded.dictionary.to_pylist()], coded.indices.to_numpy()

    def distinct_token_ids(self) -> NDArray[np.int32]:
        """Return every token id that occurs in the table's texts, in ascending order."""
        batches = self._selected_batches("pairs")
        each = [np.unique(batch.column("pairs").values.field("tokens").values.to_numpy()) for batch in batches]
        return np.unique(np.concatenate([*each, np.empty(0, dtype=np.int32)]))

    def _block_rows(self) -> Iterator[Sequence[int]]:
        """Yield the selected rows of each block."""
        if self._rows is None:
            yield from (range(block.rows) for block in self._blocks)
            return
        bounds = np.searchsorted(self._rows, self._starts)
        for start, first, last in zip(self._starts, bounds, bounds[1:], strict=False):
            yield (self._rows[first:last] - start).tolist()

    def _selected_batches(self, *columns: str) -> Iterator[pa.RecordBatch]:
        """Yield the selected rows of each record batch, with these columns only."""
        for batch, rows in zip(self._batches, self._block_rows(), strict=True):
            part = batch.select(columns)
            yield part if self._rows is None else part.take(pa.array(rows, pa.int64()))

    def _locate(self, index: int) -> tuple[_Block, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} examples, got index {index}")
        index = index if self._rows is None else int(self._rows[index])
        number = bisect.bisect_right(self._starts, index) - 1
        return self._blocks[number], index - self._starts[number]


class _Block:
    """One record batch, read through its offset buffers."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        column = dict(zip(batch.schema.names, batch.columns, strict=True))
        pairs = column["pairs"].values
        self.rows: int = batch.num_rows
        self._id, self._question_type, self._group = (_Strings(column[name]) for name in ("id", "kind", "group"))
        self._linked, self._names = (_StringLists(column[name]) for name in ("linked", "names"))
        self._pairs = _numbers(column["pairs"], 1, np.dtype(np.int32))
        self._image, self._text = _Strings(pairs.field("image")), _Strings(pairs.field("text"))
        self._tokens_at = _numbers(pairs.field("tokens"), 1, np.dtype(np.int32))
        self._tokens: NDArray[np.int32] = pairs.field("tokens").values.to_numpy()
        self._boxes_at = _numbers(pairs.field("candidates"), 1, np.dtype(np.int32))
        self._sizes = [pairs.field(side).to_numpy() for side in ("width", "height") if _has_sizes(pairs)]
        self._boxes = pairs.field("candidates").values.values.to_numpy().reshape(-1, 4)
        self._label = column["label"].to_numpy()
        self._numbers_at = _numbers(column["numbers"], 1, np.dtype(np.int32))
        self._numbers = column["numbers"].values.to_numpy()
        self._chosen_answer = _Strings(column["chosen_answer"]) if "chosen_answer" in column else None

    def example(self, row: int) -> Example:
        return Example(
            id=self._id[row],
            pairs=tuple(self._pair(n) for n in range(self._pairs[row], self._pairs[row + 1])),
            label=self._label_of(row),
            question_type=self._question_type[row],
            group=self._group[row],
            linked=tuple(self._linked[row]),
            chosen_answer=self._chosen_answer[row] if self._chosen_answer is not None else "",
        )

    def tokens(self, row: int, pair: int) -> NDArray[np.int32]:
        n = self._pairs[row] + pair
        if not 0 <= pair < self._pairs[row + 1] - self._pairs[row]:
            raise IndexError(f"example {self._id[row]} has no pair {pair}")
        ids: NDArray[np.int32] = self._tokens[self._tokens_at[n] : self._tokens_at[n + 1]]
        return ids

    def _pair(self, n: int) -> Pair:
        boxes = self._boxes[self._boxes_at[n] : self._boxes_at[n + 1]]
        sides = tuple(int(side[n]) for side in self._sizes)
        size = (sides[0], sides[1]) if any(sides) else None
        return Pair(_key(self._image[n]), self._text[n], tuple(map(tuple, boxes.tolist())), size)

    def _label_of(self, row: int) -> Label | None:
        number = int(self._label[row])
        if number == NO_LABEL:
            return None
        values = self._numbers[self._numbers_at[row] : self._numbers_at[row + 1]].tolist()
        label_type = LABELS[number]
        if label_type is SoftAnswers:
            return SoftAnswers(dict(zip(self._names[row], values, strict=True)))
        if label_type is ClassName:
            return ClassName(self._names[row][0])
        if label_type is TargetBox:
            return TargetBox((values[0], values[1], values[2], values[3]))
        if label_type is TargetBoxes:
            corners = iter(values)
            return TargetBoxes(tuple(zip(corners, corners, corners, corners, strict=True)))
        return PositivePair(int(values[0])) if label_type is PositivePair else Candidate(int(values[0]))


class _Strings:
    """A string column whose elements are decoded one at a time."""

    def __init__(self, column: pa.StringArray) -> None:
        self._at = _numbers(column, 1, np.dtype(np.int32))
        data = column.buffers()[2]
        self._data = memoryview(data if data is not None else b"")

    def __getitem__(self, n: int) -> str:
        return str(self._data[self._at[n] : self._at[n + 1]], "utf-8")


class _StringLists:
    """A column of lists of strings, decoded one list at a time."""

    def __init__(self, column: pa.ListArray) -> None:
        self._at = _numbers(column, 1, np.dtype(np.int32))
        self._strings = _Strings(column.values)

    def __getitem__(self, n: int) -> list[str]:
        return [self._strings[i] for i in range(self._at[n], self._at[n + 1])]


def _numbers(column: pa.Array, buffer: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a column's buffer as numbers, from the column's first element on; a single 0 for an empty column."""
    data = column.buffers()[buffer]
    if data is None or not data.size:
        return np.zeros(1, dtype=dtype)
    numbers: NDArray[Any] = np.frombuffer(data, dtype=dtype)[column.offset : column.offset + len(column) + 1]
    return numbers


def _has_sizes(pairs: pa.StructArray) -> bool:
    """Return whether the table has the sizes that annotations state; tables of versions 1 and 2 do not."""
    return bool(pairs.type.get_field_index("width") >= 0)


def _coded_images(pairs: pa.ListArray) -> tuple[list[int], pa.DictionaryArray]:
    """Return the offset of each example's pairs, and the pairs' image names with each distinct name stored once."""
    offsets = _numbers(pairs, 1, np.dtype(np.int32)).tolist()
    return offsets, pc.dictionary_encode(pairs.values.field("image"))


@lru_cache(maxsize=1 << 16)
def _key(name: str) -> ImageKey:
    return ImageKey.parse(name)


def _check(example: Example, used_ids: set[str], path: Path) -> None:
    if example.id in used_ids:
        raise TwelvefoldError(
            f"{path.stem}: example id {example.id!r} is repeated; ids identify predictions, so they must be unique"
        )
    used_ids.add(example.id)
    if not example.pairs:
        raise TwelvefoldError(f"{path.stem}: example {example.id!r} has no pair of image and text")
    count = len(example.pairs[0].candidates_px)
    if isinstance(example.label, Candidate) and not 0 <= example.label.index < count:
        raise TwelvefoldError(
            f"{path.stem}: example {example.id!r} has candidate {example.label.index} of {count} boxes as its label"
        )
