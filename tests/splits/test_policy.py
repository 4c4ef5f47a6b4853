"""After cleaning no test photograph is learned from, under any of its names, whatever the order of anything."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.duplicates.evidence import equal_files, noted_equal_files
from twelvefold.duplicates.image_groups import Identity
from twelvefold.schema import ImageKey, SameImageLink, TwelvefoldError
from twelvefold.splits.policy import Protected, policy

keys = st.builds(ImageKey, st.sampled_from(["coco", "vg", "gqa"]), st.sampled_from("12345"))
joins = st.lists(st.builds(SameImageLink, keys, keys, st.just("ids"), st.just("a map")), max_size=8)
tests = st.dictionaries(st.sampled_from(["vqav2", "refcoco", "nlvr2"]), st.lists(keys, max_size=4))


def reachable(start: ImageKey, pairs: list[SameImageLink]) -> set[ImageKey]:
    """All names of a photograph by walking the joins: slow, and plainly right."""
    found = {start}
    while True:
        more = {j.second for j in pairs if j.first in found} | {j.first for j in pairs if j.second in found}
        if more <= found:
            return found
        found |= more


@given(joins, keys, keys)
def test_two_keys_are_one_photograph_exactly_when_joins_connect_them(
    pairs: list[SameImageLink], one: ImageKey, other: ImageKey
) -> None:
    identity = Identity(pairs)
    assert identity.same(one, other) == (other in reachable(one, pairs))
    assert identity.photograph(one) == min(reachable(one, pairs))


@given(joins, keys, keys)
def test_the_reason_is_a_shortest_chain_of_real_joins(
    pairs: list[SameImageLink], one: ImageKey, other: ImageKey
) -> None:
    chain = Identity(pairs).why(one, other)
    assert bool(chain) == (one != other and other in reachable(one, pairs))
    if chain:
        assert (chain[0].first, chain[-1].second) == (one, other)
        assert all(before.second == after.first for before, after in pairwise(chain))
        assert all({step.first, step.second} in [{j.first, j.second} for j in pairs] for step in chain)
        shorter = [j for j in pairs if {j.first, j.second} == {one, other}]
        assert not shorter or len(chain) == 1


@given(joins, tests, keys)
def test_a_name_is_protected_exactly_when_joins_lead_to_a_tested_picture(
    pairs: list[SameImageLink], by_task: dict[str, list[ImageKey]], key: ImageKey
) -> None:
    identity = Identity(pairs)
    protected = Protected({(task, "test"): own for task, own in by_task.items()}, identity)
    tested = {key for own in by_task.values() for key in own}
    assert (key in protected.names()) == bool(reachable(key, pairs) & tested)
    owners = {task for task, own in by_task.items() if reachable(key, pairs) & set(own)}
    assert {place.owner for place in protected.places(key)} == {(task, "test") for task in owners}
    for place in protected.places(key):
        assert place.key in by_task[place.owner[0]]
        assert place.chain == identity.why(key, place.key)


@given(joins, tests, st.randoms())
def test_the_order_of_joins_tasks_and_pictures_does_not_matter(
    pairs: list[SameImageLink], by_task: dict[str, list[ImageKey]], random: Random
) -> None:
    shuffled = [SameImageLink(b, a, evidence, why) for a, b, evidence, why in pairs]
    random.shuffle(shuffled)
    first = Protected({(task, "test"): own for task, own in by_task.items()}, Identity(pairs))
    second = Protected({(task, "test"): own[::-1] for task, own in reversed(by_task.items())}, Identity(shuffled))
    assert first.names() == second.names()
    assert len(first) == len(second)
    assert all(first.places(key) == second.places(key) for key in first.names())


def test_an_unknown_policy_is_refused_with_the_closest() -> None:
    with pytest.raises(TwelvefoldError, match=r"no cleaning policy 'srtict'; did you mean 'strict'\?.*paper, strict"):
        policy("srtict")


def test_equal_files_are_one_photograph_and_equal_sizes_are_not(tmp_path: Path) -> None:
    contents = {"1": b"same", "2": b"else", "3": b"same", "4": b"longer", "5": b"same"}
    paths = {}
    for name, data in contents.items():
        paths[ImageKey("coco", name)] = tmp_path / name
        (tmp_path / name).write_bytes(data)
    identity = Identity(equal_files(paths))
    groups = {name: identity.photograph(ImageKey("coco", name)).id for name in contents}
    assert groups == {"1": "1", "2": "2", "3": "1", "4": "4", "5": "1"}


def test_the_note_of_equal_files_holds_until_a_file_changes(tmp_path: Path) -> None:
    paths = {ImageKey("coco", name): tmp_path / name for name in "12"}
    for path in paths.values():
        path.write_bytes(b"same")
    note = tmp_path / "made" / "note.json"
    joins = noted_equal_files(paths, note)
    assert [(str(join.first), str(join.second)) for join in joins] == [("coco/1", "coco/2")]
    written = note.stat().st_mtime_ns
    assert noted_equal_files(paths, note) == joins
    assert note.stat().st_mtime_ns == written
    (tmp_path / "2").write_bytes(b"other")
    assert noted_equal_files(paths, note) == []


@pytest.mark.parametrize("text", ['{"digest": "", "joins": []}', '["found"]', '{"found"', ""])
def test_a_note_of_another_version_is_written_anew(tmp_path: Path, text: str) -> None:
    paths = {ImageKey("coco", name): tmp_path / name for name in "12"}
    for path in paths.values():
        path.write_bytes(b"same")
    note = tmp_path / "note.json"
    note.write_text(text)
    assert len(noted_equal_files(paths, note)) == 1
