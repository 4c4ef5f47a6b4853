"""Keys are protected exactly when links lead to a protected image, whatever the order of links, tasks and images."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.duplicates.evidence import _cached_equal_files, equal_files
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.schema import Evidence, ImageKey, SameImageLink, TwelvefoldError
from twelvefold.splits.policy import NO_CLEANING, POLICIES, ProtectedImages, describe_cleaning, get_policy

keys = st.builds(ImageKey, st.sampled_from(["coco", "vg", "gqa"]), st.sampled_from("12345"))
evidence = st.sampled_from(get_args(Evidence))
links = st.lists(st.builds(SameImageLink, keys, keys, evidence, st.just("a map")), max_size=8)
tests = st.dictionaries(st.sampled_from(["vqav2", "refcoco", "nlvr2"]), st.lists(keys, max_size=4))


def equal_to(start: set[ImageKey], pairs: list[SameImageLink]) -> set[ImageKey]:
    """Return all keys of images by following the links that are not by similarity, slowly and obviously correctly."""
    found, certain = set(start), [j for j in pairs if j.evidence not in ("looks", "features")]
    while True:
        more = {j.second for j in certain if j.first in found} | {j.first for j in certain if j.second in found}
        if more <= found:
            return found
        found |= more


def reachable(start: ImageKey, pairs: list[SameImageLink]) -> set[ImageKey]:
    """Return the keys of an image and of the images that a link by similarity leads to; no second such link counts."""
    equal, similar = equal_to({start}, pairs), [j for j in pairs if j.evidence in ("looks", "features")]
    alike = {j.second for j in similar if j.first in equal} | {j.first for j in similar if j.second in equal}
    return equal | equal_to(alike, pairs)


@given(links, keys, keys)
def test_two_keys_are_the_same_image_exactly_when_links_connect_them(
    pairs: list[SameImageLink], first: ImageKey, second: ImageKey
) -> None:
    groups = ImageGroups(pairs)
    assert groups.is_same(first, second) == (second in reachable(first, pairs))
    assert groups.group_of(first) == min(equal_to({first}, pairs))


@given(links, keys, keys)
def test_the_path_is_a_shortest_chain_of_existing_links(
    pairs: list[SameImageLink], first: ImageKey, second: ImageKey
) -> None:
    path = ImageGroups(pairs).shortest_path(first, second)
    assert bool(path) == (first != second and second in reachable(first, pairs))
    if path:
        assert (path[0].first, path[-1].second) == (first, second)
        assert all(before.second == after.first for before, after in pairwise(path))
        assert all({link.first, link.second} in [{j.first, j.second} for j in pairs] for link in path)
        num_similar = sum(link.evidence in ("looks", "features") for link in path)
        assert num_similar == (second not in equal_to({first}, pairs))
        certain = [link for link in pairs if link.evidence not in ("looks", "features")]
        assert not [j for j in certain if {j.first, j.second} == {first, second}] or len(path) == 1


@given(links, tests, keys)
def test_a_key_is_protected_exactly_when_links_lead_to_a_test_image(
    pairs: list[SameImageLink], by_task: dict[str, list[ImageKey]], key: ImageKey
) -> None:
    groups = ImageGroups(pairs)
    protected = ProtectedImages({(task, "test"): images for task, images in by_task.items()}, groups)
    test_images = {key for images in by_task.values() for key in images}
    assert (key in protected.all_keys()) == bool(reachable(key, pairs) & test_images)
    exact = equal_to({key}, pairs) & test_images
    assert (key in protected.similar_keys()) == (bool(reachable(key, pairs) & test_images) and not exact)
    owners = {task for task, images in by_task.items() if reachable(key, pairs) & set(images)}
    assert {(reason.owner, reason.owner_kind) for reason in protected.reasons(key)} == {(t, "test") for t in owners}
    for reason in protected.reasons(key):
        assert reason.key in map(str, by_task[reason.owner])
        path = groups.shortest_path(key, ImageKey.parse(reason.key))
        assert [(step.first, step.second) for step in reason.steps] == [(str(s.first), str(s.second)) for s in path]


@given(links, tests, st.randoms())
def test_the_order_of_links_tasks_and_images_does_not_matter(
    pairs: list[SameImageLink], by_task: dict[str, list[ImageKey]], random: Random
) -> None:
    shuffled = [SameImageLink(b, a, evidence, why) for a, b, evidence, why in pairs]
    random.shuffle(shuffled)
    first = ProtectedImages({(task, "test"): images for task, images in by_task.items()}, ImageGroups(pairs))
    second = ProtectedImages(
        {(task, "test"): images[::-1] for task, images in reversed(by_task.items())}, ImageGroups(shuffled)
    )
    assert first.all_keys() == second.all_keys()
    assert len(first) == len(second)
    assert all(first.reasons(key) == second.reasons(key) for key in first.all_keys())


def test_an_unknown_policy_is_refused_with_the_closest_name() -> None:
    with pytest.raises(TwelvefoldError, match=r"no cleaning policy 'srtict'; did you mean 'strict'\?.*paper, strict"):
        get_policy("srtict")
    with pytest.raises(TwelvefoldError, match="'none' keeps full data, so there is nothing to decide; there are paper"):
        get_policy("none")


def test_equal_files_are_the_same_image_and_equal_sizes_are_not(tmp_path: Path) -> None:
    contents = {"1": b"same", "2": b"else", "3": b"same", "4": b"longer", "5": b"same"}
    paths = {}
    for name, data in contents.items():
        paths[ImageKey("coco", name)] = tmp_path / name
        (tmp_path / name).write_bytes(data)
    groups = ImageGroups(equal_files(paths))
    roots = {name: groups.group_of(ImageKey("coco", name)).id for name in contents}
    assert roots == {"1": "1", "2": "2", "3": "1", "4": "4", "5": "1"}


def test_the_cache_of_equal_files_is_used_until_a_file_changes(tmp_path: Path) -> None:
    paths = {ImageKey("coco", name): tmp_path / name for name in "12"}
    for path in paths.values():
        path.write_bytes(b"same")
    cache_file = tmp_path / "made" / "equal-pictures.json"
    links = _cached_equal_files(paths, cache_file.parent)
    assert [(str(link.first), str(link.second)) for link in links] == [("coco/1", "coco/2")]
    written = cache_file.stat().st_mtime_ns
    assert _cached_equal_files(paths, cache_file.parent) == links
    assert cache_file.stat().st_mtime_ns == written
    (tmp_path / "2").write_bytes(b"other")
    assert _cached_equal_files(paths, cache_file.parent) == []


@pytest.mark.parametrize("text", ['{"digest": "", "links": []}', '["found"]', '{"found"', ""])
def test_a_cache_file_of_another_version_is_overwritten(tmp_path: Path, text: str) -> None:
    paths = {ImageKey("coco", name): tmp_path / name for name in "12"}
    for path in paths.values():
        path.write_bytes(b"same")
    (tmp_path / "equal-pictures.json").write_text(text)
    assert len(_cached_equal_files(paths, tmp_path)) == 1


def test_a_sentence_about_a_policy_says_what_it_removed() -> None:
    sentences = {name: describe_cleaning(name) for name in (*POLICIES, NO_CLEANING, "")}
    assert len(set(sentences.values())) == len(sentences)
    assert all(f"policy {name}" in sentence for name, sentence in sentences.items() if name)
    assert "publishers' ids, equal files, equal pixels and similarity show" in sentences["paper"]
    assert "similarity" not in sentences["exact"] + sentences["ids"]
    assert "validation set is in a training set" in sentences["strict"]
    for name in ("lists", "none"):  # test images of other tasks stay
        assert "no image of any task's test set" not in sentences[name]
        assert "may be training images of another" in sentences[name]
