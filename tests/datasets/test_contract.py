"""The contract of all built-in readers, whatever their format."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, get_args

import pytest

from twelvefold.datasets import load_dataset, task_names
from twelvefold.datasets.reading.records import BadRecordError, BadRecords
from twelvefold.families import family_names, load_family
from twelvefold.schema import Candidate, Example, Split, TwelvefoldError

from .conftest import load_sample

SPLITS: tuple[Split, ...] = get_args(Split)


def read(name: str, root: Path, split: Split, bad: BadRecords | None = None) -> list[Example]:
    options = load_sample(name).options
    return list(load_dataset(name).read(root, split, bad=BadRecords() if bad is None else bad, **options))


@pytest.mark.parametrize("name", task_names())
def test_task_spec_is_complete(name: str) -> None:
    task = load_dataset(name).TASK
    assert task.name == name
    assert task.family in family_names()
    assert task.title
    assert task.head
    assert task.metric
    num_sources = (task.vocabulary in task_names()) + bool(task.classes)
    assert num_sources == (load_family(task.family).head_kind == "classifier"), "outputs: an answer list or classes"


@pytest.mark.parametrize("name", task_names())
def test_examples_are_complete(name: str, folder: Any) -> None:
    root, sample = folder.write(), load_sample(name)
    ids: set[str] = set()
    for split in SPLITS:
        examples = read(name, root, split)
        assert examples
        for example in examples:
            is_unlabeled = split in sample.unlabeled_splits
            assert example.label is None if is_unlabeled else isinstance(example.label, sample.label)
            assert len(example.pairs) == load_dataset(name).TASK.pairs_per_example
            assert all(pair.text == pair.text.strip() for pair in example.pairs)
            assert sample.has_empty_texts or all(pair.text for pair in example.pairs)
            if isinstance(example.label, Candidate):
                assert 0 <= example.label.index < len(example.pairs[0].candidates_px)
        new = {example.id for example in examples}
        assert len(new) == len(examples)
        assert not new & ids
        ids |= new


@pytest.mark.parametrize("name", task_names())
def test_reading_twice_gives_the_same_examples(name: str, folder: Any) -> None:
    root = folder.write()
    for split in SPLITS:
        assert read(name, root, split) == read(name, root, split)


@pytest.mark.parametrize("name", task_names())
def test_the_error_for_a_missing_file_lists_the_folder(name: str, folder: Any) -> None:
    root = folder.write()
    for split in SPLITS:
        paths = load_dataset(name).files(root, split, **load_sample(name).options)
        assert paths
        for path in paths:
            assert path.is_file()
            kept = path.rename(path.with_suffix(".elsewhere"))
            with pytest.raises(TwelvefoldError) as error:
                read(name, root, split)
            assert path.name in str(error.value)
            assert kept.name in str(error.value)
            kept.rename(path)


@pytest.mark.parametrize("name", [name for name in task_names() if not load_sample(name).has_lines])
def test_a_truncated_file_is_an_error_even_if_records_may_be_skipped(name: str, folder: Any) -> None:
    path = folder.write() / load_sample(name).first.file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TwelvefoldError, match=r"truncated") as error:
        read(name, folder.root, "train", BadRecords(skip=True))
    assert path.name in str(error.value)


@pytest.mark.parametrize("name", [name for name in task_names() if load_sample(name).has_lines])
def test_the_last_of_truncated_plain_lines_is_a_bad_record(name: str, folder: Any) -> None:
    path = folder.write() / load_sample(name).first.file
    lines = len(path.read_bytes().splitlines())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadRecordError, match=f"line {lines}"):
        read(name, folder.root, "train")


@pytest.mark.parametrize("name", task_names())
def test_a_malformed_record_is_rejected_or_skipped_and_counted(name: str, folder: Any) -> None:
    first = load_sample(name).first
    whole = read(name, folder.write(), "train")
    first.records(folder.files[first.file])[first.key] = {"nonsense": 1}
    _check_rejection(name, folder, first.name)
    left = read(name, folder.root, "train", BadRecords(skip=True))
    # For a split held out at the end of a sorted list, one record less moves the cut by one.
    assert len(left) < len(whole)


@pytest.mark.parametrize("name", task_names())
def test_an_empty_text_is_a_bad_record(name: str, folder: Any) -> None:
    first = load_sample(name).first
    record, key = first.text(first.records(folder.files[first.file])[first.key])
    record[key] = "  "
    _check_rejection(name, folder, first.name)


@pytest.mark.parametrize("name", [name for name in task_names() if not load_sample(name).has_unique_keys])
def test_a_repeated_id_is_a_bad_record(name: str, folder: Any) -> None:
    first = load_sample(name).first
    records = first.records(folder.files[first.file])
    records.append(copy.deepcopy(records[first.key]))
    folder.write()
    with pytest.raises(BadRecordError, match="expected an id that is new") as error:
        read(name, folder.root, "train")
    assert first.file in str(error.value)


def _check_rejection(name: str, folder: Any, record: str) -> None:
    folder.write()
    with pytest.raises(BadRecordError) as error:
        read(name, folder.root, "train")
    assert str(error.value).startswith(f"{name}: {folder.root / load_sample(name).first.file}, {record}")
    assert "--skip-bad" in str(error.value)
    bad = BadRecords(skip=True)
    read(name, folder.root, "train", bad)
    assert len(bad.rejected) >= 1
    assert {(rejection.task, rejection.file.name) for rejection in bad.rejected} == {
        (name, Path(load_sample(name).first.file).name)
    }
