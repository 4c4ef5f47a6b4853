"""The matrix counts photographs, whatever their names, says by which evidence, and agrees with counting by hand."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.leakage.overlap import Collection, Overlap, OverlapCell, SplitContent
from twelvefold.leakage.text_overlap import normalize_text
from twelvefold.schema import Evidence, ImageKey, SameImageLink, Split

KINDS: tuple[Evidence, ...] = get_args(Evidence)
keys = st.builds(ImageKey, st.sampled_from(["coco", "vg"]), st.sampled_from("123456"))
links = st.lists(st.builds(SameImageLink, keys, keys, st.sampled_from(KINDS), st.just("a map")), max_size=8)
pairs = st.lists(st.tuples(keys, st.sampled_from(["", "A cat?", "a  CAT", "a dog."])), max_size=6)
splits = st.dictionaries(st.sampled_from(get_args(Split)), pairs)
sets = st.lists(splits, max_size=4)


def collection(name: str, **pictures: str) -> Collection:
    """``train="coco/1 coco/2"``."""
    parts = {
        split: SplitContent.from_pairs((ImageKey.parse(key), "") for key in given.split())
        for split, given in pictures.items()
    }
    return Collection(name, "task", parts)  # type: ignore[arg-type]  # keywords are splits


def cell(overlap: Overlap, row: str, column: str) -> OverlapCell:
    return next(cell for cell in overlap.tests if (cell.row, cell.column) == (row, column))


def photographs(given: list[tuple[ImageKey, str]], identity: ImageGroups) -> set[ImageKey]:
    return {identity.group_of(key) for key, _ in given}


@given(sets, links)
def test_every_cell_is_what_counting_photographs_by_hand_gives(
    given_sets: list[dict[Split, list[tuple[ImageKey, str]]]], given_joins: list[SameImageLink]
) -> None:
    made = [
        Collection(str(n), "own", {split: SplitContent.from_pairs(pairs) for split, pairs in one.items()})
        for n, one in enumerate(given_sets)
    ]
    overlap = Overlap(made, given_joins)
    cells = {(c.row, c.column): c for c in overlap.tests}
    for n, row in enumerate(given_sets):
        for m, column in enumerate(given_sets):
            tests, learnt = row.get("test", []), [*column.get("train", []), *column.get("val", [])]
            if not tests or not learnt:
                assert (str(n), str(m)) not in cells
                continue
            found = cells[str(n), str(m)]
            so_far = 0
            for level, evidence in enumerate(KINDS):
                identity = ImageGroups(link for link in given_joins if link.evidence in KINDS[: level + 1])
                whole = ImageGroups(given_joins)
                known = photographs(learnt, identity)
                hits = {whole.group_of(key) for key, _ in tests if identity.group_of(key) in known}
                assert found.by_evidence.get(evidence, 0) == len(hits) - so_far
                so_far = len(hits)
            assert (found.count, found.total) == (so_far, len(photographs(tests, ImageGroups(given_joins))))
            for shared in overlap.shared_images(str(n), str(m)):
                assert ImageGroups(given_joins).is_same(shared.key, shared.other)
                assert shared.key in {key for key, _ in tests}
                assert shared.other in {key for key, _ in learnt}
            assert len(overlap.shared_images(str(n), str(m))) == found.count


@given(sets, links)
def test_texts_are_compared_by_their_words_and_with_their_photographs(
    given_sets: list[dict[Split, list[tuple[ImageKey, str]]]], given_joins: list[SameImageLink]
) -> None:
    made = [
        Collection(str(n), "own", {split: SplitContent.from_pairs(pairs) for split, pairs in one.items()})
        for n, one in enumerate(given_sets)
    ]
    identity = ImageGroups(given_joins)
    cells = Overlap(made, given_joins).texts
    for c in cells:
        row, column = given_sets[int(c.row)], given_sets[int(c.column)]
        tests = {(identity.group_of(key), normalize_text(text)) for key, text in row.get("test", []) if text}
        learnt = [
            (identity.group_of(k), normalize_text(t)) for s in ("train", "val") for k, t in column.get(s, []) if t
        ]
        assert c.total == len(tests)
        assert c.reused == sum(text in {text for _, text in learnt} for _, text in tests)
        assert c.same_image == len(tests & set(learnt))


def test_surer_evidence_takes_the_count_and_equal_names_are_ids() -> None:
    made = [collection("a", test="coco/1 coco/2 coco/3"), collection("b", train="coco/1 vg/2 vg/3")]
    found = [
        SameImageLink(ImageKey("vg", "2"), ImageKey("coco", "2"), "ids", "a map"),
        SameImageLink(ImageKey("vg", "2"), ImageKey("coco", "2"), "looks", "alike"),
        SameImageLink(ImageKey("vg", "3"), ImageKey("coco", "3"), "looks", "alike"),
    ]
    assert cell(Overlap(made, found), "a", "b").by_evidence == {"ids": 2, "looks": 1}


def test_a_test_set_in_its_own_train_set_is_on_the_diagonal() -> None:
    overlap = Overlap([collection("a", test="coco/1 coco/2", train="coco/2 coco/5", val="coco/1")], [])
    assert (cell(overlap, "a", "a").count, cell(overlap, "a", "a").percent) == (2, 100.0)
    assert [c.count for c in overlap.vals] == [0]


def test_a_photograph_with_two_names_in_a_test_set_counts_once() -> None:
    made = [collection("a", test="coco/1 vg/1 coco/2"), collection("b", train="vg/1")]
    found = cell(Overlap(made, [SameImageLink(ImageKey("vg", "1"), ImageKey("coco", "1"), "bytes", "equal")]), "a", "b")
    assert (found.count, found.total) == (1, 2)


def test_the_words_of_a_text_are_what_counts() -> None:
    assert normalize_text("  Is the CAFÉ open?! ") == normalize_text("is the cafe\u0301 open")
    assert normalize_text("a_b-c") == "a b c"
    assert normalize_text("?!") == ""
