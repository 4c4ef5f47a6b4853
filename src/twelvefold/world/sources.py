"""Which picture belongs to which source, task and split: the plan of a world, before anything is drawn.

The sources overlap as the paper's Table 1 says: of a task's test pictures, the stated share is in another task's
train and val sets. The plan is built to have those shares, by counting out, never by trying: every test set draws
its own pictures, and then each task takes, from each test set, the number of pictures that the table asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from twelvefold.schema import TwelvefoldError
from twelvefold.world.duplicates import TRANSFORMS, Transform

TASKS: Final = (
    "vqav2", "gqa", "vgqa", "coco", "flickr30k", "refcoco", "refcoco+", "refcocog", "visual7w", "guesswhat",
    "nlvr2", "snli_ve",
)  # fmt: skip
"""The paper's order (Table 2)."""

LEAST_IMAGES: Final = 100
"""Below this some split would have no picture."""

SHARES: Final = {"nlvr2": 0.26, "flickr30k": 0.19, "gqa": 0.02, "vg": 0.14, "test2015": 0.02}
"""Share of the pictures that come from each source alone; the rest is COCO's train2014 and val2014.

VG counts those outside COCO, about half of its pictures, as in Visual Genome (51 of 108 thousand are COCO's).
"""

VAL2014: Final = 1 / 3
"""COCO 2014: 40,504 of 123,287 pictures are val2014; Karpathy's test and val sets lie in it, RefCOCO outside."""

TEST_SHARES: Final = {
    "coco": 0.045, "flickr30k": 0.045, "refcoco": 0.015, "refcocog": 0.015, "visual7w": 0.024, "guesswhat": 0.026,
    "vgqa": 0.0125, "snli_ve": 0.016,
}  # fmt: skip
"""Share of all pictures in each test set. Sized for tight intervals, hence larger than the publishers' sets are."""

VAL_SHARES: Final = {
    "vqav2": 0.01, "gqa": 0.008, "vgqa": 0.013, "coco": 0.015, "flickr30k": 0.01, "refcoco": 0.0125,
    "refcocog": 0.0125, "visual7w": 0.018, "guesswhat": 0.02, "snli_ve": 0.0125,
}  # fmt: skip

NLVR2_SETS: Final = {"test1": 0.16, "dev": 0.08}
"""Share of the NLVR2 sets; the rest trains."""

SET_SIZE: Final = 8
"""Pictures of an NLVR2 set: four pairs. The plan holds them side by side, so a block of 8k splits none."""

TABLE_1: Final[Mapping[str, Mapping[str, float]]] = {
    "coco": {"vgqa": 0.43, "gqa": 0.33, "visual7w": 0.07, "guesswhat": 0.46},
    "refcoco": {"vgqa": 0.37, "gqa": 0.27, "refcocog": 0.66, "visual7w": 0.08, "guesswhat": 0.62},
    "refcocog": {"vgqa": 0.41, "gqa": 0.31, "refcoco": 0.53, "visual7w": 0.08, "guesswhat": 0.63},
    "visual7w": {"vgqa": 1.0, "gqa": 0.79, "refcoco": 0.08, "refcocog": 0.10, "guesswhat": 0.24},
    "guesswhat": {"vgqa": 0.40, "gqa": 0.31, "refcoco": 0.20, "refcocog": 0.26, "visual7w": 0.07},
}
"""Paper, Table 1: rows are test sets, columns train and val sets. Not here: what follows from where a source's
pictures come from (VQA has all of COCO; nothing is shared by NLVR2 and the GQA, VG QA and VQA test sets).
RefCOCO and RefCOCO+ share their pictures, so their one row has the mean of 36 and 38 for VG QA."""

V7W_IN_COCO, V7W_IN_COCO_TEST, GUESSWHAT_IN_COCO_TEST, SNLI_OUTSIDE_FLICKR = 0.50, 0.02, 0.04, 0.06
"""Paper, Table 1: VQA 50 and COCO 48 of Visual7W; COCO 96 of GuessWhat; Flickr30k 94 of SNLI-VE."""

