"""One small world for all tests of this room that read it. Nothing may change it."""

from __future__ import annotations

from pathlib import Path

import pytest

IMAGES, SEED = 112, 4


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from twelvefold.world.write import world  # here, so that tests of scenes do not wait for what they do not use

    return world(tmp_path_factory.mktemp("small") / "world", images=IMAGES, seed=SEED, workers=1).folder
