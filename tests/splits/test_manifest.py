"""A manifest reads back equal, detects every change, and its digest depends on the decisions only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.splits import manifest
from twelvefold.splits.manifest import (
    CleanedSplit,
    CleaningManifest,
    IdListInfo,
    SplitDigest,
    SplitDigester,
)
from twelvefold.splits.policy import POLICIES, LinkStep, Reason

STEP = LinkStep("coco/9", "vg/4", "ids", "coco_id in image_data.json")


def make_rows(*names: str) -> list[tuple[str, tuple[ImageKey, ...]]]:
    """Return ids and images from ``id coco/1 coco/2``."""
    split = [name.split() for name in names]
    return [(id_, tuple(ImageKey.parse(key) for key in keys)) for id_, *keys in split]


def digest_of(*names: str) -> SplitDigest:
    digester = SplitDigester()
    for id_, images in make_rows(*names):
        digester.add(id_, images)
    return digester.digest()


def make_manifest(**changes: object) -> CleaningManifest:
    train = CleanedSplit(digest_of("q1 coco/9", "q2 coco/8", "ü3 coco/9"), 1, {"coco/9": ["q1", "ü3"]})
    values = {
        "policy": POLICIES["paper"],
        "splits": {"vqav2": {"test": CleanedSplit(digest_of("t coco/7"), 1), "train": train}},
        "reasons": {"coco/9": [Reason("refcoco", "test", "coco/9"), Reason("visual7w", "test", "vg/4", [STEP])]},
        "lists": [IdListInfo("coco_test_ids.npy", "coco", 3, "0f")],
        "limitations": ["a map is missing"],
        "unreadable": {"vg/3": "is no picture"},
    }
    return CleaningManifest(**{**values, **changes})  # type: ignore[arg-type]


def test_a_manifest_reads_back_equal_and_writes_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "clean.json"
    manifest.write_manifest(path, make_manifest())
    restored = manifest.read_manifest(path)
    assert restored == make_manifest()
    assert manifest.manifest_text(restored) == path.read_text()
    assert '\n"coco/9": ["q1", "ü3"]\n' in path.read_text()  # a line for each picture
    assert restored.split("vqav2", "train").removed_ids() == {"q1", "ü3"}


def test_the_reason_names_the_sets_and_the_links_to_the_other_key() -> None:
    message = make_manifest().why("coco/9")
    assert message.startswith("coco/9 is in the test set of refcoco, and in the test set of visual7w as vg/4 (")
    assert "coco_id in image_data.json" in message


def test_the_digest_depends_on_the_decisions_and_not_on_the_words() -> None:
    digest = make_manifest().digest
    reworded = [Reason("refcoco", "test", "coco/9", [LinkStep("coco/9", "coco/9", "looks", "another story")])]
    assert make_manifest(reasons={"coco/9": reworded}, limitations=[], unreadable={}).digest == digest
    train, test = make_manifest().split("vqav2", "train"), make_manifest().split("vqav2", "test")
    others: list[dict[str, object]] = [
        {"policy": POLICIES["strict"]},
        {"policy": POLICIES["ids"]},
        {"lists": []},
        {"splits": {"vqav2": {"test": test, "train": CleanedSplit(train.source, 2, {"coco/9": ["q1"]})}}},
        {"splits": {"vqav2": {"test": CleanedSplit(digest_of("t coco/6"), 1), "train": train}}},
        {"splits": {"vqav2": {"test": test, "train": train}, "gqa": {"test": test}}},
    ]
    for changed in others:
        assert make_manifest(**changed).digest != digest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"kept": 1', '"kept": 2', "was changed after it was written.*digest"),
        ('["q1", "ü3"]', '["q1"]', "was changed after it was written.*digest"),
        ('"hidden"', '"hiding"', "was changed after it was written: Object contains unknown field `hiding`"),
        ('"protects": ["test"]', '"protects": "test"', r"was changed after it was written: Expected `array`"),
        ('"version": 1', '"version": 9', "has version 9, this program reads 1"),
        ('"twelvefold clean"', '"something"', "is not a manifest of format 'twelvefold clean': make one with"),
        ("{", "[", "is not JSON"),
    ],
)
def test_a_changed_or_foreign_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "clean.json"
    text = manifest.manifest_text(make_manifest())
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(TwelvefoldError, match=message):
        manifest.read_manifest(path)
    with pytest.raises(TwelvefoldError, match=r"cannot read .*absent\.json"):
        manifest.read_manifest(tmp_path / "absent.json")


names = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["coco/1", "vg/1", "coco/2"])).map(" ".join),
    unique_by=lambda name: name[0],
)


@given(names, names)
def test_a_split_digest_depends_on_ids_and_images_and_not_on_order(names_: list[str], others: list[str]) -> None:
    first, second = digest_of(*names_), digest_of(*others)
    assert digest_of(*reversed(names_)) == first
    assert (first.ids == second.ids) == ({n[0] for n in names_} == {n[0] for n in others})
    assert (first == second) == (set(names_) == set(others))


@given(names)
def test_the_same_examples_pass_the_check_in_any_order(examples_: list[str]) -> None:
    rows = make_rows(*examples_)
    expected = CleanedSplit(digest_of(*examples_), len(examples_))
    manifest.check_split(rows[::-1], expected, "vqav2, train")


@pytest.mark.parametrize(
    ("examples_", "message"),
    [
        (["q1 coco/9", "q2 coco/8"], "1 fewer; expected 3, got 2"),
        (["q1 coco/9", "q2 coco/8", "q3 coco/9", "q4 coco/1"], "1 more; expected 3, got 4"),
        (
            ["q1 coco/9", "q2 coco/8", "q4 coco/9"],
            "the same number, 3, but some have other ids.*removed examples .* missing: q3",
        ),
        (["q1 coco/9", "q2 coco/8", "q3 coco/5"], r"the same 3, but some have.*with another image: 'q3' \(no longer"),
        (["q1 coco/9", "q2 coco/1", "q3 coco/9"], "the same 3, but some have another image"),
    ],
)
def test_other_examples_are_refused_with_the_difference(examples_: list[str], message: str) -> None:
    expected = CleanedSplit(digest_of("q1 coco/9", "q2 coco/8", "q3 coco/9"), 1, {"coco/9": ["q1", "q3"]})
    with pytest.raises(TwelvefoldError, match=f"vqav2, train: .*{message}.*Restore"):
        manifest.check_split(make_rows(*examples_), expected, "vqav2, train")


def test_an_unknown_task_is_refused_with_the_known_tasks() -> None:
    with pytest.raises(TwelvefoldError, match="does not contain gqa, train; it contains vqav2"):
        make_manifest().split("gqa", "train")
    assert json.loads(manifest.manifest_text(make_manifest()))["digest"] == make_manifest().digest
