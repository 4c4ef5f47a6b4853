"""The plan of a world: the sources, tasks and splits of every image, before anything is drawn.

The sources overlap as in the paper's Table 1: the stated share of a task's test images is in the train and val sets
of another task. The plan has these shares by construction: each test set takes its own images, then each task takes
from each test set the number of images that the table requires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from twelvefold.schema import TwelvefoldError
from twelvefold.world.duplicates import TRANSFORMS, Transform

TASKS: Final = (
    "vqav2", "gqa", "vgqa", "coco", "flickr30k", "refcoco", "refcoco+", "refcocog", "visual7w", "guesswhat",
    "nlvr2", "snli_ve",
)  # fmt: skip
"""The paper's order (Table 2)."""

MIN_IMAGES: Final = 100
"""A smaller world would have no image in some split."""

SOURCE_SHARES: Final = {"nlvr2": 0.26, "flickr30k": 0.19, "gqa": 0.02, "vg": 0.14, "test2015": 0.02}
"""Share of the images that come from each source only. The rest are COCO's train2014 and val2014.

VG's share is that of its images outside COCO, about half of them, as in Visual Genome (51 of 108 thousand are COCO's).
"""

VAL2014_SHARE: Final = 1 / 3
"""COCO 2014: 40,504 of 123,287 images are val2014. Karpathy's test and val sets are in it, RefCOCO is not."""

TEST_SHARES: Final = {
    "coco": 0.045, "flickr30k": 0.045, "refcoco": 0.015, "refcocog": 0.015, "visual7w": 0.024, "guesswhat": 0.026,
    "vgqa": 0.0125, "snli_ve": 0.016,
}  # fmt: skip
"""Share of all images in each test set. The sets are larger than the publishers', for narrow confidence intervals."""

VAL_SHARES: Final = {
    "vqav2": 0.01, "gqa": 0.008, "vgqa": 0.013, "coco": 0.015, "flickr30k": 0.01, "refcoco": 0.0125,
    "refcocog": 0.0125, "visual7w": 0.018, "guesswhat": 0.02, "snli_ve": 0.0125,
}  # fmt: skip
VAL_SPLITS: Final = frozenset({"val", "valid", "dev", "minval"})

NLVR2_SHARES: Final = {"test1": 0.16, "dev": 0.08}
"""Share of the NLVR2 sets in each split. The rest are train."""

SET_SIZE: Final = 8
"""Images of an NLVR2 set: four pairs. Sets are consecutive, so a block of 8k images splits none."""

TABLE_1: Final[Mapping[str, Mapping[str, float]]] = {
    "coco": {"vgqa": 0.43, "gqa": 0.33, "visual7w": 0.07, "guesswhat": 0.46},
    "refcoco": {"vgqa": 0.37, "gqa": 0.27, "refcocog": 0.66, "visual7w": 0.08, "guesswhat": 0.62},
    "refcocog": {"vgqa": 0.41, "gqa": 0.31, "refcoco": 0.53, "visual7w": 0.08, "guesswhat": 0.63},
    "visual7w": {"vgqa": 1.0, "gqa": 0.79, "refcoco": 0.08, "refcocog": 0.10, "guesswhat": 0.24},
    "guesswhat": {"vgqa": 0.40, "gqa": 0.31, "refcoco": 0.20, "refcocog": 0.26, "visual7w": 0.07},
}
"""Paper, Table 1: rows are test sets, columns train and val sets. What follows from the sources is not repeated (VQA
contains all of COCO; NLVR2 and the test sets of GQA, VG QA and VQA share nothing). RefCOCO and RefCOCO+ share their
images, so their row has the mean of 36 and 38 for VG QA."""

V7W_IN_COCO, V7W_IN_COCO_TEST, GUESSWHAT_IN_COCO_TEST, SNLI_OUTSIDE_FLICKR = 0.50, 0.02, 0.04, 0.06
"""Paper, Table 1: VQA 50 and COCO 48 of Visual7W; COCO 96 of GuessWhat; Flickr30k 94 of SNLI-VE."""

