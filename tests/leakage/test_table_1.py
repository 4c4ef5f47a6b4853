"""Id lists with the published overlaps give the published numbers of the paper's Table 1."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from twelvefold.leakage.audit import AuditConfig, AuditResult, audit, collect_inputs

ORDER = (
    "vqav2", "vgqa", "gqa", "coco", "flickr30k", "refcoco", "refcoco+", "refcocog", "visual7w", "guesswhat",
    "snli_ve", "nlvr2",
)  # fmt: skip
NONE = (0,) * 12
TABLE_1 = {
    "vqav2": NONE,
    "vgqa": NONE,
    "gqa": NONE,
    "coco": (100, 43, 33, 0, 0, 0, 0, 0, 7, 46, 0, 0),
    "flickr30k": (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 98, 0),
    "refcoco": (100, 36, 27, 100, 0, 0, 0, 66, 8, 62, 0, 0),
    "refcoco+": (100, 38, 27, 100, 0, 0, 0, 66, 8, 62, 0, 0),
    "refcocog": (100, 41, 31, 100, 0, 53, 53, 0, 8, 63, 0, 0),
    "visual7w": (50, 100, 79, 48, 0, 8, 8, 10, 0, 24, 0, 0),
    "guesswhat": (100, 40, 31, 96, 0, 20, 20, 26, 7, 0, 0, 0),
    "snli_ve": (0, 0, 0, 0, 94, 0, 0, 0, 0, 0, 0, 0),
    "nlvr2": NONE,
}
"""Lu et al. 2020, "12-in-1", Table 1: percent of row-task test images in column-task train and val images."""

SOURCE = {"flickr30k": "flickr30k", "snli_ve": "flickr30k", "vgqa": "vg", "gqa": "vg", "visual7w": "vg"} | {
    "nlvr2": "nlvr2"
}
"""The source of each task's ids; by default COCO."""

SIZE = 200
"""Test images of each task: a percent is two of them."""


def image_id(number: int, source: str) -> str:
    """Return an image's id in a source, in the form that it has there."""
    if source == "nlvr2":
        return f"test1-{number}-0-img0"
    return str({"coco": 1_000_000, "vg": 2_000_000, "flickr30k": 30_000_000}[source] + number)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    """Audit id lists as text, NumPy, CSV and JSON in turn, with Visual Genome's map to COCO."""
    root = tmp_path_factory.mktemp("table1")
    train: defaultdict[str, list[int]] = defaultdict(list)
    tests: dict[str, list[int]] = {}
    for index, (row, percents) in enumerate(TABLE_1.items()):
        tests[row] = list(range(index * SIZE, (index + 1) * SIZE))
        for column, percent in zip(ORDER, percents, strict=True):
            train[column] += tests[row][: percent * SIZE // 100]
    sets = []
    for index, task in enumerate(ORDER):
        source = SOURCE.get(task, "coco")
        train[task] += range(100_000 * (index + 1), 100_000 * (index + 1) + 300)
        half = len(train[task]) // 2
        numbers_by_split = {"train": train[task][:half], "val": train[task][half:], "test": tests[task]}
        files = {
            split: write_list(root / f"{task}-{split}", [image_id(p, source) for p in numbers], index)
            for split, numbers in numbers_by_split.items()
        }
        sets.append({"name": task, "source": source, **files})
    (root / "sets.json").write_text(json.dumps({"collection": sets}))
    (root / "vg").mkdir()
    shared = [{"image_id": int(image_id(p, "vg")), "coco_id": int(image_id(p, "coco"))} for p in range(12 * SIZE)]
    (root / "vg" / "image_data.json").write_text(json.dumps(shared))
    return audit(collect_inputs(root, AuditConfig(collections=root / "sets.json", evidence=["ids"])))


def write_list(path: Path, ids: list[str], index: int) -> str:
    """Write the ids in one of the list formats and return the file's name."""
    if index % 4 == 0:
        path.with_suffix(".txt").write_text("\n".join(ids))
    elif index % 4 == 1:
        np.save(path.with_suffix(".npy"), np.array(ids))
    elif index % 4 == 2:
        path.with_suffix(".csv").write_text("\n".join(["image_id,note", *(f'{id_},"a, b"' for id_ in ids)]))
    else:
        path.with_suffix(".json").write_text(json.dumps(ids if not ids[0].isdecimal() else [int(id_) for id_ in ids]))
    return path.name + (".txt", ".npy", ".csv", ".json")[index % 4]


def test_every_cell_has_the_published_percentage(audited: AuditResult) -> None:
    percents = {(c.row, c.column): c.percent for c in audited.report.tests}
    assert percents == {(row, column): TABLE_1[row][n] for row in TABLE_1 for n, column in enumerate(ORDER)}
    assert audited.report.limitations == []


def test_the_printed_table_has_the_published_numbers(audited: AuditResult) -> None:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(audited.report.table())
    lines = [line.split() for line in capture.get().splitlines()]
    assert max(map(len, capture.get().splitlines())) <= 120
    printed = {line[0]: line[2:] for line in lines if line and line[0] in TABLE_1}
    header = next(line for line in lines if line[:2] == ["test", "set"])
    assert tuple(header[3:]) == ORDER
    assert printed == {row: [str(p) if p else "·" for p in percents] for row, percents in TABLE_1.items()}


def test_the_map_links_images_across_sources(audited: AuditResult) -> None:
    shared = audited.overlap.shared_images("coco", "vgqa")
    assert {(pair.key.source, pair.other.source, pair.evidence) for pair in shared} == {("coco", "vg", "ids")}
    assert len(shared) == 43 * SIZE // 100
