"""Flickr30k Entities: phrases, boxes, what makes no example, and damaged files, in both layouts."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from twelvefold.datasets import flickr30k_entities as dataset
from twelvefold.datasets.reading.entity_files import parse_entities, parse_phrases
from twelvefold.datasets.reading.records import BadRecordError, BadRecords
from twelvefold.datasets.reading.submissions import OfficialQuestions
from twelvefold.evaluation.predictions import PredictionRecord
from twelvefold.schema import Example, ImageKey, Ranked, TargetBoxes, TwelvefoldError

from .samples.flickr30k_entities import ARCHIVE, FIRST, xml_file, xml_object

IMAGE = "1000092795"
ANNOTATIONS = f"Annotations/{IMAGE}.xml"


def read(root: Path, bad: BadRecords | None = None) -> list[Example]:
    return list(dataset.read(root, "train", bad=BadRecords() if bad is None else bad))


def write(folder: Any, sentences: str | None = None, annotations: str | None = None) -> Path:
    """Write the sample with other files of its training image."""
    folder.files[ARCHIVE][FIRST] = sentences or folder.files[ARCHIVE][FIRST]
    folder.files[ARCHIVE][ANNOTATIONS] = annotations or folder.files[ARCHIVE][ANNOTATIONS]
    root: Path = folder.write()
    return root


def unpack(root: Path) -> None:
    archive = root / ARCHIVE
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(archive.parent)
    archive.unlink()


def test_phrases_with_boxes_are_examples(folder: Any) -> None:
    first, second, third, _ = read(folder.write())
    assert (first.id, first.question_type, first.pairs[0].text) == (f"{IMAGE}-0-0", "people", "Two young guys")
    assert first.pairs[0].image == ImageKey("flickr30k", IMAGE)
    assert first.pairs[0].stated_size == (333, 500)
    # An object with two names belongs to both; 1 is subtracted from every coordinate.
    assert first.label == TargetBoxes(((158, 124, 218, 334), (196, 109, 260, 372)))
    assert (second.id, second.pairs[0].text) == (f"{IMAGE}-0-1", "shaggy hair")
    assert third.id == f"{IMAGE}-1-0"  # of the same entity, in another caption


def test_phrases_without_a_box_are_counted_by_kind(folder: Any) -> None:
    captions = "[/EN#5/other one] [/EN#9/scene two] [/EN#0/notvisual three] [/EN#8/other four] [/EN#1/people five]\n"
    objects = xml_object("5"), xml_object("9", scene=1), xml_object("1", 5, 5, 9, 9)
    bad = BadRecords()
    assert [e.id for e in read(write(folder, captions, xml_file(*objects)), bad)] == [f"{IMAGE}-0-4"]
    notes = {note.partition(": ")[2].partition(": ")[2] for note in bad.notes()}
    where = f"which make no example, such as {FIRST}, line 1, phrase"
    assert notes == {
        f"1 phrases without a box, {where} 0",
        f"1 phrases of a whole scene without a box, {where} 1",
        f"1 phrases that are not visual (id 0), {where} 2",
        f"1 phrases of an entity that the annotations lack, {where} 3",
    }


def test_both_layouts_are_read_alike(folder: Any) -> None:
    root = folder.write()
    packed = read(root)
    unpack(root)
    assert read(root) == packed
    names = [path.relative_to(root / "flickr30k_entities").as_posix() for path in dataset.files(root, "train")]
    assert names == ["train.txt", FIRST, ANNOTATIONS]


def test_line_ends_encodings_and_several_types(folder: Any) -> None:
    captions = "\ufeff[/EN#1/people/animals Zwei M\u00e4nner  mit \u5b57\u2028] .\r\n\r\n[/EN#1/people A man] .\r\n"
    first, second = read(write(folder, captions))
    assert (first.pairs[0].text, first.question_type) == ("Zwei M\u00e4nner mit \u5b57", "people")
    assert second.id == f"{IMAGE}-1-0"
    (folder.root / "flickr30k_entities/train.txt").write_bytes(f"\r\n{IMAGE}.jpg\r\n".encode())
    assert len(read(folder.root)) == 2


@pytest.mark.parametrize("caption", ["[/EN#1/people A man in [/EN#2/bodyparts hair] .", "[/EN#1 A man]", "[/EN#x/a b]"])
def test_a_damaged_mark_is_a_bad_record(caption: str, folder: Any) -> None:
    root = write(folder, f"{caption}\n[/EN#1/people Another] .\n")
    with pytest.raises(BadRecordError, match=rf"{FIRST}, line 1: expected phrases marked as .*--skip-bad"):
        read(root)
    assert [e.id for e in read(root, BadRecords(skip=True))] == [f"{IMAGE}-1-0"]


def test_other_brackets_are_text() -> None:
    assert [phrase.text for phrase in parse_phrases("a [sic] ] [/EN#1/people man] [")] == ["man"]


@pytest.mark.parametrize(
    ("corners", "reason"),
    [((400, 1, 420, 9), "inside the image"), ((9, 9, 8, 9), "inside the image"), ((-9, 1, 0, 9), "inside the image")],
)
def test_the_phrases_of_a_box_outside_of_the_image_are_bad_records(
    corners: tuple[int, ...], reason: str, folder: Any
) -> None:
    objects = xml_object("1", 5, 5, 9, 9), xml_object("1", *corners), xml_object("2", 5, 5, 9, 9)
    root, bad = write(folder, annotations=xml_file(*objects)), BadRecords(skip=True)
    assert [e.id for e in read(root, bad)] == [f"{IMAGE}-0-1"]
    assert [rejection.record for rejection in bad.rejected] == [
        f"{FIRST}, line 1, phrase 0",
        f"{FIRST}, line 2, phrase 0",
    ]
    assert ANNOTATIONS in bad.rejected[0].reason
    assert reason in bad.rejected[0].reason


def test_a_box_that_exceeds_the_image_or_is_a_pixel_wide_is_kept() -> None:
    image = parse_entities(xml_file(xml_object("1", 0, 1, 340, 9), xml_object("2", 7, 7, 7, 7)).encode())
    assert image.boxes_px == {"1": [(-1, 0, 339, 8)], "2": [(6, 6, 6, 6)]}


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ("<annotation><size>", "expected XML"),
        (xml_file(size=""), "expected a number at size/width"),
        (xml_file(size="<size><width>0</width><height>9</height></size>"), "the size of an image"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + xml_file(), "without a document type"),
        (xml_file("<object><name>1</name><bndbox><xmin>a</xmin></bndbox></object>"), "bndbox/xmin, got 'a'"),
    ],
)
def test_damaged_annotations_are_bad_records(annotations: str, reason: str, folder: Any) -> None:
    root = write(folder, annotations=annotations)
    with pytest.raises(BadRecordError, match=reason) as error:
        read(root)
    assert ANNOTATIONS in str(error.value)


@pytest.mark.parametrize("is_packed", [True, False])
def test_a_missing_file_of_an_image_is_a_bad_record(is_packed: bool, folder: Any) -> None:
    del folder.files[ARCHIVE][ANNOTATIONS]
    root = folder.write()
    if not is_packed:
        unpack(root)
    with pytest.raises(BadRecordError, match=rf"{ANNOTATIONS}: expected this file, which the list"):
        read(root)
    bad = BadRecords(skip=True)
    assert read(root, bad) == []
    assert len(bad.rejected) == 1


def test_a_list_of_other_things_or_with_repeated_images(folder: Any) -> None:
    root = folder.write()
    (root / "flickr30k_entities/train.txt").write_text(f"../secret\n{IMAGE}\n{IMAGE}\n")
    bad = BadRecords(skip=True)
    assert len(read(root, bad)) == 4
    assert [(r.file.name, r.record) for r in bad.rejected] == [("train.txt", "line 1"), ("train.txt", "line 3")]


def test_without_files_the_error_names_the_archive(folder: Any) -> None:
    root = folder.write()
    (root / ARCHIVE).unlink()
    with pytest.raises(TwelvefoldError, match=r"expected the file .*annotations\.zip, but .* holds .*train\.txt"):
        read(root)


def test_a_submission_has_boxes_counted_from_1_as_the_files(tmp_path: Path) -> None:
    questions = OfficialQuestions(tmp_path, "test", BadRecords(), lambda: iter(()))
    row = dataset.SUBMISSION.publishers.row(questions)
    example = Example(f"{IMAGE}-4-1", (), None)
    answer = PredictionRecord(example.id, "flickr30k_entities", None, (Ranked(0.5, box_px=(0.0, 1.5, 2.0, 3.0)),))
    assert row(example, answer) == {"image": IMAGE, "sentence": 4, "phrase": 1, "box": [1.0, 2.5, 3.0, 4.0]}
    assert row(example, PredictionRecord(example.id, "", None, ()))["box"] == [0.0] * 4
