"""Prepare: reads once, cleans by photograph, counts everything that it leaves out, and makes nothing twice."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.clean import clean
from twelvefold.prepare import PrepareSummary, prepare
from twelvefold.schema import ImageKey, Regions, TwelvefoldError
from twelvefold.splits import manifest
from twelvefold.store import files
from twelvefold.store.prepared import MANIFEST, Prepared
from twelvefold.store.regions import ShardWriter, finish_store

MODULE = """
import json
from twelvefold.schema import *
TASK = TaskSpec({name!r}, {name!r}, {family!r}, {name!r}, "accuracy", 12, 4, 1e-4, vocabulary={vocabulary!r})
def files(root, split, *, colour="red"):
    return [root / "{name}" / (split + ".json")]
def read(root, split, *, bad, colour="red"):
    from twelvefold.datasets.records import Refusal
    for record in json.loads(files(root, split)[0].read_text()):
        if "broken" in record:
            bad.add(Refusal({name!r}, files(root, split)[0], record["id"], "is broken"))
            continue
        pairs = tuple(Pair(ImageKey.parse(image), record["text"]) for image in record["images"])
        label = {{"answers": SoftAnswers({{record["text"]: 1.0}}), "retrieval": PositivePair(0)}}[{family!r}]
        yield Example(record["id"], pairs, label, kind=colour)
"""
VOCABULARY = """
def vocabulary(root, *, min_count, bad, colour="red"):
    texts = [record["text"] for record in json.loads(files(root, "train")[0].read_text())]
    return sorted({text for text in texts if texts.count(text) >= min_count})