UNTESTED_SHARES: Final = {
    "vgqa": 0.42, "gqa": 0.77, "visual7w": 0.62, "refcoco": 0.60, "refcocog": 0.60, "guesswhat": 0.80,
}  # fmt: skip
"""Share of the images without a test task that each task annotates (``gqa`` and ``visual7w``: of VG's images,
``refcoco`` and ``refcocog``: of train2014). Train sets are about 20 times as large as test sets, as in the paper."""

CROWDED_SHARE: Final = 0.12
"""Share of GuessWhat's images with 10 to 20 objects: its games have up to twenty."""

VARIANT_SHARE: Final = 0.01
"""Share of images that are near-duplicates of another one. As many have one object changed."""

Variant = Transform | Literal["", "changed"]

_SEED_STREAM: Final = 301
Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]
Splits = dict[str, NDArray[np.str_]]
"""Task -> (images,) split of each image, empty where the task has none."""


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image of the plan with the numbers that its annotations need.

    Attributes:
        index: Its index in the plan.
        scene_index: The scene that it shows. NLVR2's images show scenes of sets instead.
        is_crowded: Whether the scene has 10 to 20 objects.
        variant: How it differs from the image of the same scene, empty for that image itself.
        splits: Task -> split, in the publishers' words. ``minval``: in the official train or val file, among its
            last questions, which a reader uses for validation.
        is_tested: Whether some task tests on it.
        coco_id, vg_id: Its ids, 0 where the source does not contain it.
        coco_folder, vg_folder: The folders of its files.
        name: Its name in GQA's testdev (``n161313``) or in Flickr30k (digits), or the name of its NLVR2 set.
        vg_rank, gqa_rank: Order of the question ids.
    """

    index: int
    scene_index: int
    is_crowded: bool
    variant: Variant
    splits: Mapping[str, str]
    is_tested: bool
    coco_id: int
    coco_folder: str
    vg_id: int
    vg_folder: str
    name: str
    vg_rank: int
    gqa_rank: int


def plan_images(num_images: int, seed: int) -> tuple[PlannedImage, ...]:
    """Return the plan of a world, a function of the arguments.

    Raises:
        TwelvefoldError: Fewer than 100 images, or a negative seed.
    Paper: Table 1 and section 2.2.
    """
    if num_images < MIN_IMAGES or seed < 0:
        raise TwelvefoldError(
            f"a world needs at least {MIN_IMAGES} images (got {num_images}) and a seed of at least 0 (got {seed}): "
            "with fewer images some of the twelve tasks would have no test set"
        )
    rng = np.random.default_rng([seed, _SEED_STREAM])
    groups = _group_by_source(num_images)
    splits: Splits = {task: np.full(num_images, "", dtype="<U8") for task in TASKS}
    _assign_nlvr2(splits["nlvr2"], groups["nlvr2"])
    _assign_flickr(splits, groups["flickr30k"], rng)
    splits["gqa"][groups["gqa"]] = "testdev"
    splits["vqav2"][groups["test2015"]] = "test"
    _assign_coco_and_vg(splits, groups, rng)
    splits["refcoco+"] = splits["refcoco"]
    return _number_images(splits, groups, rng)


def is_test(split: str) -> bool:
    """Return whether a publisher's split is a test set: ``test1``, ``testA``, ``testdev``, ..."""
    return split.startswith("test")


