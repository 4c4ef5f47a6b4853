"""Evidence is collected from the most certain to the least; each kind only links what is not linked yet, and once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates import evidence, hashes, near_duplicates
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
    """Write an image under six keys, linked by an id map, bytes, pixels and looks, and another image under one key."""
    image, other = draw_scene(make_scene(5, 1)), draw_scene(make_scene(5, 2))
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    write_json(folder / "vg" / "image_data.json", [{"image_id": 1, "coco_id": 2, "flickr_id": None}])
    images: dict[str, tuple[Image.Image, int]] = {
        "vg 1": (image, 6), "coco 2": (image, 5), "coco 3": (image, 5), "coco 4": (image, 9),
        "pets a": (make_near_duplicate(image, "cropped"), 6), "pets b": (make_near_duplicate(image, "resized"), 6),
        "pets c": (other, 6),
    }  # fmt: skip
    for name, (saved_image, level) in images.items():
        saved_image.save(folder / "images" / f"{name}.png", compress_level=level)
    return folder


def image_paths(data: Path) -> dict[ImageKey, Path]:
    return {key(path.stem.replace(" ", "/")): path for path in sorted((data / "images").iterdir())}


def collect(data: Path, **options: object) -> CollectedEvidence:
    arguments: dict[str, object] = {"cache_dir": data / "cache", "bad": BadRecords(), **options}
    return collect_evidence(data, image_paths(data), **arguments)  # type: ignore[arg-type]


def test_each_evidence_links_what_more_certain_evidence_does_not(data: Path) -> None:
    links = collect(data).links
    assert [(str(link.first), str(link.second), link.evidence) for link in links[:3]] == [
        ("vg/1", "coco/2", "ids"),
        ("coco/2", "coco/3", "bytes"),
        ("coco/2", "coco/4", "pixels"),
    ]
    assert Counter(link.evidence for link in links) == {"ids": 1, "bytes": 1, "pixels": 1, "looks": 3}
    groups = ImageGroups(links)
    assert {str(min(groups.matching_groups(name))) for name in image_paths(data)} == {"coco/2", "pets/c"}


@pytest.mark.parametrize("count", range(len(DEFAULT_EVIDENCE) + 1))
def test_only_the_requested_evidence_is_collected(data: Path, count: int) -> None:
    requested = DEFAULT_EVIDENCE[:count]
    assert {link.evidence for link in collect(data, evidence=requested).links} == set(requested)
    others = DEFAULT_EVIDENCE[count:]
    assert {link.evidence for link in collect(data, evidence=others).links} == set(others)


def test_a_second_call_opens_no_image_and_has_the_same_result(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (50, 50)).save(data / "images" / "pets blank.png")
    first = collect(data)
    assert "too little detail to be compared" in " ".join(first.limitations)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("an image was compared again")

    for patched, name in ((hashes, "open_image"), (evidence, "find_near_duplicates"), (evidence, "equal_files")):
        monkeypatch.setattr(patched, name, fail)
    assert collect(data) == first


def test_a_stricter_threshold_links_less_without_comparing_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loose = collect(data)
    with monkeypatch.context() as context:
        context.setattr(near_duplicates, "MAX_DIFFERENCE", 0.0)
        strict = collect(data)
    assert (
        Counter(link.evidence for link in strict.links)["looks"]
        < Counter(link.evidence for link in loose.links)["looks"]
    )
    assert collect(data) == loose


def test_images_that_cannot_be_compared_are_reported(data: Path) -> None:
    (data / "images" / "pets a.png").write_bytes(b"not an image")
    paths = image_paths(data)
    paths[key("pets/gone")] = data / "images" / "gone.png"
    result = collect_evidence(data, paths, cache_dir=data / "cache", bad=BadRecords())
    assert {str(name): "no such file" in reason for name, reason in result.unreadable.items()} == {
        "pets/a": False,
        "pets/gone": True,
    }
    assert collect(data, evidence=["features"]).limitations == [
        "there are no features of the images, so none were compared by features"
    ]
    (data / "vg" / "image_data.json").unlink()
    assert "image_data.json is missing" in collect(data, sources={"vg", "coco"}).limitations[0]
    assert not any("image_data.json" in sentence for sentence in collect(data, sources={"coco"}).limitations)


def test_empty_files_are_not_linked(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).touch()
    assert list(equal_files({key(f"x/{name}"): tmp_path / name for name in "ab"})) == []


@pytest.fixture
def store(tmp_path: Path) -> Callable[[dict[str, list[float]]], RegionStore]:
    def write_store(features: dict[str, list[float]]) -> RegionStore:
        folder = tmp_path / "store"
        folder.mkdir()
        with ShardWriter(folder / "0.shard", feature_size=3) as writer:
            for name, feature in features.items():
                rows = np.array([feature] if feature else np.zeros((0, 3)), dtype=np.float32)
                boxes = np.tile(np.array([0, 0, 5, 5], dtype=np.float32), (len(rows), 1))
                writer.add(key(name), Regions(boxes, rows, 9, 9))
        return finish_store(folder, ["0.shard"], info={})

    return write_store


def test_close_features_are_linked_on_request(
    data: Path, store: Callable[[dict[str, list[float]]], RegionStore]
) -> None:
    features: dict[str, list[float]] = {
        "pets/c": [1, 0, 0],
        "coco/2": [0, 1, 0],
        "coco/9": [2, 0.001, 0],
        "vg/7": [0.7, 0.7, 0],
        "vg/8": [],
    }
    feature_store = store(features)
    links = [
        link
        for link in collect(data, evidence=[*DEFAULT_EVIDENCE, "features"], store=feature_store).links
        if link.evidence == "features"
    ]
    assert links == [
        SameImageLink(key("coco/9"), key("pets/c"), "features", "their features have a cosine similarity of 1.0000")
    ]
    known = ImageGroups([SameImageLink(key("coco/9"), key("pets/c"), "ids", "a map")])
    assert list(feature_links(feature_store, known)) == []
    assert len(list(feature_links(feature_store, ImageGroups(), 0.6))) == 4
