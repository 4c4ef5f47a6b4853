"""Hard negatives: exactly the nearest pictures, or nearly all of them through the index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twelvefold.data.negatives import nearest


def apart(features: NDArray[np.float32]) -> NDArray[np.float64]:
    distances = ((features[:, None].astype(float) - features[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.asarray(distances)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 80), st.integers(0, 99))
def test_small_sets_get_exactly_the_nearest_in_order(total: int, count: int, seed: int) -> None:
    features = np.random.default_rng(seed).integers(-4, 4, (total, 3)).astype(np.float32)
    found = nearest(features, count)
    count = min(count, total - 1)
    assert found.shape == (total, count)
    assert all(len({*row, own}) == count + 1 for own, row in enumerate(found.tolist()))
    distances = apart(features)
    np.testing.assert_array_equal(np.take_along_axis(distances, found, 1), np.sort(distances)[:, :count])


@pytest.mark.parametrize("total", [0, 1])
def test_a_lone_picture_has_no_neighbours(total: int) -> None:
    assert nearest(np.ones((total, 4), dtype=np.float32)).shape == (total, 0)


def test_the_index_finds_nearly_all_and_never_the_picture_itself() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(30, 16))
    features = (centres[random.integers(0, 30, 1500)] + 0.5 * random.normal(size=(1500, 16))).astype(np.float32)
    found = nearest(features, 20, max_exact=100)
    wanted = np.argsort(apart(features))[:, :20]
    assert not (found == np.arange(1500)[:, None]).any()
    assert all(len(set(row)) == 20 for row in found.tolist())
    shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]
    assert np.mean(shared) / 20 > 0.95


def test_small_cells_are_filled_from_further_ones() -> None:
    features = np.arange(200, dtype=np.float32)[:, None] ** 2
    found = nearest(features, 150, max_exact=10, probes=1)
    assert [len(set(row)) for row in found.tolist()] == [150] * 200
