"""What all twelve readers promise, whatever their format."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from twelvefold.datasets import NAMES, load
from twelvefold.datasets.reading.records import BadRecordError, BadRecords
from twelvefold.schema import (
    Candidate,
    ClassName,
    Example,
    FamilyName,
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
class Place:
    """Where the first record of train is: its file, the records in it, and the text in a record."""

    file: str
    records: Callable[[Any], Any]
    named: str
    text: Callable[[Any], tuple[dict[str, Any], str]]
    at: Any = 0


def _key(name: str) -> Callable[[Any], tuple[dict[str, Any], str]]:
    return lambda record: (record, name)


def _raw(record: Any) -> tuple[dict[str, Any], str]:
    return record["sentences"][0], "raw"


def _itself(value: Any) -> Any:
    return value


PLACES = {
    "vqav2": Place(
        "vqav2/v2_OpenEnded_mscoco_train2014_questions.json",
        lambda f: f["questions"],
        "questions[0]",
        _key("question"),
    ),
    "gqa": Place("gqa/train_balanced_questions.json", _itself, "question 02", _key("question"), at="02"),
    "vgqa": Place("vg/question_answers.json", lambda f: f[0]["qas"], "[0].qas[2]", _key("question"), at=2),
    "coco": Place("coco/dataset_coco.json", lambda f: f["images"], "images[0]", _raw),
    "flickr30k": Place("flickr30k/dataset_flickr30k.json", lambda f: f["images"], "images[0]", _raw),
    "refcoco": Place("refcoco/refs(unc).p", _itself, "[0]", _raw),
    "refcoco+": Place("refcoco+/refs(unc).p", _itself, "[0]", _raw),
    "refcocog": Place("refcocog/refs(umd).p", _itself, "[0]", _raw),
    "visual7w": Place(
        "visual7w/dataset_v7w_pointing.json",
        lambda f: f["images"][0]["qa_pairs"],
        "images[0].qa_pairs[0]",
        _key("question"),
    ),
    "guesswhat": Place(
        "guesswhat/guesswhat.train.jsonl.gz", _itself, "line 1", lambda game: (game["qas"][0], "question")
    ),
    "nlvr2": Place("nlvr2/train.json", _itself, "line 1", _key("sentence")),
    "snli_ve": Place("snli_ve/snli_ve_train.jsonl", _itself, "line 1", _key("sentence2")),
}


def read(name: str, root: Path, split: Split, bad: BadRecords | None = None) -> list[Example]:
    options = OPTIONS.get(name, {})
    return list(load(name).read(root, split, bad=BadRecords() if bad is None else bad, **options))


@pytest.mark.parametrize("name", NAMES)
def test_task_is_complete(name: str) -> None:
    task = load(name).TASK
    assert task.name == name
    assert task.family in get_args(FamilyName)
    assert task.title
    assert task.head
    assert task.metric in ("vqa_accuracy", "accuracy", "recall_at_1", "iou_at_0.5")
    assert (task.vocabulary in NAMES) == (task.family == "answers")
    assert bool(task.classes) == (task.family == "verification")
    if task.vocabulary:
        assert hasattr(load(task.vocabulary), "vocabulary")


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_whole(name: str, folder: Any) -> None:
    root = folder.write()
    ids: set[str] = set()
    for split in SPLITS:
        examples = read(name, root, split)
        assert examples
        for example in examples:
            withheld = name == "vqav2" and split == "test"
            assert example.label is None if withheld else isinstance(example.label, LABELS[name])
            assert len(example.pairs) == load(name).TASK.pairs_per_example
            gave_up = name == "guesswhat" and example.question_type == "incomplete"
            assert all(bool(pair.text) != gave_up and pair.text == pair.text.strip() for pair in example.pairs)
            if isinstance(example.label, Candidate):
                assert 0 <= example.label.index < len(example.pairs[0].candidates_px)
        new = {example.id for example in examples}
        assert len(new) == len(examples)
        assert not new & ids
        ids |= new


@pytest.mark.parametrize("name", NAMES)
def test_reading_twice_gives_the_same(name: str, folder: Any) -> None:
    root = folder.write()
    for split in SPLITS:
        assert read(name, root, split) == read(name, root, split)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named_with_what_is_there(name: str, folder: Any) -> None:
    root = folder.write()
    for split in SPLITS:
        for path in load(name).files(root, split, **OPTIONS.get(name, {})):
            assert path.is_file()
            kept = path.rename(path.with_suffix(".elsewhere"))
            with pytest.raises(TwelvefoldError) as error:
                read(name, root, split)
            assert path.name in str(error.value)
            assert kept.name in str(error.value)
            kept.rename(path)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("nlvr2", "snli_ve")])  # see below
def test_a_truncated_file_is_named_even_when_records_may_be_skipped(name: str, folder: Any) -> None:
    path = folder.write() / PLACES[name].file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TwelvefoldError, match=r"truncated") as error:
        read(name, folder.root, "train", BadRecords(skip=True))
    assert path.name in str(error.value)


@pytest.mark.parametrize("name", ["nlvr2", "snli_ve"])
def test_of_plain_lines_cut_short_the_last_is_a_bad_record(name: str, folder: Any) -> None:
    path = folder.write() / PLACES[name].file
    lines = len(path.read_bytes().splitlines())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadRecordError, match=f"line {lines}"):
        read(name, folder.root, "train")


@pytest.mark.parametrize("name", NAMES)
def test_a_malformed_record_is_named_or_skipped_and_counted(name: str, folder: Any) -> None:
    place = PLACES[name]
    whole = read(name, folder.write(), "train")
    place.records(folder.files[place.file])[place.at] = {"nonsense": 1}
    _refused(name, folder, place.named)
    left = read(name, folder.root, "train", BadRecords(skip=True))
    # Where a fold is cut off the end of a sorted list, one record less moves the cut by one.
    assert len(left) < len(whole)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_text_is_a_bad_record(name: str, folder: Any) -> None:
    place = PLACES[name]
    record, key = place.text(place.records(folder.files[place.file])[place.at])
    record[key] = "  "
    _refused(name, folder, place.named)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gqa"])  # an object's keys are unique
def test_a_repeated_id_is_a_bad_record(name: str, folder: Any) -> None:
    place = PLACES[name]
    records = place.records(folder.files[place.file])
    records.append(copy.deepcopy(records[place.at]))
    folder.write()
    with pytest.raises(BadRecordError, match="expected an id that is new") as error:
        read(name, folder.root, "train")
    assert place.file in str(error.value)


def _refused(name: str, folder: Any, record: str) -> None:
    folder.write()
    with pytest.raises(BadRecordError) as error:
        read(name, folder.root, "train")
    assert str(error.value).startswith(f"{name}: {folder.root / PLACES[name].file}, {record}")
    assert "--skip-bad" in str(error.value)
    bad = BadRecords(skip=True)
    read(name, folder.root, "train", bad)
    assert len(bad.listed) >= 1
    assert set(bad.counts) == {(name, Path(PLACES[name].file).name)}
