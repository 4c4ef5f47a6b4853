"""An example table returns every example exactly, in any order, and detects incomplete files."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.data.write_table import write_table
from twelvefold.schema import (
    Candidate,
    ClassName,
    Example,
    ImageKey,
    Pair,
    PositivePair,
    SoftAnswers,
    TargetBox,
    TargetBoxes,
    TwelvefoldError,
)
from twelvefold.store import example_table
from twelvefold.store.example_table import ExampleTable
from twelvefold.store.table_columns import LABELS, NO_LABEL

ANSWERS = ("a", "b")

words = st.text(max_size=12)  # any Unicode but surrogates
answer_texts = st.sampled_from("abc") | words
numbers = st.floats(-1e6, 1e6)
boxes = st.tuples(numbers, numbers, numbers, numbers)
keys = st.builds(ImageKey, st.sampled_from(["coco", "vg"]), st.text("abc123/-", min_size=1, max_size=8))
pairs = st.builds(Pair, keys, words, st.lists(boxes, min_size=3, max_size=5).map(tuple))
labels = st.one_of(
    st.none(),
    st.builds(SoftAnswers, st.dictionaries(answer_texts, st.sampled_from((0.0, 0.3, 1.0)), max_size=4)),
    st.builds(ClassName, words),
    st.builds(PositivePair, st.integers(0, 3)),
    st.builds(TargetBox, boxes),
    st.builds(TargetBoxes, st.lists(boxes, min_size=1, max_size=3).map(tuple)),
    st.builds(Candidate, st.integers(0, 2)),
)
examples = st.builds(
    Example,
    id=words,
    pairs=st.lists(pairs, min_size=1, max_size=3).map(tuple),
    label=labels,
    question_type=words,
    group=words,
    linked=st.lists(words, max_size=3).map(tuple),
    chosen_answer=words,
)


def test_numbers_of_label_types_never_change() -> None:
    """Tables that were written earlier have them; 5 means that a label is withheld."""
    names = [label and label.__name__ for label in LABELS]
    assert names == ["SoftAnswers", "ClassName", "PositivePair", "TargetBox", "Candidate", None, "TargetBoxes"]
    assert NO_LABEL == 5


def character_codes(texts: Sequence[str]) -> list[list[int]]:
    return [[ord(letter) for letter in text] for text in texts]


def count_answered(examples: Sequence[Example]) -> int:
    """Return the number of examples whose label scores one of ``ANSWERS`` above 0."""
    scores = [example.label.scores for example in examples if isinstance(example.label, SoftAnswers)]
    return sum(any(each.get(answer, 0.0) > 0.0 for answer in ANSWERS) for each in scores)


def example(number: int, image: str = "1") -> Example:
    return Example(str(number), (Pair(ImageKey("coco", image), f"text {number}"),), ClassName("yes"))


@settings(max_examples=25, deadline=None)
@given(st.lists(examples, max_size=8, unique_by=lambda e: e.id), st.integers(1, 4))
def test_written_examples_are_returned_in_any_order(written: list[Example], rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(example_table, "BATCH_ROWS", rows)
        path = Path(folder) / "t.arrow"
        assert write_table(path, written, character_codes, digest="d") == len(written)
        table = ExampleTable.open(path)
        assert table.digest == "d"
        assert list(table) == written
        assert [table[i] for i in reversed(range(len(table)))] == written[::-1]
        assert table.ids() == [e.id for e in written]
        for i, original in enumerate(written):
            assert [table.token_ids(i, k).tolist() for k in range(len(original.pairs))] == character_codes(
                [pair.text for pair in original.pairs]
            )
        images, first = table.first_images()
        assert [images[n] for n in first] == [e.pairs[0].image for e in written]
        assert len(set(images)) == len(images)
        assert table.all_images() == {pair.image for e in written for pair in e.pairs}
        assert list(table.ids_and_images()) == [(e.id, tuple(pair.image for pair in e.pairs)) for e in written]
        assert table.answer_counts() == Counter(e.chosen_answer for e in written)
        assert table.count_answered(ANSWERS) == count_answered(written)
        assert table.distinct_token_ids().tolist() == sorted(
            {ord(letter) for e in written for pair in e.pairs for letter in pair.text}
        )


@settings(max_examples=25, deadline=None)
@given(st.lists(examples, min_size=1, max_size=8, unique_by=lambda e: e.id), st.integers(1, 4), st.data())
def test_a_selection_equals_a_table_of_the_selected_examples(
    written: list[Example], batch_rows: int, data: st.DataObject
) -> None:
    rows = sorted(data.draw(st.sets(st.integers(0, len(written) - 1))))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(example_table, "BATCH_ROWS", batch_rows)
        write_table(Path(folder) / "all", written, character_codes, digest="d")
        write_table(Path(folder) / "some", [written[row] for row in rows], character_codes, digest="d")
        selection = ExampleTable.open(Path(folder) / "all").select(np.array(rows, dtype=np.int32))
        expected = ExampleTable.open(Path(folder) / "some")
        assert (len(selection), selection.num_rows) == (len(rows), len(written))
        assert list(selection) == list(expected)
        assert [selection[i] for i in range(len(rows))] == list(expected)
        for i in range(len(rows)):
            assert selection.token_ids(i).tolist() == expected.token_ids(i).tolist()
        assert selection.ids() == expected.ids()
        assert list(selection.ids_and_images()) == list(expected.ids_and_images())
        assert selection.all_images() == expected.all_images()
        assert selection.first_images()[0] == expected.first_images()[0]
        assert selection.first_images()[1].tolist() == expected.first_images()[1].tolist()
        assert selection.answer_counts() == expected.answer_counts()
        assert selection.count_answered(ANSWERS) == count_answered([written[row] for row in rows])
        assert selection.distinct_token_ids().tolist() == expected.distinct_token_ids().tolist()
        with pytest.raises(IndexError):
            selection[len(rows)]


def test_equal_examples_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_table(tmp_path / name, [example(n) for n in range(5)], character_codes, digest="d")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_repeated_ids_are_rejected_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "vqav2-train.arrow"
    with pytest.raises(TwelvefoldError, match="vqav2-train: example id '3' is repeated"):
        write_table(path, [example(3), example(4), example(3)], character_codes, digest="d")
    assert not any(tmp_path.iterdir())


def test_an_invalid_example_is_rejected(tmp_path: Path) -> None:
    box = (0.0, 0.0, 1.0, 1.0)
    bad = Example("7", (Pair(ImageKey("vg", "1"), "which?", (box, box)),), Candidate(2))
    with pytest.raises(TwelvefoldError, match="'7' has candidate 2 of 2 boxes"):
        write_table(tmp_path / "t", [bad], character_codes, digest="d")
    with pytest.raises(TwelvefoldError, match="'8' has no pair"):
        write_table(tmp_path / "t", [Example("8", (), None)], character_codes, digest="d")


def test_a_missing_or_truncated_table_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    with pytest.raises(TwelvefoldError, match=r"no example table .*t\.arrow"):
        ExampleTable.open(path)
    write_table(path, [example(n) for n in range(100)], character_codes, digest="d")
    whole = path.read_bytes()
    for part in (b"", whole[:100], whole[:-1]):
        path.write_bytes(part)
        with pytest.raises(TwelvefoldError, match=r"t\.arrow is not a complete example table"):
            ExampleTable.open(path)


def test_a_table_of_version_1_is_read(tmp_path: Path) -> None:
    written = [example(n) for n in range(5)]
    write_table(tmp_path / "new", written, character_codes, digest="d")
    table = pa.ipc.open_file(tmp_path / "new").read_all().drop_columns(["chosen_answer"])
    table = table.replace_schema_metadata({**table.schema.metadata, b"version": b"1"})
    with pa.ipc.new_file(tmp_path / "old", table.schema) as writer:
        writer.write_table(table)
    old = ExampleTable.open(tmp_path / "old")
    assert (list(old), old.digest) == (written, "d")


def test_an_index_outside_the_table_is_an_error(tmp_path: Path) -> None:
    write_table(tmp_path / "t", [example(0)], character_codes, digest="d")
    table = ExampleTable.open(tmp_path / "t")
    for index in (1, -1):
        with pytest.raises(IndexError, match="has 1 examples"):
            table[index]
    with pytest.raises(IndexError, match="no pair 1"):
        table.token_ids(0, 1)


def test_token_ids_are_views_of_the_mapped_file(tmp_path: Path) -> None:
    write_table(tmp_path / "t", [example(0)], character_codes, digest="d")
    ids = ExampleTable.open(tmp_path / "t").token_ids(0)
    assert ids.dtype == np.int32
    assert not ids.flags.owndata
    assert not ids.flags.writeable