def _group_by_source(num_images: int) -> dict[str, Indices]:
    """Return the consecutive images of each source: NLVR2 first, in whole sets, COCO's two folders last."""
    sizes = {source: round(share * num_images) for source, share in SOURCE_SHARES.items()}
    sizes["nlvr2"] = max(3, sizes["nlvr2"] // SET_SIZE) * SET_SIZE
    coco = num_images - sum(sizes.values())
    sizes["val2014"] = round(coco * VAL2014_SHARE)
    sizes["train2014"] = coco - sizes["val2014"]
    ends = np.cumsum(list(sizes.values()))
    return {source: np.arange(end - size, end) for (source, size), end in zip(sizes.items(), ends, strict=True)}


def _assign_nlvr2(splits: NDArray[np.str_], indices: Indices) -> None:
    sets = indices.reshape(-1, SET_SIZE)
    splits[indices] = "train"
    start = 0
    for split, share in NLVR2_SHARES.items():
        count = max(1, round(share * len(sets)))
        splits[sets[start : start + count]] = split
        start += count


def _assign_flickr(splits: Splits, indices: Indices, rng: Generator) -> None:
    """Make SNLI-VE's test images Flickr30k's train images, except for a few on which both test, and the reverse."""
    num_images = len(splits["flickr30k"])
    order = rng.permutation(indices)
    splits["flickr30k"][indices] = splits["snli_ve"][indices] = "train"
    flickr_test, order = np.split(order, [_count(TEST_SHARES["flickr30k"], num_images)])
    splits["flickr30k"][flickr_test] = "test"
    num_test = _count(TEST_SHARES["snli_ve"], num_images)
    num_both = round(SNLI_OUTSIDE_FLICKR * num_test)
    snli_test, order = np.split(order, [num_test - num_both])
    splits["snli_ve"][np.concatenate([flickr_test[:num_both], snli_test])] = "test"
    splits["flickr30k"][order[: _count(VAL_SHARES["flickr30k"], num_images)]] = "val"
    splits["snli_ve"][order[: _count(VAL_SHARES["snli_ve"], num_images)]] = "dev"


def _assign_coco_and_vg(splits: Splits, groups: dict[str, Indices], rng: Generator) -> None:
    num_images = len(splits["coco"])
    train2014, val2014, outside = groups["train2014"], groups["val2014"], groups["vg"]
    splits["vqav2"][train2014] = splits["coco"][train2014] = "train"
    splits["vqav2"][val2014], splits["coco"][val2014] = "val", "restval"
    tests = _sample_tests(groups, num_images, rng)
    vg_test = rng.permutation(np.setdiff1d(outside, tests["visual7w"]))[: _count(TEST_SHARES["vgqa"], num_images)]

    tested = np.isin(np.arange(num_images), np.concatenate([vg_test, *tests.values()]))
    for task, members in _sample_members(groups, np.setdiff1d(outside, vg_test), tests, tested, rng).items():
        splits[task][members] = "train"
    splits["vgqa"][vg_test] = "test"
    for task, indices in tests.items():
        splits[task][indices] = "test"
    splits["refcoco"][tests["refcoco"]] = "testB"
    splits["refcoco"][np.array_split(tests["refcoco"], 2)[0]] = "testA"
    val_names = {"guesswhat": "valid", "vqav2": "minval", "vgqa": "minval", "gqa": "minval"}
    for task in ("vqav2", "gqa", "vgqa", "coco", "refcoco", "refcocog", "visual7w", "guesswhat"):
        origin = {"coco": "restval", "vqav2": "val"}.get(task, "train")
        free = np.flatnonzero((splits[task] == origin) & ~tested)
        splits[task][rng.permutation(free)[: _count(VAL_SHARES[task], num_images)]] = val_names.get(task, "val")
    rest = np.flatnonzero((splits["gqa"] == "train") & ~tested)
    splits["gqa"][rng.permutation(rest)[: len(rest) // 8]] = "val"


def _sample_tests(groups: dict[str, Indices], num_images: int, rng: Generator) -> dict[str, Indices]:
    """Return the test sets on COCO's and VG's images, disjoint except for the few images of Table 1."""
    counts = {task: _count(TEST_SHARES[task], num_images) for task in TABLE_1}
    coco = rng.permutation(groups["val2014"])[: counts["coco"]]
    free = rng.permutation(groups["train2014"])
    refcoco, refcocog, free = np.split(free, np.cumsum([counts["refcoco"], counts["refcocog"]]))

    in_coco, in_test = round(V7W_IN_COCO * counts["visual7w"]), round(V7W_IN_COCO_TEST * counts["visual7w"])
    outside = rng.permutation(groups["vg"])[: counts["visual7w"] - in_coco]
    v7w_free, free = np.split(free, [in_coco - in_test])
    visual7w = np.concatenate([coco[:in_test], v7w_free, outside])

    shared = round(GUESSWHAT_IN_COCO_TEST * counts["guesswhat"])
    guesswhat = np.concatenate([coco[in_test : in_test + shared], free[: counts["guesswhat"] - shared]])
    return {"coco": coco, "refcoco": refcoco, "refcocog": refcocog, "visual7w": visual7w, "guesswhat": guesswhat}


def _sample_members(
    groups: dict[str, Indices], vg_only: Indices, tests: dict[str, Indices], tested: Mask, rng: Generator
) -> dict[str, Mask]:
    """Return the train and val images of each task: Table 1's share of every test set, and a share of the rest."""
    train2014, val2014, outside = (
        np.isin(np.arange(len(tested)), indices) for indices in (groups["train2014"], groups["val2014"], vg_only)
    )
    coco = train2014 | val2014
    vgqa = _fill("vgqa", coco | outside, ~tested & coco, tests, rng) | (outside & ~tested)
    allowed = {"gqa": vgqa, "visual7w": vgqa, "refcoco": train2014, "refcocog": train2014, "guesswhat": coco}
    return {"vgqa": vgqa} | {task: _fill(task, mask, ~tested & mask, tests, rng) for task, mask in allowed.items()}


def _fill(task: str, allowed: Mask, untested: Mask, tests: dict[str, Indices], rng: Generator) -> Mask:
    """Return (images,) bool: the images that ``task`` has outside its test set.

    Visual7W's row comes first. VG QA takes all of it, including the few images that COCO tests on, which then count
    for COCO's row, too.
    """
    members = np.zeros(len(allowed), dtype=bool)
    for row in ("visual7w", "coco", "refcoco", "refcocog", "guesswhat"):
        wanted = round(TABLE_1[row].get(task, 0.0) * len(tests[row]))
        others = np.concatenate([indices for name, indices in tests.items() if name != row])
        free = rng.permutation(np.setdiff1d(tests[row], others))
        if wanted == len(tests[row]):
            free = tests[row]
        free = free[allowed[free] & ~members[free]]
        members[free[: max(0, wanted - int(members[tests[row]].sum()))]] = True
    more = rng.permutation(np.flatnonzero(untested & allowed))
    members[more[: round(UNTESTED_SHARES[task] * len(more))]] = True
    return members


def _count(share: float, num_images: int) -> int:
    """Return a share of the images, at least two, so that small worlds have every split."""
    return max(2, round(share * num_images))


def _number_images(splits: Splits, groups: dict[str, Indices], rng: Generator) -> tuple[PlannedImage, ...]:
    num_images = len(splits["coco"])
    tested = np.any([np.char.startswith(column, "test") for column in splits.values()], axis=0)
    validated = np.any([np.isin(column, list(VAL_SPLITS)) for column in splits.values()], axis=0)
    crowded = (splits["guesswhat"] != "") & (rng.random(num_images) < CROWDED_SHARE)
    scenes, variants = _sample_variants(groups, tested, tested | validated, rng)
    coco_ids, vg_ids, names = _sample_ids(splits, groups, rng)
    folders = {int(i): source for source in ("train2014", "val2014", "test2015") for i in groups[source]}
    vg_ranks, gqa_ranks = _sample_ranks(splits["vgqa"], rng), _sample_ranks(splits["gqa"], rng)
    return tuple(
        PlannedImage(
            index=i,
            scene_index=int(scenes[i]),
            is_crowded=bool(crowded[scenes[i]]),
            variant=variants.get(i, ""),
            splits={task: str(column[i]) for task, column in splits.items() if column[i]},
            is_tested=bool(tested[i]),
            coco_id=int(coco_ids[i]),
            coco_folder=folders.get(i, ""),
            vg_id=int(vg_ids[i]),
            vg_folder=("VG_100K" if vg_ids[i] % 5 else "VG_100K_2") if vg_ids[i] else "",
            name=names.get(i, ""),
            vg_rank=int(vg_ranks[i]),
            gqa_rank=int(gqa_ranks[i]),
        )
        for i in range(num_images)
    )


def _sample_variants(
    groups: dict[str, Indices], tested: Mask, reserved: Mask, rng: Generator
) -> tuple[Indices, dict[int, Variant]]:
    """Return (images,) the scene of each image, and the variants. Half of their originals are test images.

    Variants are in train sets only. NLVR2's images are neither variants nor originals: those of a set are alike.
    """
    scenes = np.arange(len(tested))
    variants: dict[int, Variant] = {}
    count = max(len(TRANSFORMS), round(VARIANT_SHARE * len(tested)))
    single = np.arange(len(groups["nlvr2"]), len(tested))
    slots = rng.permutation(single[~reserved[single]])[: 2 * count]
    test_originals = rng.permutation(single[tested[single]])[:count]
    free = np.setdiff1d(single[~tested[single]], slots)
    other_originals = rng.permutation(free)[: 2 * count - len(test_originals)]
    originals = rng.permutation(np.concatenate([test_originals, other_originals]))
    for number, (slot, original) in enumerate(zip(slots.tolist(), originals.tolist(), strict=True)):
        scenes[slot] = original
        variants[slot] = TRANSFORMS[number % len(TRANSFORMS)] if number < count else "changed"
    return scenes, variants


def _sample_ids(splits: Splits, groups: dict[str, Indices], rng: Generator) -> tuple[Indices, Indices, dict[int, str]]:
    """Return COCO ids, VG ids (0 where there is none) and names like those of the sources.

    The last COCO ids are those of VQA's minval images, because its reader takes the last questions of val2014.
    """
    num_images = len(splits["coco"])
    coco_ids, vg_ids = np.zeros(num_images, dtype=np.int64), np.zeros(num_images, dtype=np.int64)
    in_coco = np.concatenate([groups["train2014"], groups["val2014"], groups["test2015"]])
    is_last = splits["vqav2"][in_coco] == "minval"
    order = np.concatenate([rng.permutation(in_coco[~is_last]), rng.permutation(in_coco[is_last])])
    coco_ids[order] = np.sort(1 + rng.choice(max(581_929, 20 * num_images), len(order), replace=False))
    in_vg = np.flatnonzero(splits["vgqa"] != "")
    vg_ids[in_vg] = 1 + rng.choice(max(2_417_000, 20 * num_images), len(in_vg), replace=False)
    gqa_numbers = rng.choice(max(600_000, 20 * num_images), num_images, replace=False)
    names = {int(i): f"n{number + 1}" for i, number in zip(groups["gqa"], gqa_numbers, strict=False)}
    flickr = 10_000_000 + np.sort(rng.choice(8_000_000_000, len(groups["flickr30k"]), replace=False))
    names |= {int(i): str(n) for i, n in zip(groups["flickr30k"], rng.permutation(flickr), strict=True)}
    for number, indices in enumerate(groups["nlvr2"].reshape(-1, SET_SIZE)):
        names |= {int(i): f"{splits['nlvr2'][i]}-{number}" for i in indices}
    return coco_ids, vg_ids, names


def _sample_ranks(splits: NDArray[np.str_], rng: Generator) -> Indices:
    """Return (images,) the order of the question ids: train and val mixed, then minval, then test."""
    group = np.select([np.char.startswith(splits, "test"), splits == "minval"], [2, 1], 0)
    order = np.lexsort((rng.random(len(splits)), group, splits == ""))
    ranks = np.empty(len(splits), dtype=np.int64)
    ranks[order] = np.arange(len(splits))
    return ranks
