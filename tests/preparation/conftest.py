"""Two little tasks with a data folder and regions, for everything that ``prepare`` is asked to do with them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.preparation.prepare import PrepareSummary, prepare
from twelvefold.schema import ImageKey, Regions
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.store.region_store import ShardWriter, finish_store

MODULE = """
import json
from twelvefold.schema import *
TASK = TaskSpec({name!r}, {name!r}, {family!r}, {name!r}, "accuracy", 12, 4, 1e-4, vocabulary={vocabulary!r})
def files(root, split, *, colour="red"):
    return [root / "{name}" / (split + ".json")]
def read(root, split, *, bad, colour="red"):
    from twelvefold.datasets.reading.records import Rejection
    for record in json.loads(files(root, split)[0].read_text()):
        if "broken" in record:
            bad.add(Rejection({name!r}, files(root, split)[0], record["id"], "is broken"))
            continue
        pairs = tuple(Pair(ImageKey.parse(image), record["text"]) for image in record["images"])
        label = {{"answers": SoftAnswers({{record["text"]: 1.0}}), "retrieval": PositivePair(0)}}[{family!r}]
        yield Example(record["id"], pairs, label, question_type=colour)
"""
VOCABULARY = """
def vocabulary(root, *, min_count, bad, colour="red"):
    texts = [record["text"] for record in json.loads(files(root, "train")[0].read_text())]
    return sorted({text for text in texts if texts.count(text) >= min_count})
"""
ASKS, FINDS = "toys.asks", "toys.finds"
Write = Callable[..., None]


def run(data: Path, regions: Path | None, **options: Any) -> PrepareSummary:
    chosen: dict[str, Any] = {"tasks": [ASKS, FINDS], "min_count": 1}
    return prepare(data, regions, data.parent / "out", **chosen | options)


def ids(data: Path, task: str, split: Any) -> list[str]:
    return Prepared.open(data.parent / "out").table(task, split).ids()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with two little tasks of one's own, in a package of this test's."""
    package = tmp_path / "code" / "toys"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "asks.py").write_text(MODULE.format(name="asks", family="answers", vocabulary="asks") + VOCABULARY)
    (package / "finds.py").write_text(MODULE.format(name="finds", family="retrieval", vocabulary=""))
    monkeypatch.syspath_prepend(tmp_path / "code")
    for name in ("toys", ASKS, FINDS):
        monkeypatch.delitem(sys.modules, name, raising=False)
    root = tmp_path / "data"
    # Photographs: coco/1-9. vg/101 is coco/1 (by Visual Genome's map).
    put(root, "asks", "train", {"a1": "coco/1", "a2": "coco/2", "a3": "coco/3 coco/8", "a4": "coco/4"})
    put(root, "asks", "val", {"b1": "coco/5", "b2": "coco/9"})
    put(root, "asks", "test", {"c1": "coco/9"})
    put(root, "finds", "train", {f"d{n}": f"coco/{n}" for n in range(1, 8)})
    put(root, "finds", "val", {"e1": "coco/3", "e2": "coco/5"})
    put(root, "finds", "test", {"f1": "vg/101", "f2": "coco/8"})
    (root / "vg").mkdir()
    (root / "vg" / "image_data.json").write_text('[{"image_id": 101, "coco_id": 1}, {"image_id": 7, "coco_id": null}]')
    return root


def put(root: Path, task: str, split: str, pictures: Mapping[str, str]) -> None:
    records = [{"id": id_, "images": keys.split(), "text": "yes"} for id_, keys in pictures.items()]
    atomic_files.write_json(root / task / f"{split}.json", records)


def made(folder: Path, keys: Sequence[str]) -> Path:
    with ShardWriter(folder / "detected" / "a", feature_size=2) as shard:
        for key in keys:
            number = float(ImageKey.parse(key).id)
            box = np.array([[0, 0, 5, 5]], dtype=np.float32)
            shard.add(ImageKey.parse(key), Regions(box, np.array([[number, 0.0]]), 10, 10))
    finish_store(folder / "detected", ["a"], info={})
    return folder


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    return made(tmp_path / "regions", [f"coco/{n}" for n in range(1, 10)] + ["vg/101"])


@pytest.fixture
def write() -> Callable[..., None]:
    """Writes the records of one split: ``write(data, task, split, {id: pictures})``."""
    return put


@pytest.fixture
def extracted() -> Callable[[Path, Sequence[str]], Path]:
    """Makes a folder of regions, one of each picture, whose features begin with the picture's number."""
    return made
