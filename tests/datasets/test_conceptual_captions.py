"""Conceptual Captions: Google's rows and the original project's lists, missing images, malformed rows, keys."""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from twelvefold import datasets
from twelvefold.config.recipe import Recipe
from twelvefold.datasets import conceptual_captions as cc
from twelvefold.datasets.reading.image_files import image_files
from twelvefold.datasets.reading.records import BadRecordError, BadRecords
from twelvefold.features.unpack_shards import unpack_shards
from twelvefold.preparation.prepare import prepare_recipe
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
    return [f"{caption}\t{url}" for caption, url in ROWS]


def read(root: Path, *, skip: bool = False, **options: str) -> tuple[list[Example], list[str]]:
    bad = BadRecords(skip=skip)
    dataset = datasets.load_dataset("conceptual_captions")
    return list(dataset.read(root, "train", bad=bad, **options)), [str(rejection) for rejection in bad.rejected]


def test_googles_rows_are_keyed_by_the_crc_of_their_url(tmp_path: Path) -> None:
    write(tmp_path, rows())
    examples, _ = read(tmp_path)
    assert [e.id for e in examples] == ["1", "2", "3"]
    assert [e.pairs[0].text for e in examples] == [caption.strip() for caption, _ in ROWS]
    assert examples[0].pairs[0].image == ImageKey("conceptual_captions", str(zlib.crc32(ROWS[0][1].encode())))
    assert all(e.label == PositivePair(0) for e in examples)
    assert cc.crc32("123456789") == "3421780262"  # the check value that the standard gives, unsigned
    keys = [e.pairs[0].image.id for e in read(tmp_path, key="xxh3")[0]]
    assert [len(key) for key in keys] == [16, 16, 16]
    assert len({*keys}) == 3


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("header", "order"),
    [
        ("caption\turl", "{0}\t{1}"),
        ("Caption\tURL", "{0}\t{1}"),
        ("url\ttext", "{1}\t{0}"),
        ("", "{1}\t{0}"),
        ("id\turl\tcaption", "7\t{1}\t{0}"),
    ],
)
def test_a_header_and_the_order_of_the_columns_change_nothing(
    header: str, order: str, bom: str, tmp_path: Path
) -> None:
    write(tmp_path / "plain", rows())
    lines = [*([header] if header else []), *(order.format(caption, url) for caption, url in ROWS)]
    write(tmp_path / "other", [bom + lines[0], *lines[1:]])
    assert read(tmp_path / "other") == read(tmp_path / "plain")


def test_rows_in_another_order_than_the_first_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [rows()[0], "http://a.org/1.jpg\ta dog", rows()[1]])
    examples, rejections = read(tmp_path, skip=True)
    assert [e.id for e in examples] == ["1", "3"]
    assert "line 2: expected a caption, a TAB and a URL" in rejections[0]


def test_a_header_alone_is_an_empty_file(tmp_path: Path) -> None:
    write(tmp_path, ["caption\turl"])
    with pytest.raises(TwelvefoldError, match="is empty"):
        read(tmp_path)


def test_train_and_val_have_a_file_and_test_has_none(tmp_path: Path) -> None:
    write(tmp_path, rows()[:1])
    write(tmp_path, rows(), "Validation_GCC-1.1.0-Validation.tsv")
    dataset = datasets.load_dataset("conceptual_captions")
    counts = [len(list(dataset.read(tmp_path, split, bad=BadRecords()))) for split in ("train", "val", "test")]
    assert counts == [1, 3, 0]
    assert dataset.files(tmp_path, "test") == []


def test_the_original_projects_lists_name_their_images(tmp_path: Path) -> None:
    path = write(tmp_path, [], "caption_train.json")
    path.write_text(json.dumps({"3421780262": "a dog ", "17": "a cat", " ": "nobody's", "18": 5}))
    examples, rejections = read(tmp_path, skip=True)
    assert [(e.pairs[0].image.id, e.pairs[0].text) for e in examples] == [("3421780262", "a dog"), ("17", "a cat")]
    assert len(rejections) == 2
    assert "expected the name of an image" in rejections[0]
    assert "['18']" in rejections[1]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("a caption alone", "expected a caption, a TAB and a URL"),
        ("a caption\t", "expected a caption, a TAB and a URL"),
        ("a\tb\thttp://x", "expected a caption, a TAB and a URL"),
        ("\thttp://x", "expected a text, got an empty one"),
        ("", "expected a caption, a TAB and a URL"),
    ],
)
def test_a_malformed_row_is_rejected_and_can_be_skipped(tmp_path: Path, line: str, error: str) -> None:
    write(tmp_path, [rows()[0], line, rows()[1]])
    with pytest.raises(BadRecordError, match=f"Train_GCC-training.tsv, line 2: {error}"):
        read(tmp_path)
    examples, rejections = read(tmp_path, skip=True)
    assert [e.id for e in examples] == ["1", "3"]
    assert len(rejections) == 1


