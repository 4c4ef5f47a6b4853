"""All close pairs are found, each once, and a crowd of equal hashes has bounded cost."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.duplicates import hamming_search
from twelvefold.duplicates.hamming_search import Hashes, choose_blocks, find_close_pairs


def random_hashes(seed: int, total: int, centers: int, flips: int) -> Hashes:
    """Return random hashes: each is one of ``centers`` with up to ``flips`` bits inverted."""
    rng = np.random.default_rng(seed)
    result = rng.integers(0, 2**64, centers, dtype=np.uint64)[rng.integers(0, centers, total)]
    for _ in range(flips):
        result ^= np.uint64(1) << rng.integers(0, 64, total).astype(np.uint64)
    return result


def brute_force_pairs(first: Hashes, second: Hashes, radius: int) -> set[tuple[int, int]]:
    return {
        (i, j)
        for i, j in combinations(range(len(first)), 2)
        if max((int(h[i]) ^ int(h[j])).bit_count() for h in (first, second)) <= radius
    }


@pytest.mark.parametrize("num_chosen", [0, 1, 2])
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(0, 40), st.integers(1, 20), st.integers(0, 8), st.integers(0, 12))
def test_the_pairs_are_those_of_a_brute_force_search(
    num_chosen: int, seed: int, total: int, centers: int, flips: int, radius: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming_search, "choose_blocks", lambda _total, radius: (radius + num_chosen, num_chosen))
        first, second = random_hashes(seed, total, centers, flips), random_hashes(seed + 1, total, 2, flips)
        matches = find_close_pairs(first, second, radius)
    found = [tuple(pair) for pair in matches.pairs.tolist()]
    assert sorted(found) == found
    assert len(set(found)) == len(found)
    assert set(found) == brute_force_pairs(first, second, radius)
    assert not len(matches.crowded)


def test_few_hashes_are_compared_directly_and_many_in_tables() -> None:
    assert choose_blocks(50, 10) == (10, 0)
    num_blocks, num_chosen = choose_blocks(1_000_000, 10)
    assert num_blocks - num_chosen == 10
    assert num_chosen >= 2


def test_a_crowd_is_truncated_and_reported_and_other_rows_stay_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming_search, "FREE_COMPARISONS", 0)
    monkeypatch.setattr(hamming_search, "choose_blocks", lambda _total, radius: (radius + 2, 2))
    crowd, others = np.full(3000, 12345, dtype=np.uint64), random_hashes(3, 3000, 3000, 0)
    first = np.concatenate([crowd, others, others ^ np.uint64(0b1011)])
    matches = find_close_pairs(first, first, 5, max_neighbors=20, max_pairs=30)
    assert matches.crowded.tolist() == list(range(3000))
    assert {(i, i + 3000) for i in range(3000, 6000)} <= {tuple(pair) for pair in matches.pairs.tolist()}
    assert len(matches.pairs) < 3000 * 40


def test_a_row_in_a_crowd_is_still_paired_with_its_nearest_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming_search, "FREE_COMPARISONS", 0)
    first = np.full(2000, 7, dtype=np.uint64)
    different = np.random.default_rng(1).integers(0, 2**64, 1000, dtype=np.uint64)
    second = np.repeat(different, 2)
    found = {tuple(pair) for pair in find_close_pairs(first, second, 3, max_neighbors=2, max_pairs=5).pairs.tolist()}
    assert {(i, i + 1) for i in range(0, 2000, 2)} <= found


def test_no_hashes_have_no_pairs() -> None:
    empty = np.zeros(0, dtype=np.uint64)
    assert find_close_pairs(empty, empty, 10).pairs.shape == (0, 2)
