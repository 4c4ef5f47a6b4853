"""Regions that several processes detect are those of one, in ``find``, ``index`` and :func:`twelvefold.load`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import twelvefold
from twelvefold.cli import app
from twelvefold.images import load_image
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.samples import load_samples
from twelvefold.serving.search_index import SearchIndex


@pytest.mark.slow
def test_processes_detect_the_regions_of_one_process(tmp_path: Path) -> None:
    paths = [sample.path for sample in load_samples()][:5]
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (60 + 40 * i, 90, 3), dtype=np.uint8) for i in range(3)]
    images = [load_image(path) for path in paths] + [load_image(image) for image in noise]
    single, parallel = twelvefold.load(), twelvefold.load(processes=2)
    assert parallel.about.detector == single.about.detector
    for expected, regions in zip(single.detect(images), parallel.detect(images), strict=True):
        np.testing.assert_allclose(regions.boxes_px, expected.boxes_px, atol=1e-2)
        np.testing.assert_allclose(regions.features, expected.features, atol=1e-2)
    expected_names = [rank.name for rank in single.find("a red mushroom", images).ranked]
    assert [rank.name for rank in parallel.find("a red mushroom", images).ranked] == expected_names
    call = ["index", "add", str(tmp_path / "a.index"), *map(str, paths), "--processes", "2"]
    assert app(call, result_action="return_value") == 0
    assert len(SearchIndex.load(tmp_path / "a.index", single)) == len(paths)


def test_invalid_processes_are_refused() -> None:
    detector = twelvefold.load()._regions.detector
    with pytest.raises(TwelvefoldError, match="1 process or more, got 0"):
        twelvefold.load(processes=0)
    with pytest.raises(TwelvefoldError, match="processes=2: each process loads the detector, so give its name"):
        twelvefold.load(detector=detector, processes=2)
