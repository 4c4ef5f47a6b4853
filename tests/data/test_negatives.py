"""Nearest images: exact for small sets, nearly all of them by the index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twelvefold.data.negatives import nearest


def distances_between(features: NDArray[np.float32]) -> NDArray[np.float64]:
    distances = ((features[:, None].astype(float) - features[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.asarray(distances)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 80), st.integers(0, 99))
def test_small_sets_give_exactly_the_nearest_in_order(total: int, count: int, seed: int) -> None:
    features = np.random.default_rng(seed).integers(-4, 4, (total, 3)).astype(np.float32)
    indices = nearest(features, count)
    count = min(count, total - 1)
    assert indices.shape == (total, count)
    assert all(len({*row, index}) == count + 1 for index, row in enumerate(indices.tolist()))
    distances = distances_between(features)
    np.testing.assert_array_equal(np.take_along_axis(distances, indices, 1), np.sort(distances)[:, :count])


@pytest.mark.parametrize("total", [0, 1])
def test_a_single_image_has_no_neighbors(total: int) -> None:
    assert nearest(np.ones((total, 4), dtype=np.float32)).shape == (total, 0)


def test_the_index_finds_nearly_all_neighbors_and_never_the_image_itself() -> None:
    random = np.random.default_rng(0)
    centers = random.normal(size=(30, 16))
    features = (centers[random.integers(0, 30, 1500)] + 0.5 * random.normal(size=(1500, 16))).astype(np.float32)
    indices = nearest(features, 20, max_exact=100)
    expected = np.argsort(distances_between(features))[:, :20]
    assert not (indices == np.arange(1500)[:, None]).any()
    assert all(len(set(row)) == 20 for row in indices.tolist())
    shared = [len(set(a) & set(b)) for a, b in zip(indices.tolist(), expected.tolist(), strict=True)]
    assert np.mean(shared) / 20 > 0.95


def test_small_cells_are_filled_from_farther_ones() -> None:
    features = np.arange(200, dtype=np.float32)[:, None] ** 2
    indices = nearest(features, 150, max_exact=10, probes=1)
    assert [len(set(row)) for row in indices.tolist()] == [150] * 200
