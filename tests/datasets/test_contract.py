"""The contract of all built-in readers, whatever their format."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from twelvefold.datasets import load_dataset, task_names
from twelvefold.datasets.reading.records import BadRecordError, BadRecords
from twelvefold.families import family_names
from twelvefold.schema import (
    Candidate,
    ClassName,
    Example,
    PositivePair,
    SoftAnswers,
    Split,
    TargetBox,
    TwelvefoldError,
)

OPTIONS: dict[str, dict[str, Any]] = {"vqav2": {"minval": 2}, "gqa": {"minval": 2}, "vgqa": {"tail": 2}}
SPLITS: tuple[Split, ...] = get_args(Split)
LABELS = {
    **dict.fromkeys(("vqav2", "gqa", "vgqa"), SoftAnswers),
    **dict.fromkeys(("coco", "flickr30k"), PositivePair),
    **dict.fromkeys(("refcoco", "refcoco+", "refcocog"), TargetBox),
    **dict.fromkeys(("visual7w", "guesswhat"), Candidate),
    **dict.fromkeys(("nlvr2", "snli_ve"), ClassName),
}


@dataclass
class FirstRecord:
    """The first record of train: its file, the list of records, its name in errors, and the text in a record."""

    file: str
    records: Callable[[Any], Any]
    name: str
    text: Callable[[Any], tuple[dict[str, Any], str]]
    key: Any = 0


def _key(name: str) -> Callable[[Any], tuple[dict[str, Any], str]]:
    return lambda record: (record, name)


def _raw(record: Any) -> tuple[dict[str, Any], str]:
    return record["sentences"][0], "raw"


def _identity(value: Any) -> Any:
    return value


FIRST_RECORDS = {
    "vqav2": FirstRecord(
        "vqav2/v2_OpenEnded_mscoco_train2014_questions.json",
        lambda f: f["questions"],
        "questions[0]",
        _key("question"),
    ),
    "gqa": FirstRecord("gqa/train_balanced_questions.json", _identity, "question 02", _key("question"), key="02"),
    "vgqa": FirstRecord("vg/question_answers.json", lambda f: f[0]["qas"], "[0].qas[2]", _key("question"), key=2),
    "coco": FirstRecord("coco/dataset_coco.json", lambda f: f["images"], "images[0]", _raw),
    "flickr30k": FirstRecord("flickr30k/dataset_flickr30k.json", lambda f: f["images"], "images[0]", _raw),
    "refcoco": FirstRecord("refcoco/refs(unc).p", _identity, "[0]", _raw),
    "refcoco+": FirstRecord("refcoco+/refs(unc).p", _identity, "[0]", _raw),
    "refcocog": FirstRecord("refcocog/refs(umd).p", _identity, "[0]", _raw),
    "visual7w": FirstRecord(
        "visual7w/dataset_v7w_pointing.json",
        lambda f: f["images"][0]["qa_pairs"],
        "images[0].qa_pairs[0]",
        _key("question"),
    ),
    "guesswhat": FirstRecord(
        "guesswhat/guesswhat.train.jsonl.gz", _identity, "line 1", lambda game: (game["qas"][0], "question")
    ),
    "nlvr2": FirstRecord("nlvr2/train.json", _identity, "line 1", _key("sentence")),
    "snli_ve": FirstRecord("snli_ve/snli_ve_train.jsonl", _identity, "line 1", _key("sentence2")),
}


def read(name: str, root: Path, split: Split, bad: BadRecords | None = None) -> list[Example]:
    options = OPTIONS.get(name, {})
    return list(load_dataset(name).read(root, split, bad=BadRecords() if bad is None else bad, **options))


@pytest.mark.parametrize("name", task_names())
def test_task_spec_is_complete(name: str) -> None:
    task = load_dataset(name).TASK
    assert task.name == name
    assert task.family in family_names()
    assert task.title
    assert task.head
    assert task.metric in ("vqa_accuracy", "accuracy", "recall_at_1", "iou_at_0.5")
    assert (task.vocabulary in task_names()) == (task.family == "answers")
    assert bool(task.classes) == (task.family == "verification")


@pytest.mark.parametrize("name", task_names())
def test_examples_are_complete(name: str, folder: Any) -> None:
    root = folder.write()
    ids: set[str] = set()
    for split in SPLITS:
        examples = read(name, root, split)
        assert examples
        for example in examples:
            is_unlabeled = name == "vqav2" and split == "test"
            assert example.label is None if is_unlabeled else isinstance(example.label, LABELS[name])
            assert len(example.pairs) == load_dataset(name).TASK.pairs_per_example
            is_abandoned = name == "guesswhat" and example.question_type == "incomplete"
            assert all(bool(pair.text) != is_abandoned and pair.text == pair.text.strip() for pair in example.pairs)
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
        for path in load_dataset(name).files(root, split, **OPTIONS.get(name, {})):
            assert path.is_file()
            kept = path.rename(path.with_suffix(".elsewhere"))
            with pytest.raises(TwelvefoldError) as error:
                read(name, root, split)
            assert path.name in str(error.value)
            assert kept.name in str(error.value)
            kept.rename(path)


@pytest.mark.parametrize("name", [name for name in task_names() if name not in ("nlvr2", "snli_ve")])  # see below
def test_a_truncated_file_is_an_error_even_if_records_may_be_skipped(name: str, folder: Any) -> None:
    path = folder.write() / FIRST_RECORDS[name].file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TwelvefoldError, match=r"truncated") as error:
        read(name, folder.root, "train", BadRecords(skip=True))
    assert path.name in str(error.value)


@pytest.mark.parametrize("name", ["nlvr2", "snli_ve"])
def test_the_last_of_truncated_plain_lines_is_a_bad_record(name: str, folder: Any) -> None:
    path = folder.write() / FIRST_RECORDS[name].file
    lines = len(path.read_bytes().splitlines())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadRecordError, match=f"line {lines}"):
        read(name, folder.root, "train")


@pytest.mark.parametrize("name", task_names())
def test_a_malformed_record_is_rejected_or_skipped_and_counted(name: str, folder: Any) -> None:
    first = FIRST_RECORDS[name]
    whole = read(name, folder.write(), "train")
    first.records(folder.files[first.file])[first.key] = {"nonsense": 1}
    _check_rejection(name, folder, first.name)
    left = read(name, folder.root, "train", BadRecords(skip=True))
    # For a split held out at the end of a sorted list, one record less moves the cut by one.
    assert len(left) < len(whole)


@pytest.mark.parametrize("name", task_names())
def test_an_empty_text_is_a_bad_record(name: str, folder: Any) -> None:
    first = FIRST_RECORDS[name]
    record, key = first.text(first.records(folder.files[first.file])[first.key])
    record[key] = "  "
    _check_rejection(name, folder, first.name)


@pytest.mark.parametrize("name", [name for name in task_names() if name != "gqa"])  # an object's keys are unique
def test_a_repeated_id_is_a_bad_record(name: str, folder: Any) -> None:
    first = FIRST_RECORDS[name]
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
    assert str(error.value).startswith(f"{name}: {folder.root / FIRST_RECORDS[name].file}, {record}")
    assert "--skip-bad" in str(error.value)
    bad = BadRecords(skip=True)
    read(name, folder.root, "train", bad)
    assert len(bad.rejected) >= 1
    assert set(bad.counts) == {(name, Path(FIRST_RECORDS[name].file).name)}
