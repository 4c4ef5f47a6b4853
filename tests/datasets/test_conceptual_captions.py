"""Conceptual Captions: Google's rows and the original project's lists, dead addresses, malformed rows, keys."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from twelvefold import datasets
from twelvefold.config.recipe import Recipe
from twelvefold.datasets import conceptual_captions as cc
from twelvefold.datasets.reading.records import BadRecordError, BadRecords
from twelvefold.preparation.from_recipe import prepare_recipe
from twelvefold.schema import Example, ImageKey, PositivePair, Regions, TwelvefoldError
from twelvefold.store.prepared import Prepared
from twelvefold.store.region_store import ShardWriter, finish_store

ROWS = [
    ("a very typical bus station ", "http://lh6.ggpht.com/-IvRtNLNcG8o/TpFyrudaT6I/IMG_3155.JPG?imgmax=800"),
    ("sierra looked stunning in this top", "http://78.media.tumblr.com/3b133294bdc7c7784b781c45cef3/tumblr_1280.jpg"),
    ("young confused girl standing in front of a wardrobe", "https://media.gettyimages.com/photos/young-490633"),
]


def write(root: Path, lines: list[str], name: str = "Train_GCC-training.tsv") -> Path:
    folder = root / "conceptual_captions"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes("\n".join([*lines, ""]).encode())
    return folder / name


def rows() -> list[str]:
    return [f"{caption}\t{address}" for caption, address in ROWS]


def read(root: Path, *, skip: bool = False, **options: str) -> tuple[list[Example], list[str]]:
    bad = BadRecords(skip=skip)
    dataset = datasets.load("conceptual_captions")
    return list(dataset.read(root, "train", bad=bad, **options)), [str(refusal) for refusal in bad.listed]


def test_googles_rows_become_captions_keyed_by_the_crc_of_their_address(tmp_path: Path) -> None:
    write(tmp_path, rows())
    found, _ = read(tmp_path)
    assert [e.id for e in found] == ["1", "2", "3"]
    assert [e.pairs[0].text for e in found] == [caption.strip() for caption, _ in ROWS]
    assert found[0].pairs[0].image == ImageKey("conceptual_captions", str(zlib.crc32(ROWS[0][1].encode())))
    assert all(e.label == PositivePair(0) for e in found)
    assert cc.crc32("123456789") == "3421780262"  # the check value that the standard gives, unsigned
    keys = [e.pairs[0].image.id for e in read(tmp_path, key="xxh3")[0]]
    assert [len(key) for key in keys] == [16, 16, 16]
    assert len({*keys}) == 3


def test_both_files_have_their_split_and_test_has_none(tmp_path: Path) -> None:
    write(tmp_path, rows()[:1])
    write(tmp_path, rows(), "Validation_GCC-1.1.0-Validation.tsv")
    dataset = datasets.load("conceptual_captions")
    counts = [len(list(dataset.read(tmp_path, split, bad=BadRecords()))) for split in ("train", "val", "test")]
    assert counts == [1, 3, 0]
    assert dataset.files(tmp_path, "test") == []


def test_the_original_projects_lists_name_their_pictures(tmp_path: Path) -> None:
    path = write(tmp_path, [], "caption_train.json")
    path.write_text(json.dumps({"3421780262": "a dog ", "17": "a cat", " ": "nobody's", "18": 5}))
    found, refused = read(tmp_path, skip=True)
    assert [(e.pairs[0].image.id, e.pairs[0].text) for e in found] == [("3421780262", "a dog"), ("17", "a cat")]
    assert len(refused) == 2
    assert "expected the name of a picture" in refused[0]
    assert "['18']" in refused[1]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a caption alone", "expected a caption, a TAB and an address"),
        ("a caption\t", "expected a caption, a TAB and an address"),
        ("a\tb\thttp://x", "expected a caption, a TAB and an address"),
        ("\thttp://x", "expected a text, got an empty one"),
        ("", "expected a caption, a TAB and an address"),
    ],
)
def test_a_malformed_row_is_named_and_may_be_skipped(tmp_path: Path, line: str, why: str) -> None:
    write(tmp_path, [rows()[0], line, rows()[1]])
    with pytest.raises(BadRecordError, match=f"Train_GCC-training.tsv, line 2: {why}"):
        read(tmp_path)
    found, refused = read(tmp_path, skip=True)
    assert [e.id for e in found] == ["1", "3"]
    assert len(refused) == 1


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    path.write_bytes(path.read_bytes().replace(b"sierra", b"\xff\xfe"))
    with pytest.raises(BadRecordError, match="line 2: expected UTF-8"):
        read(tmp_path)


def test_empty_and_missing_files_and_wrong_options_are_refused(tmp_path: Path) -> None:
    write(tmp_path, []).write_bytes(b"")
    with pytest.raises(TwelvefoldError, match="is empty; expected a caption and an address"):
        read(tmp_path)
    with pytest.raises(TwelvefoldError, match=r"Validation_GCC.* or .*caption_val\.json, but .* holds Train_GCC"):
        datasets.load("conceptual_captions").files(tmp_path, "val")
    with pytest.raises(TwelvefoldError, match="expected key one of crc32, xxh3, got 'md5'"):
        read(tmp_path, key="md5")
    with pytest.raises(TwelvefoldError, match="did you mean 'conceptual_captions'"):
        datasets.load("conceptual_caption")


def test_dead_addresses_are_counted_and_left_out(tmp_path: Path) -> None:
    """By the paper's recipe; nothing is made that pretraining doesn't read."""
    write(tmp_path, rows())
    write(tmp_path, rows(), "Validation_GCC-1.1.0-Validation.tsv")
    with ShardWriter(tmp_path / "regions/detected/a", feature_size=4, kinds=2) as shard:
        for _, address in ROWS[:2]:
            boxes, features = np.array([[0, 0, 9, 9]], dtype=np.float32), np.ones((1, 4), dtype=np.float32)
            shard.add(
                ImageKey("conceptual_captions", cc.crc32(address)), Regions(boxes, features, 10, 10, features[:, :2])
            )
    finish_store(tmp_path / "regions/detected", ["a"], info={}, kinds=("one", "two"))
    summary = prepare_recipe(Recipe.load("paper/pretraining"), tmp_path, tmp_path / "regions", tmp_path / "out")
    counts = summary.counts["conceptual_captions"]
    assert (counts["train"].read, counts["train"].without_regions, counts["train"].kept) == (3, 1, 2)
    prepared = Prepared.open(tmp_path / "out")
    assert prepared.negatives("conceptual_captions") is None
    assert len(prepared.table("conceptual_captions", "test")) == 0
