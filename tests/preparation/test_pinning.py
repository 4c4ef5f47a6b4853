"""Prepare with a named policy or a pinned manifest, which rejects data other than those it was made from."""

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
def test_every_policy_keeps_test_sets_and_cleans_train_and_val(
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


def test_another_policy_makes_only_the_rows_that_differ(data: Path) -> None:
    run(data, None, clean="paper")
    assert set(run(data, None, clean="strict").new_steps) == {"cleaning", "finds-train-rows"}


def pinned(data: Path, **options: Any) -> Path:
    """Prepare the data and return a copy of the cleaning manifest."""
    run(data, None, **options)
    kept = data.parent / "kept.json"
    kept.write_bytes((data.parent / "out" / "clean.json").read_bytes())
    return kept


def test_a_pinned_manifest_is_applied_without_the_id_maps_that_it_was_made_with(data: Path) -> None:
    kept = pinned(data)
    (data / "vg" / "image_data.json").unlink()
    assert run(data, None).new_steps == (
        "cleaning",
        "asks-train-rows",
        "finds-train-rows",
    )  # coco/1 is no longer linked to vg/101
    assert "a1" in ids(data, "asks", "train")
    assert run(data, None, manifest=str(kept)).new_steps == ("cleaning", "asks-train-rows", "finds-train-rows")
    assert ids(data, "asks", "train") == ["a2", "a4"]
    assert (data.parent / "out" / "clean.json").read_bytes() == kept.read_bytes()
    assert run(data, None, manifest=str(kept)).new_steps == ()
    assert run(data, None, manifest=str(kept), tasks=[ASKS]).new_steps == ()  # a manifest may contain more tasks


@pytest.mark.parametrize(
    ("split", "images", "error"),
    [
        ("train", {"a1": "coco/1", "a2": "coco/2", "a3": "coco/3 coco/8"}, r"1 fewer; expected 4, got 3"),
        ("train", {"a2": "coco/2", "a3": "coco/3 coco/8", "a4": "coco/4", "a5": "coco/1"}, r"other ids.*missing: a1"),
        ("train", {"a1": "coco/6", "a2": "coco/2", "a3": "coco/3 coco/8", "a4": "coco/4"}, r"'a1' \(no longer coco/1"),
        ("val", {"b1": "coco/6", "b2": "coco/9"}, r"the same 2, but some have another image"),
        ("test", {"c1": "coco/9", "c2": "coco/4"}, r"1 more; expected 1, got 2"),
    ],
)
def test_data_other_than_the_pinned_manifests_are_rejected(
    data: Path, write: Write, split: str, images: Mapping[str, str], error: str
) -> None:
    kept = pinned(data)
    write(data, "asks", split, images)
    with pytest.raises(
        TwelvefoldError, match=rf"asks, {split}: the data are not those of the cleaning .*{error}.*clean`"
    ):
        run(data, None, manifest=str(kept))


def test_a_pinned_manifest_of_another_policy_is_rejected(data: Path) -> None:
    kept = pinned(data, clean="strict")
    with pytest.raises(
        TwelvefoldError, match=r"made with the policy 'strict', but the policy 'paper' is requested.*--policy paper"
    ):
        run(data, None, manifest=str(kept))
    with pytest.raises(TwelvefoldError, match="does not contain asks, train; it contains finds"):
        run(data, None, manifest=str(pinned(data, tasks=[FINDS])))


def test_a_pinned_digest_rejects_changed_data(data: Path, write: Write) -> None:
    digest = run(data, None).clean_digest
    assert run(data, None, clean_digest=digest).new_steps == ()
    with pytest.raises(TwelvefoldError, match=rf"digest {digest} is pinned, but .*strict.*pin the new digest"):
        run(data, None, clean_digest=digest, clean="strict")
    write(data, "finds", "val", {"e1": "coco/3"})
    with pytest.raises(TwelvefoldError, match=f"digest {digest} is pinned"):
        run(data, None, clean_digest=digest)


def test_full_data_contradicts_a_pin_and_the_lists_policy_needs_one(data: Path) -> None:
    with pytest.raises(TwelvefoldError, match="'none' keeps full data"):
        run(data, None, clean="none", clean_digest="0")
    with pytest.raises(TwelvefoldError, match="protects id lists only"):
        run(data, None, clean="lists")
    with pytest.raises(TwelvefoldError, match="did you mean 'paper'"):
        run(data, None, clean="papr")
    assert not (data.parent / "out").exists()


def test_the_order_of_tasks_changes_nothing(data: Path) -> None:
    kept = pinned(data)
    out = data.parent / "out"
    assert run(data, None, tasks=[FINDS, ASKS]).new_steps == ()
    out.rename(data.parent / "first")
    run(data, None, tasks=[FINDS, ASKS])
    assert (out / "clean.json").read_bytes() == kept.read_bytes()
