"""A policy removes every protected image and nothing else, and the decision depends on the data only."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.evidence import CollectedEvidence
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.schema import Example, ImageKey, Pair, PositivePair, SameImageLink, Split, TaskSpec
from twelvefold.splits import manifest
from twelvefold.splits.decide import decide_removals
from twelvefold.splits.policy import POLICIES, Policy

SPLITS: tuple[Split, ...] = ("train", "val", "test")
TASKS = ("mine.one", "mine.two", "mine.three")
Data = Mapping[str, Mapping[Split, list[list[ImageKey]]]]
IMAGES: dict[str, Mapping[Split, list[list[ImageKey]]]] = {}
"""What the datasets below read: by task and split, the images of every example."""

keys = st.builds(ImageKey, st.sampled_from(["coco", "vg"]), st.sampled_from("123456"))
links = st.lists(
    st.builds(SameImageLink, keys, keys, st.sampled_from(["ids", "bytes"]), st.sampled_from(["a", "b"])), max_size=6
)
examples = st.lists(st.lists(keys, min_size=1, max_size=2), max_size=5)
data = st.fixed_dictionaries({task: st.fixed_dictionaries(dict.fromkeys(SPLITS, examples)) for task in TASKS})


class FakeDataset(types.ModuleType):
    """A dataset whose examples have the images in ``IMAGES``."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        short = name.split(".")[1]
        self.TASK = TaskSpec(short, short, "retrieval", short, "R@1", 12, 4, 1e-4)

    def files(self, root: Path, split: Split) -> list[Path]:
        return []

    def read(self, root: Path, split: Split, *, bad: object) -> Iterator[Example]:
        for n, example_keys in enumerate(IMAGES[self.__name__][split]):
            yield Example(f"{split}-{n}", tuple(Pair(key, "text") for key in example_keys), PositivePair())


@pytest.fixture(scope="module", autouse=True)
def fake_datasets() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mine", types.ModuleType("mine"))
        for name in TASKS:
            patch.setitem(sys.modules, name, FakeDataset(name))
        yield


def decide(
    images: Data, policy: Policy, found: list[SameImageLink], *, tasks: tuple[str, ...] = TASKS
) -> manifest.CleaningManifest:
    IMAGES.update(images)
    trusted = [link for link in found if link.evidence in policy.evidence]
    return decide_removals(
        Path("nowhere"), {name: {} for name in tasks}, policy, CollectedEvidence(trusted), bad=BadRecords()
    )


def kept_examples(images: Data, result: manifest.CleaningManifest, task: str, split: Split) -> list[list[ImageKey]]:
    removed = result.split(task.split(".")[1], split).removed_ids()
    return [example_keys for n, example_keys in enumerate(images[task][split]) if f"{split}-{n}" not in removed]


@settings(max_examples=60)
@given(data, links, st.sampled_from(["paper", "strict", "ids"]))
def test_every_protected_image_is_removed_under_every_key_and_nothing_else(
    images: Data, found: list[SameImageLink], name: str
) -> None:
    policy = POLICIES[name]
    result = decide(images, policy, found)
    groups = ImageGroups([link for link in found if link.evidence in policy.evidence])
    protected: set[ImageKey] = set()
    for split in ("test", "val", "train"):
        kept = {task: kept_examples(images, result, task, split) for task in TASKS}
        for task in TASKS:
            may_stay = [
                example_keys
                for example_keys in images[task][split]
                if not {groups.group_of(k) for k in example_keys} & protected
            ]
            assert kept[task] == (images[task][split] if split == "test" else may_stay)
        if split in policy.protects:
            protected |= {
                groups.group_of(key) for example_keys in kept.values() for pair in example_keys for key in pair
            }


@settings(max_examples=40)
@given(data, links)
def test_strict_removes_all_that_paper_removes_and_paper_all_that_ids_removes(
    images: Data, found: list[SameImageLink]
) -> None:
    removed = {
        name: {
            (task, split, id_)
            for task, example_keys in decide(images, POLICIES[name], found).splits.items()
            for split, one in example_keys.items()
            for id_ in one.removed_ids()
        }
        for name in ("ids", "paper", "strict")
    }
    assert removed["ids"] <= removed["paper"] <= removed["strict"]


@settings(max_examples=40)
@given(data, links, st.permutations(TASKS))
def test_the_manifest_does_not_depend_on_the_order_of_tasks_and_links(
    images: Data, found: list[SameImageLink], order: list[str]
) -> None:
    one = manifest.manifest_text(decide(images, POLICIES["paper"], found))
    reversed_links = [SameImageLink(link.second, link.first, link.evidence, link.reason) for link in reversed(found)]
    assert manifest.manifest_text(decide(images, POLICIES["paper"], reversed_links, tasks=tuple(order))) == one


def test_the_choice_of_two_reasons_does_not_depend_on_the_order_of_keys() -> None:
    first, second = ImageKey("coco", "1"), ImageKey("coco", "2")
    found = [SameImageLink(first, second, "ids", "b"), SameImageLink(second, first, "ids", "a")]
    reversed_links = [SameImageLink(link.second, link.first, link.evidence, link.reason) for link in found]
    assert (
        ImageGroups(found).shortest_path(first, second)
        == ImageGroups(reversed_links).shortest_path(first, second)
        == [SameImageLink(first, second, "ids", "a")]
    )


@settings(max_examples=40)
@given(data, links)
def test_every_removed_example_has_a_reason_that_leads_to_a_protected_image(
    images: Data, found: list[SameImageLink]
) -> None:
    result = decide(images, POLICIES["strict"], found)
    for task in TASKS:
        for split in SPLITS:
            for picture, ids in result.split(task.split(".")[1], split).removed.items():
                for id_ in ids:
                    example_keys = images[task][split][int(id_.split("-")[1])]
                    assert picture in map(str, example_keys)
                for reason in result.reasons[picture]:
                    assert reason.owner_kind != "list"
                    there = images[f"mine.{reason.owner}"][reason.owner_kind]
                    assert reason.key in [str(key) for example_keys in there for key in example_keys]
                    steps = [picture, *(step.second for step in reason.steps)]
                    assert [step.first for step in reason.steps] == steps[:-1]
                    assert steps[-1] == reason.key
