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
from twelvefold.splits.decide import decide_removals
from twelvefold.splits.manifest import CleaningManifest, manifest_text
from twelvefold.splits.policy import POLICIES, Policy
from twelvefold.splits.split_source import FilesSource

SPLITS: tuple[Split, ...] = ("train", "val", "test")
TASKS = ("mine.one", "mine.two", "mine.three")
Data = Mapping[str, Mapping[Split, list[list[ImageKey]]]]
DATA: dict[str, Mapping[Split, list[list[ImageKey]]]] = {}
"""What the fake datasets read: by task and split, the images of every example."""

keys = st.builds(ImageKey, st.sampled_from(["coco", "vg"]), st.sampled_from("123456"))
link_lists = st.lists(
    st.builds(SameImageLink, keys, keys, st.sampled_from(["ids", "bytes", "looks"]), st.sampled_from(["a", "b"])),
    max_size=6,
)
examples = st.lists(st.lists(keys, min_size=1, max_size=2), max_size=5)
datasets = st.fixed_dictionaries({task: st.fixed_dictionaries(dict.fromkeys(SPLITS, examples)) for task in TASKS})


class FakeDataset(types.ModuleType):
    """A dataset whose examples have the images in ``DATA``."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        short = name.split(".")[1]
        self.TASK = TaskSpec(short, short, "retrieval", short, "R@1", 12, 4, 1e-4)

    def files(self, root: Path, split: Split) -> list[Path]:
        return []

    def read(self, root: Path, split: Split, *, bad: object) -> Iterator[Example]:
        for n, images in enumerate(DATA[self.__name__][split]):
            yield Example(f"{split}-{n}", tuple(Pair(key, "text") for key in images), PositivePair())


@pytest.fixture(scope="module", autouse=True)
def fake_datasets() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mine", types.ModuleType("mine"))
        for name in TASKS:
            patch.setitem(sys.modules, name, FakeDataset(name))
        yield


def trusted_links(links: list[SameImageLink], policy: Policy) -> list[SameImageLink]:
    return [link for link in links if link.evidence in policy.evidence]


def decide(
    data: Data, policy: Policy, links: list[SameImageLink], *, tasks: tuple[str, ...] = TASKS
) -> CleaningManifest:
    DATA.update(data)
    evidence = CollectedEvidence(trusted_links(links, policy))
    sources = {
        name.split(".")[1]: {split: FilesSource(Path("nowhere"), name, {}, split) for split in SPLITS} for name in tasks
    }
    return decide_removals(sources, policy, evidence, bad=BadRecords())


def kept_examples(data: Data, manifest: CleaningManifest, task: str, split: Split) -> list[list[ImageKey]]:
    removed = manifest.split(task.split(".")[1], split).removed_ids()
    return [images for n, images in enumerate(data[task][split]) if f"{split}-{n}" not in removed]


@settings(max_examples=60)
@given(datasets, link_lists, st.sampled_from(["paper", "strict", "ids"]))
def test_every_protected_image_is_removed_under_every_key_and_nothing_else(
    data: Data, links: list[SameImageLink], name: str
) -> None:
    policy = POLICIES[name]
    manifest = decide(data, policy, links)
    groups = ImageGroups(trusted_links(links, policy))
    protected: set[ImageKey] = set()
    for split in ("test", "val", "train"):
        kept = {task: kept_examples(data, manifest, task, split) for task in TASKS}
        for task in TASKS:
            allowed = [
                images
                for images in data[task][split]
                if not {group for key in images for group in groups.matching_groups(key)} & protected
            ]
            assert kept[task] == (data[task][split] if split == "test" else allowed)
        if split in policy.protects:
            kept_images = [images for kept_of_task in kept.values() for images in kept_of_task]
            protected |= {groups.group_of(key) for images in kept_images for key in images}


@settings(max_examples=40)
@given(datasets, link_lists)
def test_strict_removes_all_that_paper_removes_and_paper_all_that_ids_removes(
    data: Data, links: list[SameImageLink]
) -> None:
    removed = {
        name: {
            (task, split, id_)
            for task, splits in decide(data, POLICIES[name], links).splits.items()
            for split, cleaned in splits.items()
            for id_ in cleaned.removed_ids()
        }
        for name in ("ids", "paper", "strict")
    }
    assert removed["ids"] <= removed["paper"] <= removed["strict"]


@settings(max_examples=40)
@given(datasets, link_lists, st.permutations(TASKS))
def test_the_manifest_does_not_depend_on_the_order_of_tasks_and_links(
    data: Data, links: list[SameImageLink], order: list[str]
) -> None:
    text = manifest_text(decide(data, POLICIES["paper"], links))
    reversed_links = [SameImageLink(link.second, link.first, link.evidence, link.reason) for link in reversed(links)]
    assert manifest_text(decide(data, POLICIES["paper"], reversed_links, tasks=tuple(order))) == text


def test_the_choice_of_two_reasons_does_not_depend_on_the_direction_of_links() -> None:
    first, second = ImageKey("coco", "1"), ImageKey("coco", "2")
    links = [SameImageLink(first, second, "ids", "b"), SameImageLink(second, first, "ids", "a")]
    reversed_links = [SameImageLink(link.second, link.first, link.evidence, link.reason) for link in links]
    expected = [SameImageLink(first, second, "ids", "a")]
    assert ImageGroups(links).shortest_path(first, second) == expected
    assert ImageGroups(reversed_links).shortest_path(first, second) == expected


@settings(max_examples=40)
@given(datasets, link_lists)
def test_every_removed_example_has_a_reason_that_leads_to_a_protected_image(
    data: Data, links: list[SameImageLink]
) -> None:
    manifest = decide(data, POLICIES["strict"], links)
    for task in TASKS:
        for split in SPLITS:
            for image, ids in manifest.split(task.split(".")[1], split).removed.items():
                for id_ in ids:
                    assert image in map(str, data[task][split][int(id_.split("-")[1])])
                for reason in manifest.reasons[image]:
                    assert reason.owner_kind != "list"
                    owner_examples = data[f"mine.{reason.owner}"][reason.owner_kind]
                    assert reason.key in [str(key) for images in owner_examples for key in images]
                    path = [image, *(step.second for step in reason.steps)]
                    assert [step.first for step in reason.steps] == path[:-1]
                    assert path[-1] == reason.key
