"""Image files by key, candidate boxes by image, and links between keys of the same image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.datasets import load_dataset
from twelvefold.datasets.reading import same_image_links
from twelvefold.datasets.reading.image_files import candidate_boxes, image_files, scan_image_files
from twelvefold.datasets.reading.records import BadRecordError, BadRecords
from twelvefold.features.formats.image_names import parse_image_key
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.splits.read_lists import make_key

IMAGES = {
    "coco/train2014/COCO_train2014_000000000009.jpg": "coco/9",
    "coco/test2015/COCO_test2015_000000581929.jpg": "coco/581929",
    "vg/VG_100K/2318324.jpg": "vg/2318324",
    "vg/VG_100K_2/1.jpg": "vg/1",
    "gqa/n161313.jpg": "gqa/n161313",
    "gqa/2407000.jpg": "vg/2407000",
    "visual7w/v7w_2318325.jpg": "vg/2318325",
    "flickr30k/1000092795.jpg": "flickr30k/1000092795",
    "nlvr2/dev/dev-850-0-img0.png": "nlvr2/dev-850-0-img0",
    "pets/rex.jpg": "pets/rex",
    "pets/cats/tom.2.png": "pets/cats/tom.2",
    "nlvr2/images/train/47/train-10171-0-img1.png": "nlvr2/train-10171-0-img1",
}


def _touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_every_image_file_has_its_publishers_key(tmp_path: Path) -> None:
    _touch(tmp_path, *IMAGES, "coco/train2014/Thumbs.db", "vg/readme.txt", "flickr30k/._1000092795.jpg")
    files = image_files(tmp_path)
    assert {str(key): str(path.relative_to(tmp_path / "images")) for key, path in files.items()} == {
        key: name for name, key in IMAGES.items()
    }


@pytest.mark.parametrize(
    "name",
    [
        "coco/val2017/000000391895.jpg",
        "coco/train2017/000000391895.jpg",
        "coco/val2014/COCO_val2014_000000391895.jpg",
        "coco/test2014/COCO_test2014_000000391895.jpg",
        "coco/test2017/000000391895.jpg",
        "coco/391895.jpg",
    ],
)
def test_a_coco_image_has_one_key_in_images_lists_and_feature_files(name: str, tmp_path: Path) -> None:
    _touch(tmp_path, name)
    key = ImageKey("coco", "391895")
    assert image_files(tmp_path) == {key: tmp_path / "images" / name}
    assert make_key(name.removeprefix("coco/"), "coco", Path("list.txt")) == key
    assert parse_image_key(name, "coco") == key


def test_of_two_files_with_the_same_key_the_first_is_used(tmp_path: Path) -> None:
    _touch(tmp_path, "gqa/7.jpg", "vg/VG_100K_2/7.jpg", "vg/VG_100K/7.jpg")
    assert image_files(tmp_path) == {ImageKey("vg", "7"): tmp_path / "images/vg/VG_100K/7.jpg"}


def test_an_unexpected_file_name_or_no_image_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"images/coco.*images/nlvr2"):
        image_files(tmp_path)
    _touch(tmp_path, "flickr30k/holiday.jpg")
    with pytest.raises(TwelvefoldError, match=r"holiday\.jpg.*images/flickr30k"):
        image_files(tmp_path)


def test_candidate_boxes_are_the_union_over_all_examples_of_an_image(folder: Any) -> None:
    games = folder.files["guesswhat/guesswhat.valid.jsonl.gz"]
    games[0]["objects"][0].update(bbox=[3.3, 4.0, 5.0, 6.0])
    root = folder.write()
    boxes = candidate_boxes(root, {"vqav2": {}, "refcoco": {}, "guesswhat": {}, "visual7w": {}})
    assert sorted(map(str, boxes)) == ["coco/175527", "vg/2318324", "vg/2318325", "vg/2318326"]
    assert boxes[ImageKey("coco", "175527")].boxes_px.shape == (4, 4)
    for name in ("guesswhat", "visual7w"):
        for split in ("train", "val", "test"):
            for example in load_dataset(name).read(root, split, bad=BadRecords()):
                for pair in example.pairs:
                    known = boxes[pair.image].boxes_px
                    assert known.dtype == np.float32
                    for box in np.array(pair.candidates_px, dtype=np.float32):
                        assert (known == box).all(axis=1).sum() == 1


def test_candidate_boxes_are_read_from_tasks_that_list_candidates_only(folder: Any) -> None:
    del folder.files["vg/question_answers.json"]
    assert candidate_boxes(folder.write(), {"vgqa": {}}) == {}
    with pytest.raises(TwelvefoldError, match=r"guesswhat\.train"):
        candidate_boxes(folder.root / "elsewhere", {"guesswhat": {}})


def test_candidate_boxes_skip_bad_records_only_on_request(folder: Any) -> None:
    folder.files["guesswhat/guesswhat.train.jsonl.gz"][0]["object_id"] = 1
    root = folder.write()
    with pytest.raises(BadRecordError):
        candidate_boxes(root, {"guesswhat": {}})
    bad = BadRecords(skip=True)
    assert len(candidate_boxes(root, {"guesswhat": {}}, bad=bad)) == 1
    assert len(bad.rejected) == 1


def test_links_are_those_of_visual_genomes_id_map(folder: Any) -> None:
    root = folder.write()
    vg = ImageKey("vg", "2318324")
    assert [link[:2] for link in same_image_links.read_links(root, bad=BadRecords())] == [
        (vg, ImageKey("coco", "157190")),
        (vg, ImageKey("flickr30k", "2171007168")),
    ]
    assert same_image_links.limitations(root, {"vg", "coco"}) == []


def test_an_id_map_may_call_the_image_id_id(folder: Any) -> None:
    expected = list(same_image_links.read_links(folder.write(), bad=BadRecords()))
    for record in folder.files["vg/image_data.json"]:
        record["id"] = record.pop("image_id")
    assert list(same_image_links.read_links(folder.write(), bad=BadRecords())) == expected
    del folder.files["vg/image_data.json"][0]["id"]
    with pytest.raises(BadRecordError, match="expected image_id or id, got neither"):
        list(same_image_links.read_links(folder.write(), bad=BadRecords()))


def test_a_missing_id_map_gives_no_links_and_a_limitation(folder: Any) -> None:
    del folder.files["vg/image_data.json"]
    root = folder.write()
    assert list(same_image_links.read_links(root, bad=BadRecords())) == []
    (sentence,) = same_image_links.limitations(root, {"vg", "coco", "nlvr2"})
    assert "image_data.json is missing" in sentence
    assert "cleaning does not find" in sentence
    assert same_image_links.limitations(root, {"vg", "flickr30k"})
    for sources in ({"vg", "gqa"}, {"coco", "flickr30k", "nlvr2"}, {"pets"}, ()):  # nothing that the map could link
        assert same_image_links.limitations(root, sources) == []


def test_a_second_file_with_a_key_of_your_own_is_a_problem_and_an_unreadable_one_gives_way(tmp_path: Path) -> None:
    _touch(tmp_path, "pets/rex.heic", "pets/tom.gif", "pets/notes.txt", "vg/VG_100K/7.jpg", "gqa/7.jpg", "loose.jpg")
    for name in ("rex.jpg", "tom.png", "tom.webp"):
        (tmp_path / "images" / "pets" / name).write_bytes(b"\xff\xd8\xff\xe0")
    content = scan_image_files(tmp_path)
    assert content.files[ImageKey("pets", "rex")].name == "rex.jpg"
    assert content.files[ImageKey("pets", "tom")].name == "tom.png"
    expected = {"images/pets/rex.heic", "images/pets/tom.webp", "images/pets/tom.gif", "images/loose.jpg"}
    assert expected <= set(content.unreadable)
    assert "pets/tom.png is used" in content.unreadable["images/pets/tom.webp"]
    assert "move it" in content.unreadable["images/loose.jpg"]
    kinds = {each.file: each.kind for each in content.skipped}
    assert (kinds["pets/notes.txt"], kinds["gqa/7.jpg"]) == ("other", "other")
