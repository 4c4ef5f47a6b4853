"""A prepared folder opens if it is complete; otherwise the error names the missing, truncated or replaced file."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest

from twelvefold.data.write_table import write_table
from twelvefold.schema import Example, ImageKey, Pair, PositivePair, TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import MANIFEST, ExampleCounts, FileEntry, Prepared, PreparedManifest

COCO = TaskSpec("coco", "COCO", "retrieval", "alignment", "R@1", 30, 128, 2e-5)
VQA = TaskSpec("vqav2", "VQAv2", "answers", "vqa", "accuracy", 23, 128, 4e-5, vocabulary="vqav2")
VG = TaskSpec("vgqa", "VG QA", "answers", "vqa", "accuracy", 26, 128, 4e-5, vocabulary="vqav2")
NLVR = TaskSpec(
    "nlvr2", "NLVR2", "verification", "nlvr2", "accuracy", 40, 64, 2e-5, pairs_per_example=2, classes=("False", "True")
)


def entry(folder: Path, file: str, count: int, digest: str) -> FileEntry:
    return FileEntry(file, (folder / file).stat().st_size, count, digest)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    examples = [Example(str(n), (Pair(ImageKey("coco", str(n)), "a cat"),), PositivePair()) for n in range(3)]
    write_table(tmp_path / "tables/coco-train.arrow", examples, lambda texts: [[1]] * len(texts), digest="t1")
    atomic_files.write_json(tmp_path / "vocabularies/vqav2.json", ["yes", "no"])
    buffer = io.BytesIO()
    np.save(buffer, np.array([[1, 2], [0, 2], [1, 0]], dtype=np.int32))
    atomic_files.write_bytes(tmp_path / "negatives/coco.npy", buffer.getvalue())
    manifest = PreparedManifest(
        clean=True,
        regions="r",
        tasks=[COCO, VQA, VG, NLVR],
        tables={
            "coco": {"train": entry(tmp_path, "tables/coco-train.arrow", 3, "t1")},
            "vqav2": {},
            "vgqa": {},
            "nlvr2": {},
        },
        counts={"coco": {"train": ExampleCounts(read=5, removed=2, kept=3)}},
        vocabularies={"vqav2": entry(tmp_path, "vocabularies/vqav2.json", 2, "v1")},
        negatives={"coco": entry(tmp_path, "negatives/coco.npy", 3, "n1")},
    )
    atomic_files.write_json(tmp_path / MANIFEST, msgspec.to_builtins(manifest))
    return tmp_path


def test_everything_that_the_manifest_lists_can_be_read(folder: Path) -> None:
    prepared = Prepared.open(folder)
    assert prepared.tasks == (COCO, VQA, VG, NLVR)
    assert prepared.splits("coco") == ("train",)
    assert len(prepared.table("coco", "train")) == 3
    assert prepared.vocabulary("vgqa") == ("yes", "no")
    assert prepared.vocabulary("coco") == ()
    assert prepared.counts["coco"]["train"].removed == 2
    negatives = prepared.negatives("coco")
    assert negatives is not None
    assert negatives.tolist() == [[1, 2], [0, 2], [1, 0]]
    assert prepared.negatives("vqav2") is None


def test_rows_select_the_used_examples(folder: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([0, 2], dtype=np.int32))
    atomic_files.write_bytes(folder / "rows/coco-train.npy", buffer.getvalue())
    raw = atomic_files.read_json(folder / MANIFEST)
    raw["rows"] = {"coco": {"train": msgspec.to_builtins(entry(folder, "rows/coco-train.npy", 2, "r"))}}
    atomic_files.write_json(folder / MANIFEST, raw)
    assert Prepared.open(folder).table("coco", "train").ids() == ["0", "2"]
    raw["rows"]["coco"]["train"]["count"] = 3
    atomic_files.write_json(folder / MANIFEST, raw)
    with pytest.raises(TwelvefoldError, match=r"coco-train\.npy does not hold rows"):
        Prepared.open(folder).table("coco", "train")


@pytest.mark.parametrize("version", [1, 2])
def test_folders_of_earlier_versions_are_read_with_all_rows(folder: Path, version: int) -> None:
    raw = atomic_files.read_json(folder / MANIFEST)
    raw["version"] = version
    del raw["rows"]
    if version == 1:
        for task in raw["tasks"]:
            task["pairs"] = task.pop("pairs_per_example")
    atomic_files.write_json(folder / MANIFEST, raw)
    prepared = Prepared.open(folder)
    assert prepared.tasks == (COCO, VQA, VG, NLVR)
    assert len(prepared.table("coco", "train")) == 3


def test_head_outputs_are_the_answers_or_the_classes(folder: Path) -> None:
    prepared = Prepared.open(folder)
    assert prepared.head("vqav2") == prepared.head("vgqa")
    assert prepared.head("vqav2").outputs == ("yes", "no")
    assert (prepared.head("nlvr2").outputs, prepared.head("nlvr2").pairs_per_example) == (("False", "True"), 2)
    assert prepared.head("coco").outputs == ()


def test_the_digest_depends_on_every_file(folder: Path) -> None:
    before = Prepared.open(folder).digest
    raw = atomic_files.read_json(folder / MANIFEST)
    raw["vocabularies"]["vqav2"]["digest"] = "v2"
    atomic_files.write_json(folder / MANIFEST, raw)
    assert Prepared.open(folder).digest != before


def test_errors_for_unknown_names_suggest_the_closest(folder: Path) -> None:
    prepared = Prepared.open(folder)
    with pytest.raises(TwelvefoldError, match="did you mean 'vqav2'"):
        prepared.task("vqa2")
    with pytest.raises(TwelvefoldError, match="has no split 'val'; it has train"):
        prepared.table("coco", "val")


@pytest.mark.parametrize("file", ["tables/coco-train.arrow", "vocabularies/vqav2.json", "negatives/coco.npy"])
def test_a_missing_or_truncated_file_is_detected_at_opening(folder: Path, file: str) -> None:
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[:-1])
    with pytest.raises(TwelvefoldError, match=f"{file} has"):
        Prepared.open(folder)
    (folder / file).unlink()
    with pytest.raises(TwelvefoldError, match=f"{file} is missing"):
        Prepared.open(folder)


def test_a_replaced_table_of_the_same_length_is_detected(folder: Path) -> None:
    path = folder / "tables/coco-train.arrow"
    path.write_bytes(path.read_bytes().replace(b"t1", b"t2"))
    with pytest.raises(TwelvefoldError, match="not the table"):
        Prepared.open(folder).table("coco", "train")


def test_a_folder_that_is_not_prepared_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="is not prepared"):
        Prepared.open(tmp_path)
    atomic_files.write_json(tmp_path / MANIFEST, {"format": "twelvefold prepared", "version": 99})
    with pytest.raises(TwelvefoldError, match="version 99"):
        Prepared.open(tmp_path)
    atomic_files.write_json(tmp_path / MANIFEST, ["nothing"])
    with pytest.raises(TwelvefoldError, match=r"not a manifest of format 'twelvefold prepared'.*prepare` again"):
        Prepared.open(tmp_path)
