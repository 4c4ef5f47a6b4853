"""Prepare by a named policy, or exactly as a pinned manifest says, and by no other data than it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from twelvefold.schema import TwelvefoldError
from twelvefold.store.prepared import Prepared

from .conftest import ASKS, FINDS, Write, ids, run


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
        ("train", {"a2": "coco/2", "a3": "coco/3 coco/8", "a4": "coco/4", "a5": "coco/1"}, r"other ids.*missing: a1"),
        ("train", {"a1": "coco/6", "a2": "coco/2", "a3": "coco/3 coco/8", "a4": "coco/4"}, r"'a1' \(no longer coco/1"),
        ("val", {"b1": "coco/6", "b2": "coco/9"}, r"the same 2, but some have another image"),
        ("test", {"c1": "coco/9", "c2": "coco/4"}, r"1 more; expected 1, got 2"),
    ],
)
def test_other_data_than_the_pinned_manifests_are_refused_by_name(
    data: Path, write: Write, split: str, pictures: Mapping[str, str], said: str
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
    with pytest.raises(TwelvefoldError, match="does not contain asks, train; it contains finds"):
        run(data, None, clean_manifest=pinned(data, tasks=[FINDS]))


def test_a_pinned_digest_holds_while_the_data_do(data: Path, write: Write) -> None:
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
