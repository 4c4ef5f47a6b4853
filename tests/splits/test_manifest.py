"""A manifest says the same when read back, notices every change, and its digest follows the outcome alone."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.schema import Example, ImageKey, Pair, TwelvefoldError
from twelvefold.splits import manifest
from twelvefold.splits.manifest import Cleaned, Fingerprint, Listed, Manifest, Reason, Source, Step
from twelvefold.splits.policy import POLICIES

STEP = Step("coco/9", "vg/4", "ids", "coco_id in image_data.json")


def one_of(*names: str) -> list[Example]:
    """Examples from ``id coco/1 coco/2``."""
    split = [name.split() for name in names]
    return [Example(id_, tuple(Pair(ImageKey.parse(key), "") for key in keys), None) for id_, *keys in split]


def source(*names: str) -> Source:
    found = Fingerprint()
    for example in one_of(*names):
        found.add(example)
    return found.source()


def made(**changes: object) -> Manifest:
    train = Cleaned(source("q1 coco/9", "q2 coco/8", "ü3 coco/9"), 1, {"coco/9": ["q1", "ü3"]})
    values = {
        "policy": POLICIES["paper"],
        "splits": {"vqav2": {"test": Cleaned(source("t coco/7"), 1), "train": train}},
        "reasons": {"coco/9": [Reason("refcoco", "test", "coco/9"), Reason("visual7w", "test", "vg/4", [STEP])]},
        "lists": [Listed("coco_test_ids.npy", "coco", 3, "0f")],
        "hidden": ["a map is missing"],
        "unreadable": {"vg/3": "is no picture"},
    }
    return msgspec.convert(msgspec.to_builtins({**values, **changes}), Manifest)


def test_it_reads_back_equal_and_writes_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "clean.json"
    manifest.write(path, made())
    again = manifest.read(path)
    assert again == made()
    assert manifest.text(again) == path.read_text()
    assert '\n"coco/9": ["q1", "ü3"]\n' in path.read_text()  # a line for each picture
    assert again.split("vqav2", "train").ids() == {"q1", "ü3"}


def test_the_reason_names_the_sets_and_the_way_to_the_other_name() -> None:
    said = made().why("coco/9")
    assert said.startswith("coco/9 is in the test set of refcoco, and in the test set of visual7w as vg/4 (")
    assert "coco_id in image_data.json" in said


def test_the_digest_follows_what_may_be_learned_from_and_nothing_else() -> None:
    digest = made().digest
    told = [Reason("refcoco", "test", "coco/9", [Step("coco/9", "coco/9", "looks", "another story")])]
    assert made(reasons={"coco/9": told}, hidden=[], unreadable={}).digest == digest
    train, test = made().split("vqav2", "train"), made().split("vqav2", "test")
    others: list[dict[str, object]] = [
        {"policy": POLICIES["strict"]},
        {"policy": POLICIES["ids"]},
        {"lists": []},
        {"splits": {"vqav2": {"test": test, "train": Cleaned(train.source, 2, {"coco/9": ["q1"]})}}},
        {"splits": {"vqav2": {"test": Cleaned(source("t coco/6"), 1), "train": train}}},
        {"splits": {"vqav2": {"test": test, "train": train}, "gqa": {"test": test}}},
    ]
    for changed in others:
        assert made(**changed).digest != digest


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"kept": 1', '"kept": 2', "was changed after it was written.*digest"),
        ('["q1", "ü3"]', '["q1"]', "was changed after it was written.*digest"),
        ('"hidden"', '"hiding"', "was changed after it was written: Object contains unknown field `hiding`"),
        ('"protects": ["test"]', '"protects": "test"', r"was changed after it was written: Expected `array`"),
        ('"version": 1', '"version": 9', "of version 9, this program reads 1"),
        ('"twelvefold clean"', '"something"', "is no manifest of the kind 'twelvefold clean': make one with"),
        ("{", "[", "is not JSON"),
    ],
)
def test_a_changed_or_foreign_file_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "clean.json"
    text = manifest.text(made())
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(TwelvefoldError, match=said):
        manifest.read(path)
    with pytest.raises(TwelvefoldError, match=r"can't read .*absent\.json"):
        manifest.read(tmp_path / "absent.json")


names = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["coco/1", "vg/1", "coco/2"])).map(" ".join),
    unique_by=lambda name: name[0],
)


@given(names, names)
def test_a_source_is_told_from_another_by_ids_and_pictures_and_not_by_order(one: list[str], other: list[str]) -> None:
    first, second = source(*one), source(*other)
    assert source(*reversed(one)) == first
    assert (first.ids == second.ids) == ({n[0] for n in one} == {n[0] for n in other})
    assert (first == second) == (set(one) == set(other))


@given(names)
def test_matching_lets_the_same_examples_through_in_any_order(own: list[str]) -> None:
    examples = one_of(*own)
    expected = Cleaned(source(*own), len(own))
    assert list(manifest.matching(examples[::-1], expected, "vqav2, train")) == examples[::-1]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (["q1 coco/9", "q2 coco/8"], "1 fewer; expected 3, got 2"),
        (["q1 coco/9", "q2 coco/8", "q3 coco/9", "q4 coco/1"], "1 more; expected 3, got 4"),
        (["q1 coco/9", "q2 coco/8", "q4 coco/9"], "as many, 3, but some are others.*removed ones .* missing: q3"),
        (["q1 coco/9", "q2 coco/8", "q3 coco/5"], r"the same 3, but some show.*with another picture: 'q3' \(no longer"),
        (["q1 coco/9", "q2 coco/1", "q3 coco/9"], "the same 3, but some show another picture"),
    ],
)
def test_other_examples_are_refused_and_named(own: list[str], said: str) -> None:
    expected = Cleaned(source("q1 coco/9", "q2 coco/8", "q3 coco/9"), 1, {"coco/9": ["q1", "q3"]})
    with pytest.raises(TwelvefoldError, match=f"vqav2, train: .*{said}.*Bring back"):
        list(manifest.matching(one_of(*own), expected, "vqav2, train"))


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(TwelvefoldError, match="says nothing of gqa, train; it knows vqav2"):
        made().split("gqa", "train")
    assert json.loads(manifest.text(made()))["digest"] == made().digest
