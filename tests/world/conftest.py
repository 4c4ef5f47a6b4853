"""A small world for the tests that read one. No test changes it."""

from __future__ import annotations

from pathlib import Path

import pytest

NUM_IMAGES, SEED = 112, 4


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from twelvefold.world.write import make_world  # imported here because tests of scenes do not need it

    return make_world(tmp_path_factory.mktemp("small") / "world", images=NUM_IMAGES, seed=SEED, processes=1).folder
