"""Evidence is gathered from the surest to the least sure, each joining what is not joined yet, and once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates import evidence, hashes
from twelvefold.duplicates.evidence import DEFAULT_EVIDENCE, CollectedEvidence, collect_evidence, equal_files
from twelvefold.duplicates.feature_similarity import feature_links
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.schema import ImageKey, Regions, SameImageLink
from twelvefold.store.atomic_files import write_json
from twelvefold.store.region_store import RegionStore, ShardWriter, finish_store
from twelvefold.world.draw import draw_scene
from twelvefold.world.duplicates import make_near_duplicate
from twelvefold.world.scene import make_scene


def key(name: str) -> ImageKey:
    return ImageKey.parse(name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One photograph under six keys and another under one: by an id map, bytes, pixels and looks."""
    image, other = draw_scene(make_scene(5, 1)), draw_scene(make_scene(5, 2))
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    write_json(folder / "vg" / "image_data.json", [{"image_id": 1, "coco_id": 2, "flickr_id": None}])
    saved: dict[str, tuple[Image.Image, int]] = {
        "vg 1": (image, 6), "coco 2": (image, 5), "coco 3": (image, 5), "coco 4": (image, 9),
        "pets a": (make_near_duplicate(image, "cropped"), 6), "pets b": (make_near_duplicate(image, "resized"), 6),
        "pets c": (other, 6),
    }  # fmt: skip
    for name, (shown, level) in saved.items():
        shown.save(folder / "images" / f"{name}.png", compress_level=level)
    return folder


def pictures(data: Path) -> dict[ImageKey, Path]:
    return {key(path.stem.replace(" ", "/")): path for path in sorted((data / "images").iterdir())}


def found(data: Path, **options: object) -> CollectedEvidence:
    given: dict[str, object] = {"cache_dir": data / "notes", "bad": BadRecords(), **options}
    return collect_evidence(data, pictures(data), **given)  # type: ignore[arg-type]


def test_each_evidence_joins_what_surer_evidence_has_not(data: Path) -> None:
    links = found(data).links
    assert [(str(j.first), str(j.second), j.evidence) for j in links[:3]] == [
        ("vg/1", "coco/2", "ids"),
        ("coco/2", "coco/3", "bytes"),
        ("coco/2", "coco/4", "pixels"),
    ]
    assert Counter(j.evidence for j in links) == {"ids": 1, "bytes": 1, "pixels": 1, "looks": 3}
    identity = ImageGroups(links)
    assert {str(identity.group_of(name)) for name in pictures(data)} == {"coco/2", "pets/c"}


@pytest.mark.parametrize("count", range(len(DEFAULT_EVIDENCE) + 1))
def test_only_the_kinds_asked_for_are_gathered(data: Path, count: int) -> None:
    kinds = DEFAULT_EVIDENCE[:count]
    assert {link.evidence for link in found(data, evidence=kinds).links} == set(kinds)
    alone = DEFAULT_EVIDENCE[count:]
    assert {link.evidence for link in found(data, evidence=alone).links} == set(alone)


def test_a_second_call_looks_at_no_picture_and_says_the_same(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (50, 50)).save(data / "images" / "pets blank.png")
    first = found(data)
    assert "too little to be compared" in " ".join(first.limitations)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("looked again")

    for module, name in ((hashes, "open_image"), (evidence, "find_near_duplicates"), (evidence, "equal_files")):
        monkeypatch.setattr(module, name, never)
    assert found(data) == first


def test_a_stricter_threshold_joins_less_without_looking_again(data: Path) -> None:
    loose, strict = found(data), found(data, max_difference=0.0)
    assert Counter(j.evidence for j in strict.links)["looks"] < Counter(j.evidence for j in loose.links)["looks"]
    assert found(data) == loose


def test_what_cannot_be_compared_is_told(data: Path) -> None:
    (data / "images" / "pets a.png").write_bytes(b"no picture")
    there = pictures(data)
    there[key("pets/gone")] = data / "images" / "gone.png"
    told = collect_evidence(data, there, cache_dir=data / "notes", bad=BadRecords())
    assert {str(name): "no such file" in reason for name, reason in told.unreadable.items()} == {
        "pets/a": False,
        "pets/gone": True,
    }
    assert found(data, evidence=["features"]).limitations == [
        "there are no features of the images, so none were compared by features"
    ]
    (data / "vg" / "image_data.json").unlink()
    assert "image_data.json is missing" in found(data).limitations[0]


def test_empty_files_are_no_photograph(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).touch()
    assert list(equal_files({key(f"x/{name}"): tmp_path / name for name in "ab"})) == []


@pytest.fixture
def store(tmp_path: Path) -> Callable[[dict[str, list[float]]], RegionStore]:
    def made(features: dict[str, list[float]]) -> RegionStore:
        folder = tmp_path / "store"
        folder.mkdir()
        with ShardWriter(folder / "0.shard", feature_size=3) as writer:
            for name, feature in features.items():
                rows = np.array([feature] if feature else np.zeros((0, 3)), dtype=np.float32)
                boxes = np.tile(np.array([0, 0, 5, 5], dtype=np.float32), (len(rows), 1))
                writer.add(key(name), Regions(boxes, rows, 9, 9))
        return finish_store(folder, ["0.shard"], info={})

    return made


def test_close_features_join_on_request(data: Path, store: Callable[[dict[str, list[float]]], RegionStore]) -> None:
    features: dict[str, list[float]] = {
        "pets/c": [1, 0, 0],
        "coco/2": [0, 1, 0],
        "coco/9": [2, 0.001, 0],
        "vg/7": [0.7, 0.7, 0],
        "vg/8": [],
    }
    made = store(features)
    links = [
        j for j in found(data, evidence=[*DEFAULT_EVIDENCE, "features"], store=made).links if j.evidence == "features"
    ]
    assert links == [
        SameImageLink(key("coco/9"), key("pets/c"), "features", "their features have a cosine similarity of 1.0000")
    ]
    known = ImageGroups([SameImageLink(key("coco/9"), key("pets/c"), "ids", "a map")])
    assert list(feature_links(made, known)) == []
    assert len(list(feature_links(made, ImageGroups(), 0.6))) == 4
