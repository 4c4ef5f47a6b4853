"""Two small tasks with a data folder and regions, to test ``prepare`` with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.config.recipe import DataConfig, TaskConfig
from twelvefold.preparation.prepare import PrepareSummary, prepare
from twelvefold.schema import ImageKey, Regions
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.store.region_store import ShardWriter, finish_store

MODULE = """
import json
from twelvefold.schema import *
TASK = TaskSpec({name!r}, {name!r}, {family!r}, {name!r}, "accuracy", 12, 4, 1e-4, vocabulary={vocabulary!r})
def files(root, split, *, color="red"):
    return [root / "{name}" / (split + ".json")]
def read(root, split, *, bad, color="red"):
    from twelvefold.datasets.reading.records import Rejection
    for record in json.loads(files(root, split)[0].read_text()):
        if "broken" in record:
            bad.add(Rejection({name!r}, files(root, split)[0], record["id"], "is broken"))
            continue
        pairs = tuple(Pair(ImageKey.parse(image), record["text"]) for image in record["images"])
        label = {{"answers": SoftAnswers({{record["text"]: 1.0}}), "retrieval": PositivePair(0)}}[{family!r}]
        yield Example(record["id"], pairs, label, question_type=color, chosen_answer=record["text"])
"""
ASKS, FINDS = "toys.asks", "toys.finds"
Write = Callable[..., None]


def run(
    data: Path,
    regions: Path | None,
    tasks: Sequence[str] | Mapping[str, TaskConfig] = (ASKS, FINDS),
    **options: Any,
) -> PrepareSummary:
    """Prepare the two tasks; keyword arguments that ``prepare`` does not have are fields of ``DataConfig``."""
    fields = {"min_count": 1} | {name: options.pop(name) for name in set(options) & set(DataConfig.__struct_fields__)}
    return prepare(data, regions, data.parent / "out", tasks, DataConfig(**fields), **options)


def ids(data: Path, task: str, split: Any) -> list[str]:
    return Prepared.open(data.parent / "out").table(task, split).ids()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a data folder with two custom tasks, and the package that reads them."""
    package = tmp_path / "code" / "toys"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "asks.py").write_text(MODULE.format(name="asks", family="answers", vocabulary="asks"))
    (package / "finds.py").write_text(MODULE.format(name="finds", family="retrieval", vocabulary=""))
    monkeypatch.syspath_prepend(tmp_path / "code")
    for name in ("toys", ASKS, FINDS):
        monkeypatch.delitem(sys.modules, name, raising=False)
    root = tmp_path / "data"
    # Images: coco/1-9. vg/101 is coco/1 (by Visual Genome's id map).
    write_split(root, "asks", "train", {"a1": "coco/1", "a2": "coco/2", "a3": "coco/3 coco/8", "a4": "coco/4"})
    write_split(root, "asks", "val", {"b1": "coco/5", "b2": "coco/9"})
    write_split(root, "asks", "test", {"c1": "coco/9"})
    write_split(root, "finds", "train", {f"d{n}": f"coco/{n}" for n in range(1, 8)})
    write_split(root, "finds", "val", {"e1": "coco/3", "e2": "coco/5"})
    write_split(root, "finds", "test", {"f1": "vg/101", "f2": "coco/8"})
    (root / "vg").mkdir()
    (root / "vg" / "image_data.json").write_text('[{"image_id": 101, "coco_id": 1}, {"image_id": 7, "coco_id": null}]')
    return root


def write_split(root: Path, task: str, split: str, images: Mapping[str, str]) -> None:
    records = [{"id": id_, "images": keys.split(), "text": "yes"} for id_, keys in images.items()]
    atomic_files.write_json(root / task / f"{split}.json", records)


def write_regions(folder: Path, keys: Sequence[str]) -> Path:
    with ShardWriter(folder / "detected" / "a", feature_size=2) as shard:
        for key in keys:
            number = float(ImageKey.parse(key).id)
            box = np.array([[0, 0, 5, 5]], dtype=np.float32)
            shard.add(ImageKey.parse(key), Regions(box, np.array([[number, 0.0]]), 10, 10))
    finish_store(folder / "detected", ["a"], info={})
    return folder


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    return write_regions(tmp_path / "regions", [f"coco/{n}" for n in range(1, 10)] + ["vg/101"])


@pytest.fixture
def write() -> Callable[..., None]:
    """Return a function that writes one split: ``write(data, task, split, {id: images})``."""
    return write_split


@pytest.fixture
def extracted() -> Callable[[Path, Sequence[str]], Path]:
    """Return a function that writes a region store, one region per image, whose first feature is the image's number."""
    return write_regions