REST: Final = {"vgqa": 0.42, "gqa": 0.77, "visual7w": 0.62, "refcoco": 0.60, "refcocog": 0.60, "guesswhat": 0.80}
"""Share of the pictures no one tests on that each task annotates (of those it may: ``gqa`` and ``visual7w`` of VG's,
``refcoco`` and ``refcocog`` of train2014's). Sets the size of the train sets, about 20 to 1 as in the paper."""

CROWDED: Final = 0.12
"""Share of GuessWhat's pictures with 10 to 20 things: its games have up to twenty."""

TWINS: Final = 0.01
"""Share of pictures that are near-duplicates of another one, and as many with one thing changed."""

Twin = Transform | Literal["", "changed"]

_STREAM = 301
Mask = NDArray[np.bool_]
Places = NDArray[np.int64]
Roles = dict[str, NDArray[np.str_]]


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """One picture of the plan and everything that numbers its annotations.

    index: its place in the plan. scene, crowded: which scene it shows (NLVR2's come in sets). twin: how it differs
    from that scene's own picture, empty for that one itself. coco, vg: its ids there, 0 where it is not. folder,
    vg_folder: where its files lie. name: its name at GQA testdev (``n161313``), at Flickr30k (digits), or, at NLVR2,
    its set's (``<split>-<set>``). roles: task -> split, in the publishers' words; ``minval``: in the official train
    or val file, and among its last questions, which a reader keeps for validation. tested: some task tests on it.
    vg_rank, gqa_rank: order of the question ids there.
    """

    index: int
    scene: int
    crowded: bool
    twin: Twin
    roles: Mapping[str, str]
    tested: bool
    coco: int
    folder: str
    vg: int
    vg_folder: str
    name: str
    vg_rank: int
    gqa_rank: int


def plan_images(images: int, seed: int) -> tuple[PlannedImage, ...]:
    """The plan of a world of ``images`` pictures: the same for the same arguments, drawn from nothing else.

    Raises:
        TwelvefoldError: fewer than 100 images, or a negative seed.
    Paper: Table 1 and section 2.2.
    """
    if images < LEAST_IMAGES or seed < 0:
        raise TwelvefoldError(
            f"a world needs at least {LEAST_IMAGES} images (got {images}) and a seed of at least 0 (got {seed}): "
            "with fewer pictures some of the twelve tasks would have no test set"
        )
    rng = np.random.default_rng([seed, _STREAM])
    groups = _groups(images)
    roles: Roles = {task: np.full(images, "", dtype="<U8") for task in TASKS}
    _assign_nlvr2(roles, groups["nlvr2"])
    _assign_flickr(roles, groups["flickr30k"], rng)
    roles["gqa"][groups["gqa"]] = "testdev"
    roles["vqav2"][groups["test2015"]] = "test"
    _assign_coco_and_vg(roles, groups, rng)
    roles["refcoco+"] = roles["refcoco"]
    return _pictures(roles, groups, rng)


def is_test(split: str) -> bool:
    """Whether a publisher's split is one that is reported on: ``test1``, ``testA``, ``testdev``, ..."""
    return split.startswith("test")


def overlap_percentages(pictures: tuple[PlannedImage, ...]) -> dict[str, dict[str, float]]:
    """Percentage of the row task's test pictures that are in the column task's train and val sets (Table 1)."""
    tests = {task: {p.index for p in pictures if is_test(p.roles.get(task, ""))} for task in TASKS}
    trains = {task: {p.index for p in pictures if task in p.roles and p.index not in tests[task]} for task in TASKS}
    return {
        row: {column: 100 * len(tests[row] & trains[column]) / len(tests[row]) for column in TASKS} for row in TASKS
    }


