"""Patches from extraction to answers: the store and the card record the backbone, and the same features are served."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

import twelvefold
from twelvefold.cli import app
from twelvefold.config.extract import ExtractConfig
from twelvefold.data.masking import num_region_categories
from twelvefold.data.region_inputs import RegionSource
from twelvefold.detectors.load import load_detector
from twelvefold.detectors.world_detector.detector import fastest_cpu_dtype
from twelvefold.export.hub import SHIPPED
from twelvefold.features.extract import extract
from twelvefold.model import card
from twelvefold.model.card import DetectorCard
from twelvefold.schema import Example, ImageKey, Pair, TwelvefoldError
from twelvefold.serving.region_cache import RegionCache
from twelvefold.store.region_store import RegionStore

pytest.importorskip("timm")
NAME = "patches:resnet10t,stride=16,size=96"
"""Its features have 256 numbers, as those that the shipped model reads."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trip")
    rng = np.random.default_rng(0)
    for name, shape in (("a", (60, 90, 3)), ("b", (90, 60, 3)), ("c", (80, 80, 3))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def regions(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("regions")
    (out / "boxes.json").write_text('{"a": [[3, 4, 30, 50], [1, 1, 9, 9]]}')
    call = f"extract {images} {out / 'all'} --detector {NAME} --weights random --processes 1 --max-regions 20"
    assert app([*call.split(), "--boxes", str(out / "boxes.json")], result_action="return_value") == 0
    return out / "all"


@pytest.fixture(scope="module")
def model_folder(regions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model's network, as if it had been trained on these regions; without statistics of the features."""
    folder = shutil.copytree(SHIPPED, tmp_path_factory.mktemp("model") / "patches")
    store = RegionStore.open(regions / "detected")
    detector = DetectorCard.from_store_info(store.info, store.feature_size)
    card.write(folder, msgspec.structs.replace(card.read(folder), detector=detector, data=None))
    for file in folder.glob("*statistics*"):
        file.unlink()
    return folder


def test_a_store_records_the_backbone_and_has_no_categories(regions: Path, images: Path) -> None:
    detected, at_boxes = (RegionStore.open(regions / name) for name in ("detected", "given"))
    detector = load_detector(ExtractConfig(detector=NAME, weights="random", max_regions=20))
    assert detected.info["detector_name"] == NAME
    assert detected.info["detector"] == detector.digest
    assert detected.info["versions"]["timm"] == version("timm")
    assert (detected.info["max_regions"], detected.categories) == (20, ())
    assert at_boxes[ImageKey(images.name, "a")].boxes_px.tolist() == [[3, 4, 30, 50], [1, 1, 9, 9]]
    with pytest.raises(TwelvefoldError, match=r"differs in: .*max_regions"):
        extract(images, regions, ExtractConfig(detector=NAME, weights="random", max_regions=10), processes=1)


def test_pretraining_says_that_patches_have_no_labels(regions: Path, images: Path) -> None:
    class Table(list[Example]):
        path = regions

    table = Table([Example("0", (Pair(ImageKey(images.name, "a"), "a text"),), None)])
    with pytest.raises(TwelvefoldError, match=r"no class probabilities.*patches of a backbone have none"):
        num_region_categories(table, RegionSource.open(regions))  # type: ignore[arg-type]


def test_a_model_of_patches_is_served_with_the_features_of_its_store(
    model_folder: Path, regions: Path, images: Path
) -> None:
    model = twelvefold.load(model_folder, detector_weights="random")
    assert model.about.detector.name == NAME
    assert card.PATCH_REGIONS in model.about.limitations
    key = ImageKey(images.name, "b")
    config = ExtractConfig(detector=NAME, weights="random", max_regions=20)
    cache = RegionCache(load_detector(config, dtype=fastest_cpu_dtype()))
    served = cache.detect([twelvefold.images.load_image(images / "b.png")])[0]
    stored = RegionStore.open(regions / "detected")[key]
    np.testing.assert_allclose(served.features.astype(np.float32), stored.features.astype(np.float32), atol=1e-2)
    np.testing.assert_array_equal(served.boxes_px, stored.boxes_px)
    pointed = model.point(images / "b.png", "the dog").best
    assert pointed.label == "the dog"  # no category has a name, so the label is the request's text
    assert list(pointed.box_px or ()) in stored.boxes_px.tolist()
    assert model.ask(images / "b.png", "What is it?").ranked


def test_the_command_line_answers_with_patches(
    model_folder: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["ask", str(images / "a.png"), "What is it?", "--model", str(model_folder)]
    assert app([*call, "--detector-weights", "random"], result_action="return_value") == 0
    capsys.readouterr()
    for arguments, message in (([], "--detector-weights"), (["--detector-weights", "Random"], "no weight file Random")):
        with pytest.raises(TwelvefoldError, match=message):
            app([*call, *arguments], result_action="return_value")
