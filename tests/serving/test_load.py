"""``twelvefold.load``: a model is loaded with the detector used in training; what is missing is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

import twelvefold
from twelvefold.detectors.interface import RegionDetector
from twelvefold.export import hub
from twelvefold.model import Model, card
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.load import SHIPPED
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.samples import load_samples


class OtherDetector:
    """A detector that differs from the one used in training."""

    digest, categories, batch_size = "other", ("thing",), 1

    def __init__(self, feature_size: int) -> None:
        self.feature_size = feature_size


def other_detector(feature_size: int) -> RegionDetector:
    return OtherDetector(feature_size)  # type: ignore[return-value]  # loading never runs it


@pytest.fixture(scope="module")
def shipped() -> Predictor:
    return twelvefold.load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped model."""
    return shutil.copytree(SHIPPED, tmp_path / "mine")


def test_the_shipped_model_has_complete_info(shipped: Predictor) -> None:
    about = shipped.about
    assert about.name == "world-small"
    assert "images of the drawn world (seed 1)" in about.trained_on
    assert set(about.tasks) == set(about.scores) == set(about.temperatures)
    assert len(about.tasks) == 12
    assert all(about.score_details[task].n == 1500 for task in about.scores)
    assert about.limitations == (card.DRAWN_DATA,)
    assert about.parameters == sum(weight.numel() for weight in shipped.network.parameters())
    assert about.detector.digest == card.read(SHIPPED).detector.digest  # type: ignore[union-attr]


def test_model_run_and_hub_folders_give_the_same_answers(shipped: Predictor, folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder, run / "checkpoints" / "latest")
    hub.write_hub_folder(folder, tmp_path / "hub", name="me/mine")
    photo = load_samples()[0].path
    expected = shipped.ask(photo, "What is in the picture?").to_dict()
    for folder_ in (folder, run, str(tmp_path / "hub")):
        loaded = twelvefold.load(folder_)
        assert loaded.ask(photo, "What is in the picture?").to_dict() == expected
        assert loaded.about.detector == shipped.about.detector
        assert loaded.about.temperatures == shipped.about.temperatures


def test_temperatures_change_probabilities_but_not_the_ranking(folder: Path) -> None:
    photo = load_samples()[0].path
    predictions = []
    for temperature in (0.5, 4.0):
        temperatures = dict.fromkeys(("vqav2", "refcoco", "coco"), temperature)
        card.write(folder, msgspec.structs.replace(card.read(folder), temperatures=temperatures))
        model = twelvefold.load(folder)
        pool = [sample.path for sample in load_samples()[:4]]
        answers = [
            model.ask(photo, "What is in the picture?"),
            model.point(photo, "the thing on the left"),
            model.find("a picture of a beach", pool),
        ]
        predictions.append(answers)
    for sharp, soft in zip(*predictions, strict=True):
        assert [(r.name, r.box_px) for r in sharp.ranked] == [(r.name, r.box_px) for r in soft.ranked]
        assert sharp.best.probability != pytest.approx(soft.best.probability, abs=1e-4)


def test_another_detector_is_refused_unless_any_detector_is_set(folder: Path) -> None:
    size = Model.load(folder).config.feature_size
    with pytest.raises(TwelvefoldError, match=r"detector differs .*'world': detector_weights=FILE; any_detector=True"):
        twelvefold.load(folder, detector=other_detector(size))
    assert twelvefold.load(folder, detector=other_detector(size), any_detector=True).about.detector.digest == "other"


def test_a_detector_with_another_feature_size_is_always_refused(folder: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"features of 256 numbers, but the detector gives 3"):
        twelvefold.load(folder, detector=other_detector(3), any_detector=True)


def test_a_model_without_a_card_uses_the_packages_detector(folder: Path, shipped: Predictor) -> None:
    (folder / card.CARD).unlink()
    loaded = twelvefold.load(folder)
    assert loaded.about.detector.digest == shipped.about.detector.digest
    assert (loaded.about.trained_on, loaded.about.temperatures) == ("", {})


def test_missing_and_damaged_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="nowhere"):
        twelvefold.load(tmp_path / "nowhere")
    with pytest.raises(TwelvefoldError, match=r"no detector 'wrld'; did you mean 'world'"):
        twelvefold.load(folder, detector="wrld")
    with pytest.raises(TwelvefoldError, match="x152 needs its weight file"):
        twelvefold.load(folder, detector="x152")
    (folder / card.CARD).write_text("{")
    with pytest.raises(TwelvefoldError, match=r"card\.json is not a model card"):
        twelvefold.load(folder)
