"""The numbers of examples are compared with the original project's where the files may be the publishers' full ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twelvefold.datasets import paper_task_names
from twelvefold.datasets.reading.cards import dataset_cards
from twelvefold.preparation.original_counts import compare_with_original
from twelvefold.store.prepared import ExampleCounts

from .conftest import run

CONTROL = {  # training examples before and after cleaning, test examples; the cleaned ones are recalled but for two
    "vqav2": (655_111, 542_104, 447_793),
    "vgqa": (1_440_069, 1_294_255, 5_000),
    "gqa": (1_072_062, 962_928, 12_578),
    "coco": (566_747, 487_600, 5_000),
    "flickr30k": (145_000, 140_485, 5_000),
    "refcoco": (120_624, 96_221, 10_752),
    "refcoco+": (120_191, 95_852, 10_615),
    "refcocog": (80_512, 65_514, 9_602),
    "visual7w": (93_813, 93_813, 57_265),
    "guesswhat": (113_221, 100_398, 23_785),
    "nlvr2": (86_373, 86_373, 6_967),
    "snli_ve": (529_527, 512_396, 17_901),
}


def counts(fraction: float = 1.0) -> dict[str, dict[str, ExampleCounts]]:
    """Return the original's numbers as if they had been read here; VG QA's train there is train and val here."""
    result = {}
    for task, (full, cleaned, test) in CONTROL.items():
        val = 5_000 if task == "vgqa" else 1_000
        read, removed = int(fraction * full) - (val if task == "vgqa" else 0), full - cleaned
        result[task] = {
            "train": ExampleCounts(read=read, removed=removed, kept=7),  # kept depends on regions and limits
            "val": ExampleCounts(read=val),
            "test": ExampleCounts(read=test),
        }
    return result


def test_equal_numbers_have_no_difference(tmp_path: Path) -> None:
    result = compare_with_original(tmp_path, counts(), "paper")
    assert set(CONTROL) == set(paper_task_names())
    assert {row.task: 0 for row in result.rows} == dict.fromkeys(CONTROL, 0)
    assert [row for row in result.rows if row.difference] == []
    assert len(result.rows) == 3 * len(CONTROL)
    assert not result.skipped
    verified = {(row.task, row.split) for row in result.rows if "cleaned" in row.split and not row.recalled}
    assert verified == {("vqav2", "train, cleaned"), ("nlvr2", "train, cleaned")}
    assert [row.task for row in result.rows if row.recalled and "cleaned" not in row.split] == ["vgqa"]


def test_differences_are_shown_and_full_data_have_no_cleaned_numbers(tmp_path: Path) -> None:
    changed = counts()
    changed["vqav2"] = changed["vqav2"] | {"train": ExampleCounts(read=655_000, removed=113_000)}
    rows = {(row.task, row.split): row for row in compare_with_original(tmp_path, changed, "ids").rows}
    assert rows["vqav2", "train"].difference == -111
    assert rows["vqav2", "train, cleaned"].difference == 655_000 - 113_000 - 542_104
    splits = {row.split for row in compare_with_original(tmp_path, changed, "none").rows}
    assert splits == {"train", "train and val", "test"}
    table = compare_with_original(tmp_path, changed, "ids").table()
    assert [column.header for column in table.columns] == ["task", "split", "read", "expected", "difference", ""]
    cells = list(zip(*(column.cells for column in table.columns), strict=True))
    assert ("vqav2", "train", "655,000", "655,111", "-111", "") in cells
    assert ("gqa", "train, cleaned", "962,928", "962,928", "0", "recalled") in cells


@pytest.mark.parametrize("fraction", [0.09, 0.11])
def test_a_sample_of_the_files_is_not_compared(tmp_path: Path, fraction: float) -> None:
    result = compare_with_original(tmp_path, counts(fraction), "paper")
    assert bool(result.rows) is (fraction > 0.1)
    assert (len(result.skipped) == len(CONTROL)) is (fraction < 0.1)


def test_a_drawn_world_and_other_datasets_are_not_compared(data: Path) -> None:
    summary = run(data, None)
    assert not summary.original_counts.rows
    assert not summary.original_counts.skipped
    world = {"parameters": {"images": 9, "seed": 7}, "reader_options": {}}
    (data / "world.json").write_text(json.dumps(world))
    result = compare_with_original(data, counts(), "paper")
    assert not result.rows
    assert "a drawn world" in result.skipped[0]


def test_every_card_states_the_numbers_of_the_original(tmp_path: Path) -> None:
    cards = dataset_cards()
    for task, (full, cleaned, test) in CONTROL.items():
        original = cards[task].original_counts
        assert original is not None
        assert (original.train or cards[task].examples["train"], original.cleaned) == (full, cleaned)
        assert cards[task].examples["test"] == test
