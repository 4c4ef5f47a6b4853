"""On a world the audit finds exactly the overlaps of its truth files, and none after cleaning; absent and unreadable
inputs are reported."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.world.overlap import overlap_percentages

from twelvefold import datasets
from twelvefold.config.recipe import DataConfig, TaskConfig
from twelvefold.datasets.reading.options import reader_options
from twelvefold.leakage.audit import AuditConfig, AuditResult, audit, collect_inputs, explain_link
from twelvefold.leakage.overlap import OverlapCell
from twelvefold.preparation.prepare import prepare
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.world.sources import plan_images
from twelvefold.world.write import make_world

IMAGES, SEED = 112, 5


@pytest.fixture(scope="session")
def audited_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("audited") / "world", images=IMAGES, seed=SEED, processes=1).folder


@pytest.fixture(scope="session")
def audited(audited_world: Path, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return audit(
        collect_inputs(
            audited_world, AuditConfig(evidence=["ids", "bytes"], cache_dir=tmp_path_factory.mktemp("notes"))
        )
    )


@pytest.fixture
def data(audited_world: Path, tmp_path: Path) -> Path:
    """Return a copy of the world that the test may change."""
    return Path(shutil.copytree(audited_world, tmp_path / "data"))


def cell(audited: AuditResult, row: str, column: str) -> OverlapCell:
    return next(c for c in audited.report.tests if (c.row, c.column) == (row, column))


def read_scenes(world: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (world / "truth" / "scenes.jsonl").read_text().splitlines()]


def test_planted_overlaps_are_recovered_exactly(audited: AuditResult, audited_world: Path) -> None:
    """Compare with the truth files for every image, and with the plan where every planned image has an example."""
    index = {key: int(str(scene["index"])) for scene in read_scenes(audited_world) for key in scene["keys"]}  # type: ignore[attr-defined]
    images = {
        (each.name, split): {index[str(key)] for key in content.images}
        for each in audited.inputs.collections
        for split, content in each.splits.items()
    }
    planned = overlap_percentages(plan_images(IMAGES, SEED))
    assert len(audited.report.tests) == 12 * 12
    equal = 0
    for found in audited.report.tests:
        tests = images[found.row, "test"]
        shared = tests & (images[found.column, "train"] | images[found.column, "val"])
        assert (found.count, found.total) == (len(shared), len(tests)), (found.row, found.column)
        equal += found.percent == pytest.approx(planned[found.row][found.column])
    assert equal > 120
    assert sum(found.count for found in audited.report.tests) > 50


def test_the_two_keys_of_a_shared_image_show_the_same_scene(audited: AuditResult, audited_world: Path) -> None:
    index = {key: scene["index"] for scene in read_scenes(audited_world) for key in scene["keys"]}  # type: ignore[attr-defined]
    shared = [pair for c in audited.report.tests for pair in audited.overlap.shared_images(c.row, c.column)]
    assert {index[str(pair.key)] == index[str(pair.other)] for pair in shared} == {True}
    assert any(pair.key != pair.other for pair in shared)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["paper", "strict", "none"])
def test_after_cleaning_there_is_no_leak(
    audited: AuditResult, audited_world: Path, tmp_path: Path, policy: Any
) -> None:
    options = reader_options(audited_world, datasets.paper_task_names())
    tasks = {name: TaskConfig(options=own) for name, own in options.items()}
    config = DataConfig(clean=policy, max_similar=1, min_count=1)  # a small world: one planted copy may be 5 %
    prepare(audited_world, None, tmp_path / "out", tasks, config)
    after = audit(collect_inputs(audited_world, AuditConfig(prepared=tmp_path / "out")))
    assert bool(after.report.leaks) == (policy == "none")
    assert any(c.count for c in after.report.vals) == (policy != "strict")
    if policy == "none":
        before = {(c.row, c.column): c.by_evidence["ids"] for c in audited.report.tests}
        assert {(c.row, c.column): c.by_evidence["ids"] for c in after.report.tests} == before


def test_equal_files_are_found_without_an_id_map(data: Path, audited: AuditResult) -> None:
    (data / "vg" / "image_data.json").unlink()
    without_map = audit(collect_inputs(data, AuditConfig(evidence=["ids"])))
    assert cell(without_map, "visual7w", "coco").count < cell(audited, "visual7w", "coco").count
    assert "image_data.json is missing" in without_map.report.limitations[0]
    assert "COCO" in without_map.report.limitations[0]
    (data / "images" / "vg").rename(data / "vg-images")
    shared = next(key for key in audited.overlap.shared_images("visual7w", "coco"))
    source = next((data / "images/coco").rglob(f"*{int(shared.other.id):012}.jpg"))
    copy = data / "images/vg/VG_100K" / f"{shared.key.id}.jpg"
    copy.parent.mkdir(parents=True)
    shutil.copy(source, copy)
    found = audit(collect_inputs(data, AuditConfig(evidence=["ids", "bytes"])))
    assert cell(found, "visual7w", "coco").by_evidence == {
        "ids": cell(without_map, "visual7w", "coco").count,
        "bytes": 1,
    }


def test_absent_tasks_are_left_out_and_listed(data: Path) -> None:
    shutil.rmtree(data / "gqa")
    (data / "nlvr2" / "test1.json").unlink()
    found = audit(collect_inputs(data, AuditConfig(evidence=["ids"])))
    assert "gqa" not in {c.row for c in found.report.tests}
    assert len({c.row for c in found.report.tests}) == 10
    assert len({c.column for c in found.report.tests}) == 11
    left_out = [name for name in found.report.left_out if name.partition(",")[0] in datasets.paper_task_names()]
    assert left_out == ["gqa", "nlvr2, test"]
    assert "expected the file" in found.report.left_out["gqa"]
    with pytest.raises(TwelvefoldError, match="gqa: expected the file"):
        collect_inputs(data, AuditConfig(tasks=["gqa", "coco"], evidence=["ids"]))
    assert {
        c.row for c in audit(collect_inputs(data, AuditConfig(tasks=["vqav2", "coco"], evidence=["ids"]))).report.tests
    } == {
        "vqav2",
        "coco",
    }


def test_an_image_in_two_splits_of_one_task_is_a_finding(data: Path) -> None:
    path = data / "visual7w" / "dataset_v7w_pointing.json"
    value = json.loads(path.read_text())
    first = {split: next(p for p in value["images"] if p["split"] == split) for split in ("train", "test")}
    for qa in first["train"]["qa_pairs"]:
        qa["image_id"] = first["test"]["image_id"]
    first["train"]["image_id"] = first["test"]["image_id"]
    path.write_text(json.dumps(value))
    found = audit(collect_inputs(data, AuditConfig(tasks=["visual7w"], evidence=["ids"])))
    worst = found.report.findings[0]
    assert (worst.row, worst.column, worst.count, worst.is_leak) == ("visual7w", "visual7w", 1, True)
    assert "are in its own train and val" in worst.sentence


def test_findings_are_sorted_and_the_threshold_selects_leaks(audited: AuditResult) -> None:
    percents = [each.percent for each in audited.report.findings if each.split == "test"]
    assert percents == sorted(percents, reverse=True)
    assert {each.percent > 0 for each in audited.report.leaks} == {True}
    strict = audit(audited.inputs, threshold=50.0)
    assert {each.percent > 50 for each in strict.report.leaks} == {True}
    assert len(strict.report.findings) == len(audited.report.findings) > len(strict.report.leaks)
    assert {each.split for each in audit(audited.inputs, val=True).report.leaks} == {"test", "val"}


def test_an_explanation_has_the_path_and_the_sets_with_each_key(audited: AuditResult) -> None:
    pair = next(pair for pair in audited.overlap.shared_images("visual7w", "coco") if pair.key != pair.other)
    explanation = explain_link(audited.inputs, pair.key, pair.other)
    assert explanation.is_same
    assert [(step.first, step.second, step.evidence) for step in explanation.steps] == [(pair.key, pair.other, "ids")]
    assert "visual7w test" in explanation.holders[str(pair.key)]
    assert {"coco train", "coco val"} & set(explanation.holders[str(pair.other)])
    assert "coco_id in image_data.json (ids)" in str(explanation)
    unrelated = next(k for c in audited.inputs.collections if c.name == "nlvr2" for k in c.splits["test"].images)
    negative = explain_link(audited.inputs, pair.key, unrelated)
    assert (negative.is_same, negative.steps) == (False, [])
    with pytest.raises(TwelvefoldError, match="no set contains coco/0"):
        explain_link(audited.inputs, ImageKey("coco", "0"), pair.key)


def test_a_folder_without_tasks_is_refused_with_the_expected_files(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"contains none of the twelve(.|\n)*snli_ve: expected"):
        collect_inputs(tmp_path, AuditConfig(evidence=["ids"]))
    with pytest.raises(TwelvefoldError, match="which is not a folder"):
        collect_inputs(tmp_path / "nowhere")
    with pytest.raises(TwelvefoldError, match="nothing to audit"):
        collect_inputs()


def test_tables_are_read_instead_of_unchanged_files_with_the_same_result(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = ["nlvr2", "snli_ve"]
    options = reader_options(data, tasks)
    configs = {name: TaskConfig(options=options[name]) for name in tasks}
    prepare(data, None, tmp_path / "prepared", configs, DataConfig(clean="none"))
    config = AuditConfig(tasks=tasks, evidence=["ids"])
    expected = audit(collect_inputs(data, config)).report
    reads: list[str] = []
    for name in tasks:
        module: Any = datasets.load_dataset(name)

        def read(*args: Any, read: Any = module.read, name: str = name, **kwargs: Any) -> Any:
            reads.append(name)
            return read(*args, **kwargs)

        monkeypatch.setattr(module, "read", functools.wraps(module.read)(read))
    config = dataclasses.replace(config, tables=tmp_path / "prepared")
    assert audit(collect_inputs(data, config)).report == expected
    assert reads == []
    with (data / "nlvr2" / "dev.json").open("ab") as file:
        file.write(b"\n")
    assert audit(collect_inputs(data, config)).report == expected
    assert reads == ["nlvr2"]