"""
ASKS, FINDS = "toys.asks", "toys.finds"


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
    write(root, "asks", "train", {"a1": "coco/1", "a2": "coco/2", "a3": "coco/3 coco/8", "a4": "coco/4"})
    write(root, "asks", "val", {"b1": "coco/5", "b2": "coco/9"})
    write(root, "asks", "test", {"c1": "coco/9"})
    write(root, "finds", "train", {f"d{n}": f"coco/{n}" for n in range(1, 8)})
    write(root, "finds", "val", {"e1": "coco/3", "e2": "coco/5"})
    write(root, "finds", "test", {"f1": "vg/101", "f2": "coco/8"})
    (root / "vg").mkdir()
    (root / "vg" / "image_data.json").write_text('[{"image_id": 101, "coco_id": 1}, {"image_id": 7, "coco_id": null}]')
    return root


def write(root: Path, task: str, split: str, pictures: Mapping[str, str]) -> None:
    records = [{"id": id_, "images": keys.split(), "text": "yes"} for id_, keys in pictures.items()]
    files.write_json(root / task / f"{split}.json", records)


def extracted(folder: Path, keys: Sequence[str]) -> Path:
    with ShardWriter(folder / "detected" / "a", feature_size=2) as shard:
        for key in keys:
            number = float(ImageKey.parse(key).id)
            box = np.array([[0, 0, 5, 5]], dtype=np.float32)
            shard.add(ImageKey.parse(key), Regions(box, np.array([[number, 0.0]]), 10, 10))
    finish_store(folder / "detected", ["a"], info={})
    return folder


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    return extracted(tmp_path / "regions", [f"coco/{n}" for n in range(1, 10)] + ["vg/101"])


def run(data: Path, regions: Path | None, **options: Any) -> PrepareSummary:
    chosen: dict[str, Any] = {"tasks": [ASKS, FINDS], "min_count": 1}
    return prepare(data, regions, data.parent / "out", **chosen | options)


def ids(data: Path, task: str, split: Any) -> list[str]:
    return Prepared.open(data.parent / "out").table(task, split).ids()


def test_test_photographs_of_every_task_leave_train_and_val_of_every_task(data: Path, regions: Path) -> None:
    summary = run(data, regions)
    assert ids(data, "asks", "train") == ["a2", "a4"]  # coco/1 is vg/101, coco/8 is the second picture of a3
    assert ids(data, "asks", "val") == ["b1"]
    assert ids(data, "finds", "train") == ["d2", "d3", "d4", "d5", "d6", "d7"]
    assert ids(data, "finds", "val") == ["e1", "e2"]
    assert ids(data, "asks", "test") == ["c1"]
    assert ids(data, "finds", "test") == ["f1", "f2"]
    counts = summary.counts["asks"]["train"]
    assert (counts.read, counts.removed, counts.kept) == (4, 2, 2)
    assert [sentence for sentence in summary.hidden if "pictures" not in sentence] == []
    decided = manifest.read(data.parent / "out" / "clean.json")
    assert decided.split("asks", "train").removed == {"coco/1": ["a1"], "coco/8": ["a3"]}
    assert decided.why("coco/1") == "coco/1 is in the test set of finds as vg/101 (coco_id in image_data.json)"
    assert decided.why("coco/8") == "coco/8 is in the test set of finds"


def test_equal_picture_files_are_one_photograph(data: Path) -> None:
    for folder, name, content in (
        ("coco/train2014", "COCO_train2014_000000000002.jpg", b"same"),
        ("flickr30k", "55.jpg", b"same"),
        ("flickr30k", "56.jpg", b"none"),
    ):
        files.write_bytes(data / "images" / folder / name, content)
    write(data, "asks", "test", {"c1": "flickr30k/55", "c2": "flickr30k/56"})
    summary = run(data, None)
    assert ids(data, "asks", "train") == ["a4"]
    assert sorted(summary.unreadable) == ["coco/2", "flickr30k/55", "flickr30k/56"]  # no pictures, and listed so
    assert str(data) not in (data.parent / "out" / "clean.json").read_text()


def test_full_data_keeps_everything(data: Path, regions: Path) -> None:
    summary = run(data, regions, clean="none")
    assert ids(data, "asks", "train") == ["a1", "a2", "a3", "a4"]
    assert not Prepared.open(data.parent / "out").manifest.clean
    assert all(counts.removed == 0 for splits in summary.counts.values() for counts in splits.values())


def test_a_second_call_makes_nothing_and_changes_no_file(data: Path, regions: Path) -> None:
    first = run(data, regions)
    assert len(first.made) == 9  # what cleaning decided, six tables, an answer list, hard negatives
    out = data.parent / "out"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert run(data, regions).made == ()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_what_changes_is_made_again_and_nothing_else(data: Path, regions: Path) -> None:
    run(data, regions)
    write(data, "finds", "val", {"e1": "coco/3"})
    assert run(data, regions).made == ("cleaning", "finds-val")
    assert run(data, regions, max_examples={ASKS: 1}).made == ("asks-train",)
    assert ids(data, "asks", "train") == ["a2"]
    blue = run(data, regions, max_examples={ASKS: 1}, reader_options={FINDS: {"colour": "blue"}})
    assert set(blue.made) == {"cleaning", "finds-train", "finds-val", "finds-test", "finds-negatives"}
    assert Prepared.open(data.parent / "out").table("finds", "test")[0].kind == "blue"
    assert set(run(data, regions).made) >= {"cleaning", "finds-test"}
    # A test set decides what every train and val keep; those that keep what they had are not made again.
    write(data, "asks", "test", {"c1": "coco/4"})
    changed = {"asks-test", "asks-train", "asks-val", "finds-train", "finds-negatives"}
    assert set(run(data, regions).made) == {"cleaning", *changed}
    assert ids(data, "asks", "train") == ["a2"]


def test_what_a_kill_left_undone_is_made_and_the_rest_is_kept(data: Path, regions: Path) -> None:
    run(data, regions)
    out = data.parent / "out"
    whole = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for name in (MANIFEST, "made/asks-val.json", "vocabularies/asks.json"):
        (out / name).unlink()
    (out / "tables" / ".asks-val.arrow.0123.tmp").write_bytes(b"half")
    with pytest.raises(TwelvefoldError, match="not prepared"):
        Prepared.open(out)
    assert set(run(data, regions).made) == {"asks-val", "asks-vocabulary"}
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == whole


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"digest": 3}'])
def test_a_note_that_cannot_be_read_says_nothing(data: Path, damage: bytes) -> None:
    run(data, None)
    (data.parent / "out" / "made" / "asks-val.json").write_bytes(damage)
    assert run(data, None).made == ("asks-val",)


def test_a_table_cut_short_is_made_again(data: Path) -> None:
    run(data, None)
    path = data.parent / "out" / "tables" / "finds-test.arrow"
    path.write_bytes(path.read_bytes()[:-8])
    assert run(data, None).made == ("finds-test",)


def test_a_full_disk_is_named_and_what_was_whole_stays(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(data, None)
    write(data, "finds", "val", {"e1": "coco/3"})
    with monkeypatch.context() as patch:

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(os, "fsync", full)
        with pytest.raises(TwelvefoldError, match=r"clean\.json.*disk is full"):
            run(data, None)
    assert not list((data.parent / "out").rglob("*.tmp"))
    assert run(data, None).made == ("cleaning", "finds-val")


def test_several_processes_make_the_same_folder(data: Path, regions: Path) -> None:
    run(data, regions)
    out = data.parent / "out"
    whole = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    out.rename(data.parent / "first")
    run(data, regions, processes=2)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == whole


def test_hard_negatives_are_the_pictures_that_look_most_alike(data: Path, regions: Path) -> None:
    run(data, regions, negatives=2)
    prepared = Prepared.open(data.parent / "out")
    keys, _ = prepared.table("finds", "train").images()
    negatives = prepared.negatives("finds")
    assert negatives is not None
    assert negatives.shape == (6, 2)
    named = {keys[n].id: {keys[m].id for m in row} for n, row in enumerate(negatives)}
    assert named["2"] == {"3", "4"}  # a picture's feature is its number
    assert named["5"] == {"4", "6"}
    assert prepared.negatives("asks") is None


def test_without_regions_there_are_no_negatives(data: Path) -> None:
    run(data, None)
    assert Prepared.open(data.parent / "out").negatives("finds") is None


def test_pictures_without_regions_stop_or_are_counted(data: Path, tmp_path: Path) -> None:
    some = extracted(tmp_path / "some", [f"coco/{n}" for n in (2, 3, 5, 6, 8, 9)] + ["vg/101"])
    with pytest.raises(TwelvefoldError, match=r"asks-train: 1 of 4 examples .* 'a4' \(coco/4\)"):
        run(data, some)
    assert not (data.parent / "out" / "tables" / "asks-train.arrow").exists()
    summary = run(data, some, without_regions=True)
    assert summary.counts["asks"]["train"].without_regions == 1
    assert ids(data, "asks", "train") == ["a2"]


def test_malformed_records_stop_or_are_counted_and_listed(data: Path) -> None:
    path = data / "asks" / "val.json"
    path.write_text(json.dumps([*json.loads(path.read_text()), {"id": "bad", "broken": 1}]))
    with pytest.raises(TwelvefoldError, match=r"asks: .*val\.json, bad: is broken"):
        run(data, None)
    summary = run(data, None, skip_bad=True)
    assert summary.counts["asks"]["val"].malformed == 1
    assert len(summary.problems) == 1
    assert "bad: is broken" in summary.problems[0]
    assert run(data, None, skip_bad=True).problems == summary.problems  # known without reading again
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


def test_answer_lists_are_counted_or_given(data: Path, tmp_path: Path) -> None:
    run(data, None, min_count=2)
    assert Prepared.open(data.parent / "out").vocabulary("asks") == ("yes",)
    with pytest.raises(TwelvefoldError, match="no answer occurs 5 times"):
        run(data, None, min_count=5)
    (tmp_path / "answers.json").write_text('["no", "yes", "maybe"]')
    assert run(data, None, answer_lists={ASKS: tmp_path / "answers.json"}).made == ("asks-vocabulary",)
    assert Prepared.open(data.parent / "out").head("asks").outputs == ("no", "yes", "maybe")


def test_wrong_names_are_refused_before_anything_is_read(data: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"'toys.ask', which is not asked for.*did you mean 'toys.asks'"):
        run(data, None, max_examples={"toys.ask": 3})
    with pytest.raises(TwelvefoldError, match=r"no option 'color'; it has colour; did you mean 'colour'"):
        run(data, None, reader_options={ASKS: {"color": "red"}})
    with pytest.raises(TwelvefoldError, match="more than once: asks"):
        run(data, None, tasks=[ASKS, ASKS])
    assert not (data.parent / "out").exists()


def test_a_missing_source_file_is_named(data: Path) -> None:
    (data / "finds" / "val.json").unlink()
    with pytest.raises(TwelvefoldError, match=r"finds/val\.json"):
        run(data, None)


def test_a_folder_in_use_is_refused(data: Path) -> None:
    with files.lock_folder(data.parent / "out"), pytest.raises(TwelvefoldError, match="another process"):
        run(data, None)


def test_the_summary_shows_counts_before_and_after(data: Path) -> None:
    table = run(data, None).table()
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["asks", "finds"]
    assert cells[1:4] == [["4", "7"], ["2", "1"], ["2", "6"]]


@pytest.mark.parametrize(
    ("policy", "train", "val"),
    [("paper", ["a2", "a4"], ["b1"]), ("strict", ["a2", "a4"], ["b1"]), ("ids", ["a2", "a4"], ["b1"])],
)
def test_every_policy_keeps_test_sets_and_cleans_the_rest(
    data: Path, policy: str, train: list[str], val: list[str]
) -> None:
    summary = run(data, None, clean=policy)
    assert (ids(data, "asks", "train"), ids(data, "asks", "val")) == (train, val)
    # finds validates on coco/3 and coco/5, which strict takes out of its training.
    left = {"strict": ["d2", "d4", "d6", "d7"]}.get(policy, ["d2", "d3", "d4", "d5", "d6", "d7"])
    assert ids(data, "finds", "train") == left
    assert ids(data, "finds", "test") == ["f1", "f2"]
    prepared = Prepared.open(data.parent / "out")
    assert (prepared.manifest.policy, summary.policy) == (policy, policy)
    assert prepared.manifest.cleaning is not None
    assert prepared.manifest.cleaning.digest == summary.clean_digest


def test_going_from_one_policy_to_another_makes_only_the_tables_that_differ(data: Path) -> None:
    run(data, None, clean="paper")
    assert set(run(data, None, clean="strict").made) == {"cleaning", "finds-train"}


def pinned(data: Path, **options: Any) -> Path:
    """The manifest of these data, put aside."""
    run(data, None, **options)
    kept = data.parent / "kept.json"
    kept.write_bytes((data.parent / "out" / "clean.json").read_bytes())
    return kept


def test_a_pinned_manifest_is_applied_to_the_letter_without_the_maps_it_was_made_with(data: Path) -> None:
    kept = pinned(data)
    (data / "vg" / "image_data.json").unlink()
    assert run(data, None).made == ("cleaning", "asks-train", "finds-train")  # coco/1 is not known to be vg/101 now
    assert "a1" in ids(data, "asks", "train")
    assert run(data, None, clean_manifest=kept).made == ("cleaning", "asks-train", "finds-train")
    assert ids(data, "asks", "train") == ["a2", "a4"]
    assert (data.parent / "out" / "clean.json").read_bytes() == kept.read_bytes()
    assert run(data, None, clean_manifest=kept).made == ()
    assert run(data, None, clean_manifest=kept, tasks=[ASKS]).made == ()  # a manifest may know more tasks


@pytest.mark.parametrize(
    ("split", "pictures", "said"),
    [
        ("train", {"a1": "coco/1", "a2": "coco/2", "a3": "coco/3 coco/8"}, r"1 fewer; expected 4, got 3"),
        ("train", {"a2": "coco/2", "a3": "coco/3 coco/8", "a4": "coco/4", "a5": "coco/1"}, r"others.*missing: a1"),
        ("train", {"a1": "coco/6", "a2": "coco/2", "a3": "coco/3 coco/8", "a4": "coco/4"}, r"'a1' \(no longer coco/1"),
        ("val", {"b1": "coco/6", "b2": "coco/9"}, r"the same 2, but some show another picture"),
        ("test", {"c1": "coco/9", "c2": "coco/4"}, r"1 more; expected 1, got 2"),
    ],
)
def test_other_data_than_the_pinned_manifests_are_refused_by_name(
    data: Path, split: str, pictures: Mapping[str, str], said: str
) -> None:
    kept = pinned(data)
    write(data, "asks", split, pictures)
    with pytest.raises(
        TwelvefoldError, match=rf"asks, {split}: the data are not those of the cleaning .*{said}.*clean`"
    ):
        run(data, None, clean_manifest=kept)


def test_a_pinned_manifest_of_another_policy_is_refused(data: Path) -> None:
    kept = pinned(data, clean="strict")
    with pytest.raises(TwelvefoldError, match=r"made with the policy 'strict', asked for is 'paper'.*--policy paper"):
        run(data, None, clean_manifest=kept)
    with pytest.raises(TwelvefoldError, match="says nothing of asks, train; it knows finds"):
        run(data, None, clean_manifest=pinned(data, tasks=[FINDS]))


def test_a_pinned_digest_holds_while_the_data_do(data: Path) -> None:
    digest = run(data, None).clean_digest
    assert run(data, None, clean_digest=digest).made == ()
    with pytest.raises(TwelvefoldError, match=rf"digest {digest} is pinned, but .*strict.*pin the new digest"):
        run(data, None, clean_digest=digest, clean="strict")
    write(data, "finds", "val", {"e1": "coco/3"})
    with pytest.raises(TwelvefoldError, match=f"digest {digest} is pinned"):
        run(data, None, clean_digest=digest)


def test_full_data_and_a_pin_contradict_each_other_and_lists_need_one(data: Path) -> None:
    with pytest.raises(TwelvefoldError, match="'none' asks for full data"):
        run(data, None, clean="none", clean_digest="0")
    with pytest.raises(TwelvefoldError, match="protects nothing but given id lists"):
        run(data, None, clean="lists")
    with pytest.raises(TwelvefoldError, match="did you mean 'paper'"):
        run(data, None, clean="papr")
    assert not (data.parent / "out").exists()


def test_the_order_of_tasks_leaves_no_trace(data: Path) -> None:
    one = pinned(data)
    out = data.parent / "out"
    assert run(data, None, tasks=[FINDS, ASKS]).made == ()
    out.rename(data.parent / "first")
    run(data, None, tasks=[FINDS, ASKS])
    assert (out / "clean.json").read_bytes() == one.read_bytes()
