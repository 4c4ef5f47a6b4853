"""The matrix counts distinct images by evidence, and agrees with a brute-force count."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.leakage.overlap import Collection, Overlap, OverlapCell, SplitContent
from twelvefold.leakage.text_overlap import normalize_text
from twelvefold.schema import Evidence, ImageKey, SameImageLink, Split

EVIDENCE: tuple[Evidence, ...] = get_args(Evidence)
keys = st.builds(ImageKey, st.sampled_from(["coco", "vg"]), st.sampled_from("123456"))
links = st.lists(st.builds(SameImageLink, keys, keys, st.sampled_from(EVIDENCE), st.just("a map")), max_size=8)
pairs = st.lists(st.tuples(keys, st.sampled_from(["", "A cat?", "a  CAT", "a dog."])), max_size=6)
splits = st.dictionaries(st.sampled_from(get_args(Split)), pairs)
sets = st.lists(splits, max_size=4)


def collection(name: str, **keys_by_split: str) -> Collection:
    """``train="coco/1 coco/2"``."""
    splits = {
        split: SplitContent.from_pairs((ImageKey.parse(key), "") for key in given.split())
        for split, given in keys_by_split.items()
    }
    return Collection(name, "task", splits)  # type: ignore[arg-type]  # keywords are splits


def cell(overlap: Overlap, row: str, column: str) -> OverlapCell:
    return next(cell for cell in overlap.tests if (cell.row, cell.column) == (row, column))


def distinct_images(pairs: list[tuple[ImageKey, str]], groups: ImageGroups) -> set[ImageKey]:
    return {groups.group_of(key) for key, _ in pairs}


@given(sets, links)
def test_every_cell_agrees_with_a_brute_force_count(
    contents: list[dict[Split, list[tuple[ImageKey, str]]]], links_: list[SameImageLink]
) -> None:
    collections = [
        Collection(str(n), "own", {split: SplitContent.from_pairs(pairs) for split, pairs in content.items()})
        for n, content in enumerate(contents)
    ]
    overlap = Overlap(collections, links_)
    cells = {(c.row, c.column): c for c in overlap.tests}
    for n, row in enumerate(contents):
        for m, column in enumerate(contents):
            tests, trained = row.get("test", []), [*column.get("train", []), *column.get("val", [])]
            if not tests or not trained:
                assert (str(n), str(m)) not in cells
                continue
            found = cells[str(n), str(m)]
            num_so_far = 0
            for level, evidence in enumerate(EVIDENCE):
                groups = ImageGroups(link for link in links_ if link.evidence in EVIDENCE[: level + 1])
                all_groups = ImageGroups(links_)
                matches = {
                    all_groups.group_of(key)
                    for key, _ in tests
                    if any(groups.is_same(key, other) for other, _ in trained)
                }
                assert found.by_evidence.get(evidence, 0) == len(matches) - num_so_far
                num_so_far = len(matches)
            assert (found.count, found.total) == (num_so_far, len(distinct_images(tests, ImageGroups(links_))))
            for shared in overlap.shared_images(str(n), str(m)):
                assert ImageGroups(links_).is_same(shared.key, shared.other)
                assert shared.key in {key for key, _ in tests}
                assert shared.other in {key for key, _ in trained}
            assert len(overlap.shared_images(str(n), str(m))) == found.count


@given(sets, links)
def test_texts_are_compared_by_their_words_and_with_their_images(
    contents: list[dict[Split, list[tuple[ImageKey, str]]]], links_: list[SameImageLink]
) -> None:
    collections = [
        Collection(str(n), "own", {split: SplitContent.from_pairs(pairs) for split, pairs in content.items()})
        for n, content in enumerate(contents)
    ]
    groups = ImageGroups(links_)
    cells = Overlap(collections, links_).texts
    for c in cells:
        row, column = contents[int(c.row)], contents[int(c.column)]
        tests = {(groups.group_of(key), normalize_text(text)) for key, text in row.get("test", []) if text}
        trained = [
            (group, normalize_text(text))
            for split in ("train", "val")
            for key, text in column.get(split, [])
            if text
            for group in groups.matching_groups(key)
        ]
        assert c.total == len(tests)
        assert c.reused == sum(text in {text for _, text in trained} for _, text in tests)
        assert c.same_image == len(tests & set(trained))


def test_the_most_certain_evidence_counts_and_equal_keys_are_ids() -> None:
    collections = [collection("a", test="coco/1 coco/2 coco/3"), collection("b", train="coco/1 vg/2 vg/3")]
    links_ = [
        SameImageLink(ImageKey("vg", "2"), ImageKey("coco", "2"), "ids", "a map"),
        SameImageLink(ImageKey("vg", "2"), ImageKey("coco", "2"), "looks", "alike"),
        SameImageLink(ImageKey("vg", "3"), ImageKey("coco", "3"), "looks", "alike"),
    ]
    assert cell(Overlap(collections, links_), "a", "b").by_evidence == {"ids": 2, "looks": 1}


def test_similarity_is_not_chained() -> None:
    collections = [collection("a", test="coco/1"), collection("b", train="coco/2"), collection("c", train="coco/3")]
    links_ = [
        SameImageLink(ImageKey("coco", first), ImageKey("coco", second), "looks", "alike")
        for first, second in ("12", "23")
    ]
    overlap = Overlap(collections, links_)
    assert (cell(overlap, "a", "b").count, cell(overlap, "a", "c").count) == (1, 0)
    assert overlap.num_images == 3


def test_a_test_set_in_its_own_train_set_is_on_the_diagonal() -> None:
    overlap = Overlap([collection("a", test="coco/1 coco/2", train="coco/2 coco/5", val="coco/1")], [])
    assert (cell(overlap, "a", "a").count, cell(overlap, "a", "a").percent) == (2, 100.0)
    assert [c.count for c in overlap.vals] == [0]


def test_an_image_with_two_keys_in_a_test_set_counts_once() -> None:
    collections = [collection("a", test="coco/1 vg/1 coco/2"), collection("b", train="vg/1")]
    found = cell(
        Overlap(collections, [SameImageLink(ImageKey("vg", "1"), ImageKey("coco", "1"), "bytes", "equal")]), "a", "b"
    )
    assert (found.count, found.total) == (1, 2)


def test_only_the_words_of_a_text_count() -> None:
    assert normalize_text("  Is the CAFÉ open?! ") == normalize_text("is the cafe\u0301 open")
    assert normalize_text("a_b-c") == "a b c"
    assert normalize_text("?!") == ""