def _groups(images: int) -> dict[str, Places]:
    """The pictures of each source, side by side: NLVR2 first, in whole sets; COCO's two folders last."""
    sizes = {source: round(share * images) for source, share in SHARES.items()}
    sizes["nlvr2"] = max(3, sizes["nlvr2"] // SET_SIZE) * SET_SIZE
    coco = images - sum(sizes.values())
    sizes["val2014"] = round(coco * VAL2014)
    sizes["train2014"] = coco - sizes["val2014"]
    ends = np.cumsum(list(sizes.values()))
    return {source: np.arange(end - size, end) for (source, size), end in zip(sizes.items(), ends, strict=True)}


def _assign_nlvr2(roles: Roles, places: Places) -> None:
    sets = places.reshape(-1, SET_SIZE)
    start = 0
    for split, share in NLVR2_SETS.items():
        count = max(1, round(share * len(sets)))
        roles["nlvr2"][sets[start : start + count]] = split
        start += count
    roles["nlvr2"][sets[start:]] = "train"


def _assign_flickr(roles: Roles, places: Places, rng: np.random.Generator) -> None:
    """SNLI-VE's test pictures are Flickr30k's train pictures but for a few, which both test on, and the reverse."""
    images = len(roles["flickr30k"])
    mixed = rng.permutation(places)
    roles["flickr30k"][places] = "train"
    roles["snli_ve"][places] = "train"
    pool, mixed = np.split(mixed, [_count(TEST_SHARES["flickr30k"], images)])
    roles["flickr30k"][pool] = "test"
    tested = _count(TEST_SHARES["snli_ve"], images)
    both = round(SNLI_OUTSIDE_FLICKR * tested)
    roles["snli_ve"][np.concatenate([pool[:both], mixed[: tested - both]])] = "test"
    mixed = mixed[tested - both :]
    roles["flickr30k"][mixed[: _count(VAL_SHARES["flickr30k"], images)]] = "val"
    roles["snli_ve"][mixed[: _count(VAL_SHARES["snli_ve"], images)]] = "dev"


def _assign_coco_and_vg(roles: Roles, groups: dict[str, Places], rng: np.random.Generator) -> None:
    images = len(roles["coco"])
    train2014, val2014, outside = groups["train2014"], groups["val2014"], groups["vg"]
    roles["vqav2"][train2014] = roles["coco"][train2014] = "train"
    roles["vqav2"][val2014], roles["coco"][val2014] = "val", "restval"
    tests = _draw_tests(groups, images, rng)
    own = rng.permutation(np.setdiff1d(outside, tests["visual7w"]))[: _count(TEST_SHARES["vgqa"], images)]

    tested = np.isin(np.arange(images), np.concatenate([own, *tests.values()]))
    for task, members in _members(groups, np.setdiff1d(outside, own), tests, tested, rng).items():
        roles[task][members] = "train"
    roles["vgqa"][own] = "test"
    for task, places in tests.items():
        roles[task][places] = "test"
    halves = np.array_split(tests["refcoco"], 2)
    roles["refcoco"][halves[0]], roles["refcoco"][halves[1]] = "testA", "testB"
    words = {"guesswhat": "valid", "vqav2": "minval", "vgqa": "minval", "gqa": "minval"}
    for task in ("vqav2", "gqa", "vgqa", "coco", "refcoco", "refcocog", "visual7w", "guesswhat"):
        from_ = "restval" if task == "coco" else "val" if task == "vqav2" else "train"
        free = np.flatnonzero((roles[task] == from_) & ~tested)
        roles[task][rng.permutation(free)[: _count(VAL_SHARES[task], images)]] = words.get(task, "val")
    rest = np.flatnonzero((roles["gqa"] == "train") & ~tested)
    roles["gqa"][rng.permutation(rest)[: len(rest) // 8]] = "val"


def _draw_tests(groups: dict[str, Places], images: int, rng: np.random.Generator) -> dict[str, Places]:
    """The test sets on COCO's and VG's pictures: apart from each other, but for the few of Table 1."""
    counts = {task: _count(TEST_SHARES[task], images) for task in TABLE_1}
    pool = rng.permutation(groups["val2014"])[: counts["coco"]]
    free = rng.permutation(groups["train2014"])
    refcoco, refcocog, free = np.split(free, np.cumsum([counts["refcoco"], counts["refcocog"]]))

    in_coco, in_pool = round(V7W_IN_COCO * counts["visual7w"]), round(V7W_IN_COCO_TEST * counts["visual7w"])
    outside = rng.permutation(groups["vg"])[: counts["visual7w"] - in_coco]
    visual7w = np.concatenate([pool[:in_pool], free[: in_coco - in_pool], outside])
    free = free[in_coco - in_pool :]

    shared = round(GUESSWHAT_IN_COCO_TEST * counts["guesswhat"])
    guesswhat = np.concatenate([pool[in_pool : in_pool + shared], free[: counts["guesswhat"] - shared]])
    return {"coco": pool, "refcoco": refcoco, "refcocog": refcocog, "visual7w": visual7w, "guesswhat": guesswhat}


def _members(
    groups: dict[str, Places], outside: Places, tests: dict[str, Places], tested: Mask, rng: np.random.Generator
) -> dict[str, Mask]:
    """Which pictures each task has in train or val: from every test set the share of Table 1, of the rest ``REST``."""
    anywhere = np.zeros(len(tested), dtype=bool)
    coco, train2014, vg_only = anywhere.copy(), anywhere.copy(), anywhere.copy()
    coco[groups["train2014"]] = coco[groups["val2014"]] = train2014[groups["train2014"]] = True
    vg_only[outside] = True
    rest = ~tested & coco
    vgqa = _fill("vgqa", coco | vg_only, rest, tests, rng) | (vg_only & ~tested)
    untested = ~tested & vgqa
    return {
        "vgqa": vgqa,
        "gqa": _fill("gqa", vgqa, untested, tests, rng),
        "visual7w": _fill("visual7w", vgqa, untested, tests, rng),
        "refcoco": _fill("refcoco", train2014, ~tested & train2014, tests, rng),
        "refcocog": _fill("refcocog", train2014, ~tested & train2014, tests, rng),
        "guesswhat": _fill("guesswhat", coco, rest, tests, rng),
    }


def _fill(task: str, allowed: Mask, rest: Mask, tests: dict[str, Places], rng: np.random.Generator) -> Mask:
    """(images,) bool: the pictures ``task`` has outside its test set.

    Visual7W's row goes first: all of it is VG's, also the few that COCO tests on, which then count there too.
    """
    members = np.zeros(len(allowed), dtype=bool)
    for row in ("visual7w", "coco", "refcoco", "refcocog", "guesswhat"):
        wanted = round(TABLE_1[row].get(task, 0.0) * len(tests[row]))
        others = np.concatenate([places for name, places in tests.items() if name != row])
        free = rng.permutation(np.setdiff1d(tests[row], others))
        if wanted == len(tests[row]):
            free = tests[row]
        free = free[allowed[free] & ~members[free]]
        members[free[: max(0, wanted - int(members[tests[row]].sum()))]] = True
    more = rng.permutation(np.flatnonzero(rest & allowed))
    members[more[: round(REST[task] * len(more))]] = True
    return members


def _count(share: float, images: int) -> int:
    """At least two, so that small worlds have every split."""
    return max(2, round(share * images))


def _pictures(roles: Roles, groups: dict[str, Places], rng: np.random.Generator) -> tuple[PlannedImage, ...]:
    images = len(roles["coco"])
    tested = np.any([np.char.startswith(column, "test") for column in roles.values()], axis=0)
    keeps = np.any([np.isin(column, ("val", "valid", "dev", "minval")) for column in roles.values()], axis=0)
    crowded = (roles["guesswhat"] != "") & (rng.random(images) < CROWDED)
    scenes, twins = _twins(groups, tested, tested | keeps, rng)
    coco, vg, names = _ids(roles, groups, rng)
    folders = {int(i): source for source in ("train2014", "val2014", "test2015") for i in groups[source]}
    vg_rank, gqa_rank = _ranks(roles["vgqa"], rng), _ranks(roles["gqa"], rng)
    return tuple(
        PlannedImage(
            index=i,
            scene=int(scenes[i]),
            crowded=bool(crowded[scenes[i]]),
            twin=twins.get(i, ""),
            roles={task: str(column[i]) for task, column in roles.items() if column[i]},
            tested=bool(tested[i]),
            coco=int(coco[i]),
            folder=folders.get(i, ""),
            vg=int(vg[i]),
            vg_folder=("VG_100K" if vg[i] % 5 else "VG_100K_2") if vg[i] else "",
            name=names.get(i, ""),
            vg_rank=int(vg_rank[i]),
            gqa_rank=int(gqa_rank[i]),
        )
        for i in range(images)
    )


def _twins(
    groups: dict[str, Places], tested: Mask, spoken_for: Mask, rng: np.random.Generator
) -> tuple[Places, dict[int, Twin]]:
    """(images,) whose scene each picture shows, and how the twins differ. Half of the originals are tested on.

    Twins stand in train sets only. NLVR2's pictures have and are none: those of a set are alike by themselves.
    """
    images = len(tested)
    scenes = np.arange(images)
    twins: dict[int, Twin] = {}
    count = max(len(TRANSFORMS), round(TWINS * images))
    one_by_one = np.arange(len(groups["nlvr2"]), images)
    slots = rng.permutation(one_by_one[~spoken_for[one_by_one]])[: 2 * count]
    half_tested = rng.permutation(one_by_one[tested[one_by_one]])[:count]
    free = np.setdiff1d(one_by_one[~tested[one_by_one]], slots)
    plain = rng.permutation(free)[: 2 * count - len(half_tested)]
    originals = rng.permutation(np.concatenate([half_tested, plain]))
    for number, (slot, original) in enumerate(zip(slots.tolist(), originals.tolist(), strict=True)):
        scenes[slot] = original
        twins[slot] = TRANSFORMS[number % len(TRANSFORMS)] if number < count else "changed"
    return scenes, twins


def _ids(roles: Roles, groups: dict[str, Places], rng: np.random.Generator) -> tuple[Places, Places, dict[int, str]]:
    """COCO ids, VG ids (0 where there is none) and names, in the look of the sources.

    The last COCO ids belong to VQA's minval pictures: its reader takes the last questions of val2014.
    """
    images = len(roles["coco"])
    coco, vg = np.zeros(images, dtype=np.int64), np.zeros(images, dtype=np.int64)
    ours = np.concatenate([groups["train2014"], groups["val2014"], groups["test2015"]])
    last = roles["vqav2"][ours] == "minval"
    mixed = np.concatenate([rng.permutation(ours[~last]), rng.permutation(ours[last])])
    coco[mixed] = np.sort(1 + rng.choice(max(581_929, 20 * images), len(mixed), replace=False))
    in_vg = np.flatnonzero(roles["vgqa"] != "")
    vg[in_vg] = 1 + rng.choice(max(2_417_000, 20 * images), len(in_vg), replace=False)
    names: dict[int, str] = {}
    for place, number in zip(groups["gqa"], rng.choice(max(600_000, 20 * images), images, replace=False), strict=False):
        names[int(place)] = f"n{number + 1}"
    flickr = 10_000_000 + np.sort(rng.choice(8_000_000_000, len(groups["flickr30k"]), replace=False))
    names.update({int(p): str(n) for p, n in zip(groups["flickr30k"], rng.permutation(flickr), strict=True)})
    for number, places in enumerate(groups["nlvr2"].reshape(-1, SET_SIZE)):
        names.update({int(p): f"{roles['nlvr2'][p]}-{number}" for p in places})
    return coco, vg, names


def _ranks(column: NDArray[np.str_], rng: np.random.Generator) -> Places:
    """(images,) order of the question ids: train and val mixed, then what validates, then what tests."""
    late = np.select([np.char.startswith(column, "test"), column == "minval"], [2, 1], 0)
    order = np.lexsort((rng.random(len(column)), late, column == ""))
    ranks = np.empty(len(column), dtype=np.int64)
    ranks[order] = np.arange(len(column))
    return ranks
