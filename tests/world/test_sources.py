"""The plan of a world shares pictures between the sources as the paper's Table 1 says."""

from __future__ import annotations

from collections import Counter

import pytest

from twelvefold.schema import TwelvefoldError
from twelvefold.world.duplicates import TRANSFORMS
from twelvefold.world.sources import TASKS, PlannedImage, is_test, overlap_percentages, plan_images

COLUMNS = (
    "vqav2", "vgqa", "gqa", "coco", "flickr30k", "refcoco", "refcoco+", "refcocog", "visual7w", "guesswhat",
    "snli_ve", "nlvr2",
)  # fmt: skip
TABLE_1 = {  # the paper's, typed out once more on purpose: the plan's own constants can't confirm themselves
    "vqav2": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    "vgqa": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    "gqa": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    "coco": [100, 43, 33, 0, 0, 0, 0, 0, 7, 46, 0, 0],
    "flickr30k": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 98, 0],
    "refcoco": [100, 36, 27, 100, 0, 0, 0, 66, 8, 62, 0, 0],
    "refcoco+": [100, 38, 27, 100, 0, 0, 0, 66, 8, 62, 0, 0],
    "refcocog": [100, 41, 31, 100, 0, 53, 53, 0, 8, 63, 0, 0],
    "visual7w": [50, 100, 79, 48, 0, 8, 8, 10, 0, 24, 0, 0],
    "guesswhat": [100, 40, 31, 96, 0, 20, 20, 26, 7, 0, 0, 0],
    "snli_ve": [0, 0, 0, 0, 94, 0, 0, 0, 0, 0, 0, 0],
    "nlvr2": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
}


@pytest.fixture(scope="module")
def pictures() -> tuple[PlannedImage, ...]:
    return plan_images(2000, seed=5)


@pytest.mark.parametrize(("images", "seed"), [(2000, 5), (2000, 0), (4000, 1), (20_000, 2)])
def test_overlap_is_that_of_table_1(images: int, seed: int) -> None:
    found = overlap_percentages(plan_images(images, seed))
    for row, shares in TABLE_1.items():
        for column, share in zip(COLUMNS, shares, strict=True):
            got = found[row][column]
            assert (got == 0) == (share == 0), f"{row} in {column}: {got}, the paper has {share}"
            assert abs(got - share) <= 5, f"{row} in {column}: {got}, the paper has {share}"


def test_plan_follows_its_arguments_only(pictures: tuple[PlannedImage, ...]) -> None:
    assert plan_images(2000, seed=5) == pictures
    assert plan_images(2000, seed=6) != pictures


@pytest.mark.parametrize("images", [100, 101, 120, 150, 203])
def test_small_worlds_have_every_split(images: int) -> None:
    pictures = plan_images(images, seed=images)
    assert [p.index for p in pictures] == list(range(images))
    for task in TASKS:
        splits = Counter(p.roles[task] for p in pictures if task in p.roles)
        assert any(is_test(split) for split in splits), task
        assert splits["train"] >= 5 or task == "vqav2", (task, splits)
        assert set(splits) & {"val", "valid", "dev", "minval"} or task == "vqav2", (task, splits)
    halves = {p.roles["refcoco"] for p in pictures if "refcoco" in p.roles}
    assert halves >= {"testA", "testB", "train", "val"}


@pytest.mark.parametrize(("images", "seed"), [(99, 0), (0, 0), (200, -1)])
def test_a_world_too_small_is_refused(images: int, seed: int) -> None:
    with pytest.raises(TwelvefoldError, match="at least 100 images"):
        plan_images(images, seed)


def test_every_picture_has_exactly_the_ids_of_its_sources(pictures: tuple[PlannedImage, ...]) -> None:
    for p in pictures:
        assert p.roles
        assert bool(p.coco) == bool(p.folder)
        assert bool(p.vg) == ("vgqa" in p.roles) == bool(p.vg_folder)
        assert bool(p.coco or p.vg) != bool(p.name)
        on_coco = {"vqav2", "coco", "refcoco", "refcoco+", "refcocog", "guesswhat"}
        assert not on_coco & set(p.roles) or p.coco
        assert not {"visual7w"} & set(p.roles) or p.vg
        assert p.roles.get("vqav2") != "test" or (p.folder == "test2015" and set(p.roles) == {"vqav2"})
    for ids in ([p.coco for p in pictures if p.coco], [p.vg for p in pictures if p.vg]):
        assert len(set(ids)) == len(ids)
    names = Counter(p.name for p in pictures if p.name and "nlvr2" not in p.roles)
    assert set(names.values()) == {1}


def test_what_validates_comes_last_and_is_never_cleaned_away(pictures: tuple[PlannedImage, ...]) -> None:
    """The readers of VQA, VG QA and GQA take their val set from the tail of the question ids."""
    val2014 = [p for p in pictures if p.folder == "val2014"]
    minval = [p for p in val2014 if p.roles["vqav2"] == "minval"]
    assert {p.coco for p in minval} == set(sorted(p.coco for p in val2014)[-len(minval) :])
    for task in ("vgqa", "gqa"):
        order = sorted((p for p in pictures if task in p.roles), key=lambda p: getattr(p, _rank(task)))
        splits = [
            "test" if is_test(s) else "minval" if s == "minval" else "train" for s in (p.roles[task] for p in order)
        ]
        assert splits == sorted(splits, key=["train", "minval", "test"].index)
    for p in pictures:
        validates = {task for task, split in p.roles.items() if split in {"val", "valid", "dev", "minval"}}
        assert not p.tested or validates <= {"vqav2"}, "VQA's val file also holds pictures that train"


def _rank(task: str) -> str:
    return {"vgqa": "vg_rank", "gqa": "gqa_rank"}[task]


def test_twins_show_another_pictures_scene_and_stand_in_train_sets_only(pictures: tuple[PlannedImage, ...]) -> None:
    twins = [p for p in pictures if p.twin]
    assert Counter(p.twin == "changed" for p in twins) == {True: 20, False: 20}
    assert {p.twin for p in twins} == {*TRANSFORMS, "changed"}
    for twin in twins:
        original = pictures[twin.scene]
        assert twin.scene != twin.index
        assert not original.twin
        assert not {"nlvr2"} & (set(twin.roles) | set(original.roles))
        assert not twin.tested
        assert twin.crowded == original.crowded
    assert sum(pictures[p.scene].tested for p in twins) == len(twins) // 2
    assert all(p.scene == p.index for p in pictures if not p.twin)


def test_sets_of_nlvr2_lie_side_by_side(pictures: tuple[PlannedImage, ...]) -> None:
    sets = [p for p in pictures if "nlvr2" in p.roles]
    assert [p.index for p in sets] == list(range(len(sets)))
    for start in range(0, len(sets), 8):
        together = sets[start : start + 8]
        assert len({(p.name, p.roles["nlvr2"]) for p in together}) == 1


def test_cleaning_takes_a_bearable_share_of_the_pictures(pictures: tuple[PlannedImage, ...]) -> None:
    """The paper loses about 11 % of the examples; here test sets are larger, and tested pictures train on fewer."""
    for task in TASKS:
        train = [p for p in pictures if task in p.roles and not is_test(p.roles[task])]
        assert sum(p.tested for p in train) <= len(train) / 3, task
