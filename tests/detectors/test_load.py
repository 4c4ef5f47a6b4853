"""Detectors by name: torchvision's from a file, invalid names and options, and extraction from a plain folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import get_model

from twelvefold.cli import app
from twelvefold.config.extract import ExtractConfig
from twelvefold.detectors.load import load_detector
from twelvefold.detectors.torchvision_coco import CocoDetector
from twelvefold.detectors.x152.network import X152Config, X152Network
from twelvefold.features.extract import extract
from twelvefold.features.image_list import list_images
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.store.atomic_files import read_json
from twelvefold.store.region_store import RegionStore

COCO = "fasterrcnn_mobilenet_v3_large_320_fpn"
NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def coco_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return random weights as in torchvision's file: without the step counters of frozen batch norm."""
    torch.manual_seed(0)
    state = get_model(COCO, weights=None, weights_backbone=None).state_dict()
    state["roi_heads.box_predictor.cls_score.bias"][1:3] = torch.tensor([3.0, 2.9])  # so that it detects something
    path = tmp_path_factory.mktemp("coco") / "coco.pth"
    torch.save({name: tensor for name, tensor in state.items() if "num_batches" not in name}, path)
    return path


@pytest.fixture(scope="module")
def x152_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = X152Config(
        blocks=(1, 1, 1, 1), stem_channels=8, groups=4, group_width=2, fpn_channels=8, hidden_size=16, num_classes=21
    )
    path = tmp_path_factory.mktemp("x152") / "detectron_model.pth"
    torch.save({"model": X152Network(config).state_dict()}, path)
    return path


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """A plain folder: a gray TIFF, an animation, a rotated photograph, a truncated one, and a text file."""
    folder = tmp_path / "trip"
    (folder / "day1").mkdir(parents=True)
    Image.fromarray(NOISE[:, :, 0]).save(folder / "grey.tiff")
    frames = [Image.fromarray(frame) for frame in (NOISE, 255 - NOISE)]
    frames[0].save(folder / "day1" / "waves.gif", save_all=True, append_images=frames[1:])
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(NOISE).save(folder / "day1" / "boat.jpg", exif=turned)
    (folder / "cut.jpg").write_bytes((folder / "day1" / "boat.jpg").read_bytes()[:1500])
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_torchvisions_detector_returns_detected_and_given_boxes(coco_file: Path) -> None:
    detector = CocoDetector.load(COCO, coco_file, max_regions=7)
    detected, none = detector.extract_regions([NOISE], [np.zeros((0, 4))])[0]
    assert (detector.feature_size, len(detector.categories), detector.categories[1]) == (1024, 91, "person")
    assert 0 < len(detected.boxes_px) <= 7
    assert none.features.shape == (0, 1024)
    assert detected.class_probs is not None
    assert (detected.boxes_px >= 0).all()
    assert (detected.boxes_px <= [60, 40, 60, 40]).all()
    _, given = detector.extract_regions([NOISE], [detected.boxes_px])[0]
    np.testing.assert_allclose(given.features, detected.features, atol=1e-3)
    assert given.class_probs is not None
    np.testing.assert_allclose(given.class_probs, detected.class_probs, atol=1e-4)


def test_boxes_equal_those_of_torchvision(coco_file: Path) -> None:
    model = get_model(COCO, weights=None, weights_backbone=None).eval()
    model.load_state_dict(torch.load(coco_file, weights_only=True), strict=False)
    with torch.inference_mode():
        expected = model([torch.from_numpy(NOISE).permute(2, 0, 1) / 255])[0]
    detected, _ = CocoDetector.load(COCO, coco_file).extract_regions([NOISE], [np.zeros((0, 4))])[0]
    np.testing.assert_allclose(detected.boxes_px, expected["boxes"].numpy(), atol=1e-3)


def test_files_of_other_networks_are_refused_with_tensor_names(coco_file: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TwelvefoldError, match=r"does not hold weights of fasterrcnn_resnet50_fpn:\n  missing: backbone"
    ):
        CocoDetector.load("fasterrcnn_resnet50_fpn", coco_file)
    state = torch.load(coco_file, weights_only=True)
    state["rpn.head.cls_logits.wait"] = state.pop("rpn.head.cls_logits.weight")
    state["rpn.head.cls_logits.bias"] = torch.zeros(4)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(TwelvefoldError) as error:
        CocoDetector.load(COCO, tmp_path / "odd.pth")
    assert "missing: rpn.head.cls_logits.weight [" in str(error.value)
    assert "is it rpn.head.cls_logits.weight?" in str(error.value)
    assert "shape: rpn.head.cls_logits.bias is [4], expected [15]" in str(error.value)


