"""``twelvefold.load``: a model is loaded with the detector used in training; what is missing is named."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

import twelvefold
from twelvefold.detectors.interface import RegionDetector
from twelvefold.export import hub
from twelvefold.export.hub import SHIPPED
from twelvefold.model import Model, card
from twelvefold.schema import TwelvefoldError
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
    assert "images of a drawn world (seed 1)" in about.trained_on
    assert set(about.tasks) == set(about.scores) == set(about.calibrations)
    assert set(about.temperatures) == {task for task, fitted in about.calibrations.items() if fitted.kept}
    assert len(about.tasks) == 12
    assert all(about.score_details[task].n == 1500 for task in about.scores)
    uncalibrated = [task for task, fitted in about.calibrations.items() if not fitted.kept]
    assert about.limitations[0] == card.DRAWN_DATA
    assert all(", ".join(uncalibrated) in sentence for sentence in about.limitations[1:])
    assert len(about.limitations) == (2 if uncalibrated else 1)
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
    advice = r"detector differs .*'world': detector_weights=FILE \(--detector-weights FILE\); in Python any_"
    with pytest.raises(TwelvefoldError, match=advice):
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
    with pytest.raises(TwelvefoldError, match=r"can't be 'wrld'; did you mean 'world'"):
        twelvefold.load(folder, detector="wrld")
    with pytest.raises(TwelvefoldError, match="x152 needs its weight file"):
        twelvefold.load(folder, detector="x152")
    (folder / card.CARD).write_text("{")
    with pytest.raises(TwelvefoldError, match=r"card\.json is not a model card"):
        twelvefold.load(folder)


def test_what_is_no_model_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"weights")
    (tmp_path / "vilt").mkdir()
    (tmp_path / "vilt" / "config.json").write_text(
        '{"model_type": "vilt", "architectures": ["ViltForQuestionAnswering"]}'
    )
    (tmp_path / "empty").mkdir()
    cases: list[tuple[Any, str]] = [
        (tmp_path / "x.bin", "is a file; expected the folder of a model"),
        (tmp_path / "none.bin", "no folder"),
        (tmp_path / "vilt", "Hugging Face model of type 'vilt'"),
        (tmp_path / "empty", "holds no model"),
        ("", "expected a model's folder"),
        (7, "expected a model's folder"),
    ]
    for source, message in cases:
        for load in (twelvefold.load, twelvefold.from_pretrained):
            with pytest.raises(TwelvefoldError, match=message):
                load(source)


@pytest.mark.parametrize(
    "device", ["gpu", "CPU", "cuda:x", "cpu:1", "cuda:", "meta", "cuda:-1", "cuda:٣", "auto:0", "", 0]
)
def test_an_unknown_device_is_refused_with_the_valid_names(device: Any) -> None:
    with pytest.raises(
        TwelvefoldError, match="device must be auto, cpu, or a name of PyTorch such as cuda, cuda:1 or mps"
    ):
        twelvefold.load(device=device)


def test_a_device_is_a_name_or_an_object_of_torch() -> None:
    assert twelvefold.load(device=torch.device("cpu")).device == torch.device("cpu")
    assert twelvefold.load(device="cpu:0").device == torch.device("cpu")
    with pytest.raises(TwelvefoldError, match="did you mean 'cuda'"):
        twelvefold.load(device="gpu")


def test_from_pretrained_loads_what_load_loads(
    folder: Path, shipped: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    photo = load_samples()[0].path
    expected = shipped.ask(photo, "What is in the picture?").to_dict()
    models = [
        twelvefold.from_pretrained(folder),
        twelvefold.from_pretrained(str(folder), revision="main", local_files_only=True, device="cpu"),
        twelvefold.Predictor.from_pretrained(str(folder)),
        twelvefold.load("~/mine"),
    ]
    for model in models:
        assert isinstance(model, twelvefold.Predictor)
        assert model.ask(photo, "What is in the picture?").to_dict() == expected
    with pytest.raises(TwelvefoldError, match="no folder user/name"):
        twelvefold.from_pretrained("user/name", local_files_only=True)


def test_the_package_has_its_names_and_version() -> None:
    assert twelvefold.__version__ == version("twelvefold")
    assert set(twelvefold.__all__) <= set(dir(twelvefold))
    assert twelvefold.sample("room").is_file()
    with pytest.raises(TwelvefoldError, match=r"no sample image 'rom'; there are .*room.*did you mean 'room'"):
        twelvefold.sample("rom")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = twelvefold.nothing
