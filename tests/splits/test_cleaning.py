"""After cleaning no test photograph is learned from, under any of its names, whatever the order of anything."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from twelvefold.schema import Example, ImageKey, Join, Pair
from twelvefold.splits.cleaning import Protected
from twelvefold.splits.evidence import equal_files, noted_equal_files
from twelvefold.splits.identity import Identity

keys = st.builds(ImageKey, st.sampled_from(["coco", "vg", "gqa"]), st.sampled_from("12345"))
joins = st.lists(st.builds(Join, keys, keys, st.just("ids"), st.just("a map")), max_size=8)
tests = st.dictionaries(st.sampled_from(["vqav2", "refcoco", "nlvr2"]), st.lists(keys, max_size=4))
images = st.lists(st.lists(keys, min_size=1, max_size=2), max_size=12)


def examples(pictures: list[list[ImageKey]]) -> list[Example]:
    return [Example(str(n), tuple(Pair(key, "") for key in own), None) for n, own in enumerate(pictures)]


def reachable(start: ImageKey, pairs: list[Join]) -> set[ImageKey]:
    """All names of a photograph by walking the joins: slow, and plainly right."""
    found = {start}
    while True:
        more = {j.other for j in pairs if j.one in found} | {j.one for j in pairs if j.other in found}
        if more <= found:
            return found
        found |= more


@given(joins, keys, keys)
def test_two_keys_are_one_photograph_exactly_when_joins_connect_them(
    pairs: list[Join], one: ImageKey, other: ImageKey
) -> None:
    identity = Identity(pairs)
    assert identity.same(one, other) == (other in reachable(one, pairs))
    assert identity.photograph(one) == min(reachable(one, pairs))


@given(joins, keys, keys)
def test_the_reason_is_a_shortest_chain_of_real_joins(pairs: list[Join], one: ImageKey, other: ImageKey) -> None:
    chain = Identity(pairs).why(one, other)
    assert bool(chain) == (one != other and other in reachable(one, pairs))
    if chain:
        assert (chain[0].one, chain[-1].other) == (one, other)
        assert all(before.other == after.one for before, after in pairwise(chain))
        assert all({step.one, step.other} in [{j.one, j.other} for j in pairs] for step in chain)
        shorter = [j for j in pairs if {j.one, j.other} == {one, other}]
        assert not shorter or len(chain) == 1


@given(joins, tests, images)
def test_a_test_photograph_may_not_stay_and_nothing_else_goes(
    pairs: list[Join], by_task: dict[str, list[ImageKey]], pictures: list[list[ImageKey]]
) -> None:
    protected = Protected(by_task, Identity(pairs))
    tested = {key for own in by_task.values() for key in own}
    for example in examples(pictures):
        touches = any(reachable(pair.image, pairs) & tested for pair in example.pairs)
        assert bool(protected.why(example)) == touches


@given(joins, tests, images, st.randoms())
def test_the_order_of_joins_tasks_and_pictures_does_not_matter(
    pairs: list[Join], by_task: dict[str, list[ImageKey]], pictures: list[list[ImageKey]], random: Random
) -> None:
    shuffled = [Join(b, a, evidence, why) for a, b, evidence, why in pairs]
    random.shuffle(shuffled)
    turned = {task: own[::-1] for task, own in reversed(by_task.items())}
    first, second = Protected(by_task, Identity(pairs)), Protected(turned, Identity(shuffled))
    assert [first.why(e) for e in examples(pictures)] == [second.why(e) for e in examples(pictures)]
    assert len(first) == len(second)


def test_the_reason_names_the_test_sets_and_the_other_name() -> None:
    coco, vg = ImageKey("coco", "9"), ImageKey("vg", "4")
    protected = Protected({"visual7w": [vg], "refcoco": [coco]}, Identity([Join(vg, coco, "ids", "image_data.json")]))
    example = Example("q", (Pair(ImageKey("coco", "8"), ""), Pair(coco, "")), None)
    assert protected.why(example) == "coco/9 is in the test set of refcoco, and as vg/4 in the test set of visual7w"


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
    assert [(str(join.one), str(join.other)) for join in joins] == [("coco/1", "coco/2")]
    written = note.stat().st_mtime_ns
    assert noted_equal_files(paths, note) == joins
    assert note.stat().st_mtime_ns == written
    (tmp_path / "2").write_bytes(b"other")
    assert noted_equal_files(paths, note) == []