def test_invalid_names_weights_and_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="did you mean 'x152'"):
        load_detector(ExtractConfig(detector="x-152"))
    with pytest.raises(TwelvefoldError, match="--weights FILE"):
        load_detector(ExtractConfig(detector="x152"))
    with pytest.raises(TwelvefoldError, match="no weight file"):
        load_detector(ExtractConfig(detector="x152", weights=str(tmp_path / "gone.pth")))
    with pytest.raises(
        TwelvefoldError, match="min_regions and fc6: only the detector x152 has such options, not world"
    ):
        load_detector(ExtractConfig(min_regions=3, fc6="before_relu"))


def test_options_of_the_papers_detector_are_recorded_in_the_store(
    photo_folder: Path, x152_file: Path, tmp_path: Path
) -> None:
    call = f"extract {photo_folder} {tmp_path / 'out'} --detector x152 --weights {x152_file} --processes 1"
    options = "--min-regions 3 --max-regions 9 --confidence 0.9 --fc6 before_relu"
    assert app([*call.split(), *options.split()], result_action="return_value") == 1  # one image is truncated
    store = RegionStore.open(tmp_path / "out" / "detected")
    assert all(len(store[key].boxes_px) == 3 for key in store.keys())  # noqa: SIM118  # no class probability is above 0.9
    assert any((store[key].features < 0).any() for key in store.keys())  # noqa: SIM118
    assert (store.info["min_regions"], store.info["confidence"], store.info["fc6"]) == (3, 0.9, "before_relu")
    with pytest.raises(TwelvefoldError, match=r"differs in: .*detector.*confidence"):
        extract(
            photo_folder,
            tmp_path / "out",
            ExtractConfig(detector="x152", weights=str(x152_file), min_regions=3, max_regions=9),
            processes=1,
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_reported(photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="device is 'cuda', but torch sees no such device here"):
        extract(photo_folder, tmp_path / "out", ExtractConfig(device="cuda"))
    assert extract(photo_folder, tmp_path / "out", ExtractConfig(device="auto"), processes=1).num_images == 3


def test_the_papers_detector_extracts_a_plain_folder(
    photo_folder: Path, x152_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = {"day1/boat": [[3, 4, 30, 50], [1, 1, 9, 9]], "grey.tiff": [[0, 0, 10, 10]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    call = (
        f"extract {photo_folder} {tmp_path / 'out'} --detector x152 --weights {x152_file} --processes 1 --max-regions 5"
    )
    assert app([*call.split(), "--boxes", str(tmp_path / "boxes.json")], result_action="return_value") == 1
    assert "trip/cut: cut.jpg: can't be decoded" in capsys.readouterr().out
    store, given = (RegionStore.open(tmp_path / "out" / name) for name in ("detected", "given"))
    assert sorted(map(str, store.keys())) == ["trip/day1/boat", "trip/day1/waves", "trip/grey"]
    boat = store[ImageKey("trip", "day1/boat")]
    assert (boat.width, boat.height, boat.features.shape) == (40, 60, (5, 16))  # upright
    assert store.info["detector_name"] == "x152"
    assert len(store.categories) == 21
    boat_given = given[ImageKey("trip", "day1/boat")]
    np.testing.assert_array_equal(boat_given.boxes_px, np.array(boxes["day1/boat"], np.float32))
    assert sorted(map(str, given.keys())) == ["trip/day1/boat", "trip/grey"]
    assert read_json(tmp_path / "out" / "unreadable.json").keys() == {"trip/cut"}
    with pytest.raises(TwelvefoldError, match="differs in: detector"):
        extract(photo_folder, tmp_path / "out", processes=1)  # with the detector of the package


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "images and their boxes"),
        ('{"gray": [[0, 0, 1, 1]]}', "did you mean 'grey'"),
        ('{"grey": [[0, 0, 1, 1]], "trip/grey": []}', "under another name"),
        ('{"grey": [[0, 0, 1]]}', "x1, y1, x2, y2"),
        ('{"grey": [["a", 0, 1, 1]]}', "x1, y1, x2, y2"),
        ('{"grey": [[0, 0, NaN, 1]]}', "NaN"),
        ('{"grey": [[30, 40, 20, 10]]}', "not x, y, width, height"),
    ],
)
def test_an_invalid_file_of_boxes_is_refused_with_the_reason(
    photo_folder: Path, tmp_path: Path, content: str, reason: str
) -> None:
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(TwelvefoldError, match=reason):
        list_images(photo_folder, boxes=tmp_path / "boxes.json")


def test_a_repeated_key_and_an_empty_folder_are_refused(photo_folder: Path, tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(photo_folder / "grey.png")
    with pytest.raises(TwelvefoldError, match="would both be trip/grey"):
        list_images(photo_folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TwelvefoldError, match="folder of images"):
        list_images(tmp_path / "empty")
