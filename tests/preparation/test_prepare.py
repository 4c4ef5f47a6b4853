"""``prepare`` reads files once, cleans by image, counts everything that it leaves out, and repeats no step."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from twelvefold.config.recipe import TaskConfig
from twelvefold.schema import TwelvefoldError
from twelvefold.splits import manifest
from twelvefold.splits.clean import clean
from twelvefold.store import atomic_files
from twelvefold.store.prepared import MANIFEST, DataSource, Prepared

from .conftest import ASKS, FINDS, Write, ids, run


def test_test_images_of_every_task_are_removed_from_train_and_val_of_every_task(data: Path, regions: Path) -> None:
    summary = run(data, regions)
    assert ids(data, "asks", "train") == ["a2", "a4"]  # coco/1 is vg/101, coco/8 is the second image of a3
    assert ids(data, "asks", "val") == ["b1"]
    assert ids(data, "finds", "train") == ["d2", "d3", "d4", "d5", "d6", "d7"]
    assert ids(data, "finds", "val") == ["e1", "e2"]
    assert ids(data, "asks", "test") == ["c1"]
    assert ids(data, "finds", "test") == ["f1", "f2"]
    counts = summary.counts["asks"]["train"]
    assert (counts.read, counts.removed, counts.kept) == (4, 2, 2)
    assert [sentence for sentence in summary.limitations if "images" not in sentence] == []
    decided = manifest.read_manifest(data.parent / "out" / "clean.json")
    assert decided.split("asks", "train").removed == {"coco/1": ["a1"], "coco/8": ["a3"]}
    assert decided.why("coco/1") == "coco/1 is in the test set of finds as vg/101 (coco_id in image_data.json)"
    assert decided.why("coco/8") == "coco/8 is in the test set of finds"


def test_equal_image_files_are_the_same_image(data: Path, write: Write) -> None:
    for folder, name, content in (
        ("coco/train2014", "COCO_train2014_000000000002.jpg", b"same"),
        ("flickr30k", "55.jpg", b"same"),
        ("flickr30k", "56.jpg", b"none"),
    ):
        atomic_files.write_bytes(data / "images" / folder / name, content)
    write(data, "asks", "test", {"c1": "flickr30k/55", "c2": "flickr30k/56"})
    summary = run(data, None)
    assert ids(data, "asks", "train") == ["a4"]
    assert sorted(summary.unreadable) == ["coco/2", "flickr30k/55", "flickr30k/56"]  # the files are not images
    assert str(data) not in (data.parent / "out" / "clean.json").read_text()


def test_full_data_keeps_everything(data: Path, regions: Path) -> None:
    summary = run(data, regions, clean="none")
    assert ids(data, "asks", "train") == ["a1", "a2", "a3", "a4"]
    assert not Prepared.open(data.parent / "out").manifest.clean
    assert all(counts.removed == 0 for splits in summary.counts.values() for counts in splits.values())


def test_the_manifest_names_the_data_folder_and_a_worlds_seed(data: Path, regions: Path) -> None:
    run(data, regions)
    assert Prepared.open(data.parent / "out").manifest.source == DataSource(data.name)
    world = {"parameters": {"images": 9, "seed": 7}, "reader_options": {}}
    (data / "world.json").write_text(json.dumps(world))
    assert run(data, regions).new_steps == ()
    source = Prepared.open(data.parent / "out").manifest.source
    assert source == DataSource(data.name, 7)
    assert source.describe() == "the drawn world (seed 7)"


def test_a_second_call_repeats_no_step_and_changes_no_file(data: Path, regions: Path) -> None:
    first = run(data, regions)
    assert len(first.new_steps) == 15  # six tables with their rows, cleaning, an answer list, hard negatives
    out = data.parent / "out"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert run(data, regions).new_steps == ()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_only_steps_with_changed_inputs_are_repeated(data: Path, write: Write, regions: Path) -> None:
    run(data, regions)
    write(data, "finds", "val", {"e1": "coco/3"})
    assert run(data, regions).new_steps == ("finds-val", "cleaning", "finds-val-rows")
    limited = {ASKS: TaskConfig(max_examples=1), FINDS: TaskConfig()}
    assert run(data, regions, limited).new_steps == ("asks-train-rows",)
    assert ids(data, "asks", "train") == ["a2"]
    blue = run(data, regions, {ASKS: limited[ASKS], FINDS: TaskConfig(options={"color": "blue"})})
    tables = {"finds-train", "finds-val", "finds-test"}
    assert set(blue.new_steps) == {"cleaning", *tables, *(f"{name}-rows" for name in tables), "finds-negatives"}
    assert Prepared.open(data.parent / "out").table("finds", "test")[0].question_type == "blue"
    assert set(run(data, regions).new_steps) >= {"cleaning", "finds-test"}
    # A test set decides what is removed from every train and val; rows that stay the same are not made again.
    write(data, "asks", "test", {"c1": "coco/4"})
    rows = {"asks-test-rows", "asks-train-rows", "asks-val-rows", "finds-train-rows"}
    assert set(run(data, regions).new_steps) == {"asks-test", "cleaning", *rows, "finds-negatives"}
    assert ids(data, "asks", "train") == ["a2"]


def test_after_a_kill_only_the_missing_steps_are_made(data: Path, regions: Path) -> None:
    run(data, regions)
    out = data.parent / "out"
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for name in (MANIFEST, "made/asks-val.json", "vocabularies/asks.json"):
        (out / name).unlink()
    (out / "tables" / ".asks-val.arrow.0123.tmp").write_bytes(b"half")
    with pytest.raises(TwelvefoldError, match="not prepared"):
        Prepared.open(out)
    assert set(run(data, regions).new_steps) == {"asks-val", "asks-vocabulary"}
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"digest": 3}'])
def test_a_step_with_a_damaged_entry_is_repeated(data: Path, damage: bytes) -> None:
    run(data, None)
    (data.parent / "out" / "made" / "asks-val.json").write_bytes(damage)
    assert run(data, None).new_steps == ("asks-val",)


def test_a_truncated_table_is_made_again(data: Path) -> None:
    run(data, None)
    path = data.parent / "out" / "tables" / "finds-test.arrow"
    path.write_bytes(path.read_bytes()[:-8])
    assert run(data, None).new_steps == ("finds-test",)


def test_a_full_disk_is_reported_and_completed_steps_are_kept(
    data: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(data, None)
    write(data, "finds", "val", {"e1": "coco/3"})
    with monkeypatch.context() as patch:

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(os, "fsync", full)
        with pytest.raises(TwelvefoldError, match=r"finds-val\.arrow.*disk is full"):
            run(data, None)
    assert not list((data.parent / "out").rglob("*.tmp"))
    assert run(data, None).new_steps == ("finds-val", "cleaning", "finds-val-rows")


@pytest.mark.slow
def test_the_number_of_processes_changes_no_file(data: Path, regions: Path) -> None:
    run(data, regions)
    out = data.parent / "out"
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    out.rename(data.parent / "first")
    run(data, regions, processes=2)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_hard_negatives_are_the_images_with_the_most_similar_regions(data: Path, regions: Path) -> None:
    run(data, regions, num_negatives=2)
    prepared = Prepared.open(data.parent / "out")
    keys, _ = prepared.table("finds", "train").first_images()
    negatives = prepared.negatives("finds")
    assert negatives is not None
    assert negatives.shape == (6, 2)
    named = {keys[n].id: {keys[m].id for m in row} for n, row in enumerate(negatives)}
    assert named["2"] == {"3", "4"}  # an image's feature is its number
    assert named["5"] == {"4", "6"}
    assert prepared.negatives("asks") is None


def test_without_regions_there_are_no_negatives(data: Path) -> None:
    run(data, None)
    assert Prepared.open(data.parent / "out").negatives("finds") is None


def test_images_without_regions_are_an_error_or_counted(
    data: Path, extracted: Callable[[Path, Sequence[str]], Path], tmp_path: Path
) -> None:
    some = extracted(tmp_path / "some", [f"coco/{n}" for n in (2, 3, 5, 6, 8, 9)] + ["vg/101"])
    with pytest.raises(TwelvefoldError, match=r"asks-train: 1 of 4 examples .* 'a4' \(coco/4\)"):
        run(data, some)
    assert not (data.parent / "out" / "prepared.json").exists()
    summary = run(data, some, without_regions=True)
    assert summary.counts["asks"]["train"].without_regions == 1
    assert ids(data, "asks", "train") == ["a2"]


def test_malformed_records_are_an_error_or_counted_and_listed(data: Path) -> None:
    path = data / "asks" / "val.json"
    path.write_text(json.dumps([*json.loads(path.read_text()), {"id": "bad", "broken": 1}]))
    with pytest.raises(TwelvefoldError, match=r"asks: .*val\.json, bad: is broken"):
        run(data, None)
    summary = run(data, None, skip_bad=True)
    assert summary.counts["asks"]["val"].malformed == 1
    assert len(summary.problems) == 1
    assert "bad: is broken" in summary.problems[0]
    assert run(data, None, skip_bad=True).problems == summary.problems  # stored, not read again
    alone = clean(data, data.parent / "alone", tasks=[ASKS, FINDS], skip_bad=True)
    assert alone.problems == summary.problems
    assert alone.digest == summary.clean_digest


def test_malformed_records_of_an_id_map_are_listed_too(data: Path) -> None:
    path = data / "vg" / "image_data.json"
    path.write_text(json.dumps([*json.loads(path.read_text()), {"image_id": "no number"}]))
    with pytest.raises(TwelvefoldError, match=r"image_data\.json"):
        run(data, None)
    for _ in range(2):
        (problem,) = run(data, None, skip_bad=True).problems
        assert "no number" in problem


def test_answer_lists_are_counted_or_read_from_a_file(data: Path, tmp_path: Path) -> None:
    run(data, None, min_count=2)
    assert Prepared.open(data.parent / "out").vocabulary("asks") == ("yes",)
    with pytest.raises(TwelvefoldError, match="no answer occurs 7 times"):
        run(data, None, min_count=7)
    (tmp_path / "answers.json").write_text('["no", "yes", "maybe"]')
    assert run(data, None, answer_lists={ASKS: tmp_path / "answers.json"}).new_steps == ("asks-vocabulary",)
    assert Prepared.open(data.parent / "out").head("asks").outputs == ("no", "yes", "maybe")


def test_a_module_may_make_its_own_answer_list(data: Path) -> None:
    module = data.parent / "code" / "toys" / "asks.py"
    text = module.read_text()
    module.write_text(text.replace(', chosen_answer=record["text"]', ""))
    with pytest.raises(TwelvefoldError, match=r"toys\.asks: no example of train or val has a chosen_answer"):
        run(data, None)
    sys.modules.pop("toys.asks")
    module.write_text(f"{text}\ndef vocabulary(root, *, min_count, bad, color='red'):\n    return ['b', 'a']\n")
    run(data, None)
    assert Prepared.open(data.parent / "out").vocabulary("asks") == ("b", "a")


def test_invalid_names_and_options_are_rejected_before_anything_is_read(data: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"no answer list is needed for 'toys.ask'; .*did you mean 'toys.asks'"):
        run(data, None, answer_lists={"toys.ask": data})
    with pytest.raises(TwelvefoldError, match=r"no option 'colour'; it has color; did you mean 'color'"):
        run(data, None, {ASKS: TaskConfig(options={"colour": "red"})})
    with pytest.raises(TwelvefoldError, match=r"asks: reader option color: expected str, got 3"):
        run(data, None, {ASKS: TaskConfig(options={"color": 3})})
    with pytest.raises(TwelvefoldError, match=r"more than once: toys\.asks"):
        run(data, None, [ASKS, ASKS])
    assert not (data.parent / "out").exists()


def test_the_error_for_a_missing_source_file_names_it(data: Path) -> None:
    (data / "finds" / "val.json").unlink()
    with pytest.raises(TwelvefoldError, match=r"finds/val\.json"):
        run(data, None)


def test_a_folder_in_use_is_an_error(data: Path) -> None:
    with atomic_files.lock_folder(data.parent / "out"), pytest.raises(TwelvefoldError, match="another process"):
        run(data, None)


def test_the_summary_shows_counts_before_and_after(data: Path) -> None:
    table = run(data, None).table()
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["asks", "finds"]
    assert cells[1:4] == [["4", "7"], ["2", "1"], ["2", "6"]]