def test_bytes_that_are_not_utf8_are_rejected(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    path.write_bytes(path.read_bytes().replace(b"sierra", b"\xff\xfe"))
    with pytest.raises(BadRecordError, match="line 2: expected UTF-8"):
        read(tmp_path)


def test_empty_and_missing_files_and_invalid_options_are_rejected(tmp_path: Path) -> None:
    write(tmp_path, []).write_bytes(b"")
    with pytest.raises(TwelvefoldError, match="is empty; expected a caption and a URL"):
        read(tmp_path)
    with pytest.raises(TwelvefoldError, match=r"Validation_GCC.* or .*caption_val\.json, but .* holds Train_GCC"):
        datasets.load_dataset("conceptual_captions").files(tmp_path, "val")
    with pytest.raises(TwelvefoldError, match="expected key one of crc32, xxh3, got 'md5'"):
        read(tmp_path, key="md5")
    with pytest.raises(TwelvefoldError, match="did you mean 'conceptual_captions'"):
        datasets.load_dataset("conceptual_caption")


def test_examples_without_regions_are_counted_and_left_out(tmp_path: Path) -> None:
    """With the paper's recipe; no negatives are written, because pretraining does not read them."""
    write(tmp_path, rows())
    write(tmp_path, rows(), "Validation_GCC-1.1.0-Validation.tsv")
    with ShardWriter(tmp_path / "regions/detected/a", feature_size=4, num_categories=2) as shard:
        for _, url in ROWS[:2]:
            boxes, features = np.array([[0, 0, 9, 9]], dtype=np.float32), np.ones((1, 4), dtype=np.float32)
            shard.add(ImageKey("conceptual_captions", cc.crc32(url)), Regions(boxes, features, 10, 10, features[:, :2]))
    finish_store(tmp_path / "regions/detected", ["a"], info={}, categories=("one", "two"))
    summary = prepare_recipe(Recipe.load("paper/pretraining"), tmp_path, tmp_path / "regions", tmp_path / "out")
    counts = summary.counts["conceptual_captions"]
    assert (counts["train"].read, counts["train"].without_regions, counts["train"].kept) == (3, 1, 2)
    prepared = Prepared.open(tmp_path / "out")
    assert prepared.negatives("conceptual_captions") is None
    assert len(prepared.table("conceptual_captions", "test")) == 0


def write_shards(root: Path, layout: str) -> None:
    """Write img2dataset's output: two shards for training with a sample each that failed in the second, one for val."""
    for split, shard, keys in (("train", "00000", ["000000000", "000000001"]), ("train", "00001", ["000010000"]),
                               ("val", "00000", ["000000000"])):  # fmt: skip
        folder = root / "conceptual_captions" / split
        folder.mkdir(parents=True, exist_ok=True)
        images = [io.BytesIO() for _ in keys]
        for n, stream in enumerate(images):
            Image.new("RGB", (8, 8), (40 * n, len(shard), 9)).save(stream, "JPEG")
        if layout != "parquet":
            with tarfile.open(folder / f"{shard}.tar", "w") as archive:
                for key, stream in zip(keys, images, strict=True):
                    caption = f"a dog {key} ".encode()
                    for suffix, data in (
                        ("jpg", stream.getvalue()),
                        ("json", b'{"caption": "a dog"}'),
                        ("txt", caption),
                    ):
                        info = tarfile.TarInfo(f"{key}.{suffix}")
                        info.size = len(data)
                        archive.addfile(info, io.BytesIO(data))
        if layout != "tar":
            columns: dict[str, list[object]] = {
                "key": [*keys, "000019999"],
                "caption": [*(f"a dog {key} " for key in keys), "a lost cat"],
                "status": [*(["success"] * len(keys)), "failed_to_download"],
            }
            if layout == "parquet":
                columns["jpg"] = [*(stream.getvalue() for stream in images), None]
            parquet.write_table(pa.table(columns), folder / f"{shard}.parquet")


@pytest.mark.parametrize("layout", ["tar", "tar and parquet", "parquet"])
def test_img2datasets_shards_have_captions_and_images(layout: str, tmp_path: Path) -> None:
    write_shards(tmp_path, layout)
    bad = BadRecords()
    train = list(cc.read(tmp_path, "train", bad=bad))
    assert [(e.id, e.pairs[0].text) for e in train] == [
        ("train/00000/000000000", "a dog 000000000"),
        ("train/00000/000000001", "a dog 000000001"),
        ("train/00001/000010000", "a dog 000010000"),
    ]
    assert len(bad.notes()) == (0 if layout == "tar" else 2)
    assert [e.id for e in cc.read(tmp_path, "val", bad=bad)] == ["val/00000/000000000"]
    summary = unpack_shards(tmp_path)
    assert (summary.num_shards, summary.new_images, summary.without_images) == (3, 4, [])
    assert unpack_shards(tmp_path).new_images == 0
    files = image_files(tmp_path)
    assert {e.pairs[0].image for split in ("train", "val") for e in cc.read(tmp_path, split, bad=bad)} == set(files)


def test_damaged_shards_and_samples_are_named(tmp_path: Path) -> None:
    write_shards(tmp_path, "tar")
    folder = tmp_path / "conceptual_captions" / "train"
    with tarfile.open(folder / "00002.tar", "w") as archive:
        info = tarfile.TarInfo("../../evil.jpg")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    bad = BadRecords(skip=True)
    assert len(list(cc.read(tmp_path, "train", bad=bad))) == 3
    assert "expected a caption in .txt or .json next to the image" in str(bad.rejected[0])
    unpack_shards(tmp_path)
    assert (tmp_path / "images/conceptual_captions/train/00002/evil.jpg").exists()
    (folder / "00003.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(TwelvefoldError, match=r"00003\.tar is no tar"):
        list(cc.read(tmp_path, "train", bad=bad))
    (folder / "00003.tar").rename(folder / "00003.parquet")
    with pytest.raises(TwelvefoldError, match="can't be read as Parquet"):
        list(cc.read(tmp_path, "train", bad=bad))
