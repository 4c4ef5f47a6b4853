"""What a policy removes: never a protected photograph stays, nothing else goes, and nothing but the data matters."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.evidence import Gathered
from twelvefold.duplicates.image_groups import Identity
from twelvefold.schema import Example, ImageKey, Pair, PositivePair, SameImageLink, Split, TaskSpec
from twelvefold.splits import manifest
from twelvefold.splits.decide import decide
from twelvefold.splits.policy import POLICIES, Policy

SPLITS: tuple[Split, ...] = ("train", "val", "test")
TASKS = ("mine.one", "mine.two", "mine.three")
Data = Mapping[str, Mapping[Split, list[list[ImageKey]]]]
HELD: dict[str, Mapping[Split, list[list[ImageKey]]]] = {}
"""What the datasets below read: by task, the pictures of every example of every split."""

keys = st.builds(ImageKey, st.sampled_from(["coco", "vg"]), st.sampled_from("123456"))
joins = st.lists(
    st.builds(SameImageLink, keys, keys, st.sampled_from(["ids", "bytes"]), st.sampled_from(["a", "b"])), max_size=6
)
examples = st.lists(st.lists(keys, min_size=1, max_size=2), max_size=5)
data = st.fixed_dictionaries({task: st.fixed_dictionaries(dict.fromkeys(SPLITS, examples)) for task in TASKS})


class Own(types.ModuleType):
    """A dataset whose examples are in ``HELD``."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        short = name.split(".")[1]
        self.TASK = TaskSpec(short, short, "retrieval", short, "R@1", 12, 4, 1e-4)

    def files(self, root: Path, split: Split) -> list[Path]:
        return []

    def read(self, root: Path, split: Split, *, bad: object) -> Iterator[Example]:
        for n, own in enumerate(HELD[self.__name__][split]):
            yield Example(f"{split}-{n}", tuple(Pair(key, "text") for key in own), PositivePair())


@pytest.fixture(scope="module", autouse=True)
def datasets_of_ones_own() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mine", types.ModuleType("mine"))
        for name in TASKS:
            patch.setitem(sys.modules, name, Own(name))
        yield


def decided(
    held: Data, policy: Policy, found: list[SameImageLink], *, tasks: tuple[str, ...] = TASKS
) -> manifest.Manifest:
    HELD.update(held)
    trusted = [join for join in found if join.evidence in policy.evidence]
    return decide(Path("nowhere"), {name: {} for name in tasks}, policy, Gathered(trusted), bad=BadRecords())


def stays(held: Data, made: manifest.Manifest, task: str, split: Split) -> list[list[ImageKey]]:
    gone = made.split(task.split(".")[1], split).ids()
    return [own for n, own in enumerate(held[task][split]) if f"{split}-{n}" not in gone]


@settings(max_examples=60)
@given(data, joins, st.sampled_from(["paper", "strict", "ids"]))
def test_no_protected_photograph_stays_under_any_name_and_nothing_else_goes(
    held: Data, found: list[SameImageLink], name: str
) -> None:
    policy = POLICIES[name]
    made = decided(held, policy, found)
    identity = Identity([join for join in found if join.evidence in policy.evidence])
    protected: set[ImageKey] = set()
    for split in ("test", "val", "train"):
        kept = {task: stays(held, made, task, split) for task in TASKS}
        for task in TASKS:
            may_stay = [own for own in held[task][split] if not {identity.photograph(k) for k in own} & protected]
            assert kept[task] == (held[task][split] if split == "test" else may_stay)
        if split in policy.protects:
            protected |= {identity.photograph(key) for own in kept.values() for pair in own for key in pair}


@settings(max_examples=40)
@given(data, joins)
def test_strict_removes_all_that_paper_does_and_paper_all_that_ids_does(held: Data, found: list[SameImageLink]) -> None:
    removed = {
        name: {
            (task, split, id_)
            for task, own in decided(held, POLICIES[name], found).splits.items()
            for split, one in own.items()
            for id_ in one.ids()
        }
        for name in ("ids", "paper", "strict")
    }
    assert removed["ids"] <= removed["paper"] <= removed["strict"]


@settings(max_examples=40)
@given(data, joins, st.permutations(TASKS))
def test_the_manifest_is_the_same_whatever_the_order_of_tasks_and_joins(
    held: Data, found: list[SameImageLink], order: list[str]
) -> None:
    one = manifest.text(decided(held, POLICIES["paper"], found))
    turned = [SameImageLink(join.second, join.first, join.evidence, join.reason) for join in reversed(found)]
    assert manifest.text(decided(held, POLICIES["paper"], turned, tasks=tuple(order))) == one


def test_of_two_reasons_the_same_is_given_whichever_key_each_names_first() -> None:
    one, other = ImageKey("coco", "1"), ImageKey("coco", "2")
    found = [SameImageLink(one, other, "ids", "b"), SameImageLink(other, one, "ids", "a")]
    turned = [SameImageLink(join.second, join.first, join.evidence, join.reason) for join in found]
    assert (
        Identity(found).why(one, other) == Identity(turned).why(one, other) == [SameImageLink(one, other, "ids", "a")]
    )


@settings(max_examples=40)
@given(data, joins)
def test_every_removed_example_has_a_reason_that_leads_to_a_protected_picture(
    held: Data, found: list[SameImageLink]
) -> None:
    made = decided(held, POLICIES["strict"], found)
    for task in TASKS:
        for split in SPLITS:
            for picture, ids in made.split(task.split(".")[1], split).removed.items():
                for id_ in ids:
                    own = held[task][split][int(id_.split("-")[1])]
                    assert picture in map(str, own)
                for reason in made.reasons[picture]:
                    assert reason.kind != "list"
                    there = held[f"mine.{reason.owner}"][reason.kind]
                    assert reason.key in [str(key) for own in there for key in own]
                    steps = [picture, *(step.other for step in reason.steps)]
                    assert [step.one for step in reason.steps] == steps[:-1]
                    assert steps[-1] == reason.key
