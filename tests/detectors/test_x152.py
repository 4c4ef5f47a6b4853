"""The published detector: tensor names and shapes; preprocessing, proposals and features compared with plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.ops import FrozenBatchNorm2d, clip_boxes_to_image

from twelvefold.config.extract import ExtractConfig
from twelvefold.detectors.x152.detector import X152, build_network, infer_config
from twelvefold.detectors.x152.images import MEANS_BGR, preprocess, resize_scale, resized_size
from twelvefold.detectors.x152.network import X152Config, X152Network, pool_regions
from twelvefold.detectors.x152.proposals import cell_anchors, decode_deltas, grid_anchors, propose
from twelvefold.schema import TwelvefoldError

SMALL = X152Config(
    blocks=(1, 2, 1, 1), stem_channels=8, groups=4, group_width=2, fpn_channels=8, hidden_size=16, num_classes=21
)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (45, 70, 3), dtype=np.uint8)


def network(seed: int = 0) -> X152Network:
    """Return a small network with random weights and batch norm statistics."""
    torch.manual_seed(seed)
    model = X152Network(SMALL)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for name, low, high in (("weight", 0.5, 1.5), ("bias", -1, 1), ("running_mean", -1, 1)):
                getattr(module, name).uniform_(low, high)
            module.running_var.uniform_(0.5, 2.0)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.2)
    return model


@pytest.fixture
def weight_file(tmp_path: Path) -> Path:
    """Return a training checkpoint as maskrcnn-benchmark writes it."""
    state = {f"module.{name}": tensor for name, tensor in network().state_dict().items()}
    torch.save({"model": state, "iteration": 90_000}, tmp_path / "detectron_model.pth")
    return tmp_path / "detectron_model.pth"


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the published network, derived from its architecture."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})

    def layer(name: str, *shape: int) -> None:
        shapes.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})

    body = "backbone.body"
    shapes[f"{body}.stem.conv1.weight"] = (64, 3, 7, 7)
    norm(f"{body}.stem.bn1", 64)
    in_channels = 64
    for stage, depth in enumerate((3, 8, 36, 3)):
        width, out = 256 * 2**stage, 256 * 2**stage
        for block in range(depth):
            name = f"{body}.layer{stage + 1}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, in_channels, 1, 1)
            shapes[f"{name}.conv2.weight"] = (width, width // 32, 3, 3)
            shapes[f"{name}.conv3.weight"] = (out, width, 1, 1)
            for i in (1, 2, 3):
                norm(f"{name}.bn{i}", width)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (out, in_channels, 1, 1)
                norm(f"{name}.downsample.1", out)
            in_channels = out
        layer(f"backbone.fpn.fpn_inner{stage + 1}", 512, out, 1, 1)
        layer(f"backbone.fpn.fpn_layer{stage + 1}", 512, 512, 3, 3)
    shapes.update({f"rpn.anchor_generator.cell_anchors.{level}": (3, 4) for level in range(5)})
    layer("rpn.head.conv", 512, 512, 3, 3)
    layer("rpn.head.cls_logits", 3, 512, 1, 1)
    layer("rpn.head.bbox_pred", 12, 512, 1, 1)
    layer("roi_heads.box.feature_extractor.fc6", 2048, 25088)
    layer("roi_heads.box.feature_extractor.fc7", 2048, 2048)
    layer("roi_heads.box.predictor.cls_score", 1601, 2048)
    layer("roi_heads.box.predictor.bbox_pred", 6404, 2048)
    return shapes


def test_every_tensor_of_the_published_network_has_its_name_and_shape() -> None:
    with torch.device("meta"):
        full = X152Network()
    assert {name: tuple(tensor.shape) for name, tensor in full.state_dict().items()} == published_shapes()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 480), (1067, 800)), ((480, 640), (800, 1067)), ((1000, 400), (1333, 533)), ((800, 800), (800, 800))],
)
def test_the_short_side_is_800_unless_the_long_one_exceeds_1333(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert resized_size(*size) == expected


def test_preprocessing_equals_bilinear_sampling_pixel_by_pixel() -> None:
    tensor = preprocess(IMAGE)
    scale, (width, height) = resize_scale(70, 45), resized_size(70, 45)
    assert tensor.shape == (1, 3, -(-height // 32) * 32, -(-width // 32) * 32)
    assert (tensor[:, :, height:] == 0).all()
    assert (tensor[:, :, :, width:] == 0).all()
    for y, x in ((0, 0), (height - 1, width - 1), (311, 402), (17, 1001)):
        position = [min(max((i + 0.5) / scale - 0.5, 0.0), n - 1.0) for i, n in ((y, 45), (x, 70))]
        low = [math.floor(value) for value in position]
        for channel in range(3):
            value = 0.0
            for dy in (0, 1):
                for dx in (0, 1):
                    rows, columns = min(low[0] + dy, 44), min(low[1] + dx, 69)
                    share = [f if d else 1 - f for d, f in ((dy, position[0] - low[0]), (dx, position[1] - low[1]))]
                    value += float(IMAGE[rows, columns, 2 - channel]) * share[0] * share[1]
            assert float(tensor[0, channel, y, x]) == pytest.approx(value - MEANS_BGR[channel], abs=1e-3)


def test_anchors_are_those_documented_in_maskrcnn_benchmark() -> None:
    documented = [[-83, -39, 100, 56], [-55, -55, 72, 72], [-35, -79, 52, 96]]  # stride 16, size 128, pixels from 1
    assert (cell_anchors(16, 128) + 1).tolist() == documented
    grid = grid_anchors(cell_anchors(16, 128), 2, 3, 16).reshape(2, 3, 3, 4)
    np.testing.assert_array_equal(grid[1, 2] - grid[0, 0], np.tile([32, 16, 32, 16], (3, 1)))


def test_deltas_count_both_edges() -> None:
    anchor, delta = [10.0, 20.0, 29.0, 59.0], [0.1, -0.2, 0.3, 9.0]
    width, height = 20.0, 40.0
    x, y = 10 + 0.5 * width + 0.1 * width, 20 + 0.5 * height - 0.2 * height
    w, h = width * math.exp(0.3), height * 62.5
    expected = [x - w / 2, y - h / 2, x + w / 2 - 1, y + h / 2 - 1]
    decoded = decode_deltas(torch.tensor([anchor]), torch.tensor([delta]))
    np.testing.assert_allclose(decoded[0], expected, rtol=1e-5)
    assert clip_boxes_to_image(decoded, (24, 29))[0].tolist() == pytest.approx([max(expected[0], 0), 0, 29, 24])


def iou_with_edges(a: list[float], b: list[float]) -> float:
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1 for i in (0, 1)]
    intersection = max(sides[0], 0) * max(sides[1], 0)
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return intersection / (sum(areas) - intersection)


def test_proposals_equal_plain_loops() -> None:
    torch.manual_seed(1)
    grids = [(8, 10), (4, 5), (2, 3), (1, 2), (1, 1)]
    rpn_outputs = [(torch.randn(1, 3, *grid), torch.randn(1, 12, *grid)) for grid in grids]
    anchors = [cell_anchors(4 << level, 32 << level) for level in range(5)]
    boxes, scores = propose(rpn_outputs, anchors, 39, 31)
    expected: list[tuple[float, list[float]]] = []
    for (logits, deltas), base, stride in zip(rpn_outputs, anchors, (4, 8, 16, 32, 64), strict=True):
        level = []
        for row, column, ratio in np.ndindex(*logits.shape[2:], 3):
            anchor = base[ratio] + torch.tensor([column, row, column, row]) * stride
            moved = decode_deltas(anchor[None], deltas[0, 4 * ratio : 4 * ratio + 4, row, column][None])
            level.append(
                (float(logits[0, ratio, row, column].sigmoid()), clip_boxes_to_image(moved, (30, 38))[0].tolist())
            )
        kept: list[tuple[float, list[float]]] = []
        for score, box in sorted(level, key=lambda pair: -pair[0]):
            if all(iou_with_edges(box, other) <= 0.7 for _, other in kept):
                kept.append((score, box))
        expected += kept
    expected.sort(key=lambda pair: -pair[0])
    np.testing.assert_allclose(scores, [score for score, _ in expected], rtol=1e-6)
    np.testing.assert_allclose(boxes, [box for _, box in expected], atol=1e-4)


def sample_bilinear(values: NDArray[np.float32], y: float, x: float) -> NDArray[np.float32]:
    """Sample a map (C, H, W) bilinearly at a point -> (C,)."""
    _, height, width = values.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(len(values), np.float32)
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    y, x = (min(y, height - 1.0), min(x, width - 1.0))
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    fy, fx = y - top, x - left
    upper = values[:, top, left] * (1 - fx) + values[:, top, right] * fx
    lower = values[:, bottom, left] * (1 - fx) + values[:, bottom, right] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


@pytest.mark.parametrize(
    ("box", "level"),
    [([3, 5, 40, 50], 0), ([0, 0, 111, 111], 1), ([0, 0, 110, 110], 0), ([10, 0, 255, 250], 2), ([0, 0, 600, 500], 3)],
)
def test_the_pooling_level_depends_on_the_region_size(box: list[int], level: int) -> None:
    maps = [torch.from_numpy(RNG.normal(size=(1, 2, 512 >> i, 512 >> i)).astype(np.float32)) for i in (2, 3, 4, 5)]
    pooled = pool_regions(maps, torch.tensor([box], dtype=torch.float32))[0].numpy()
    x1, y1, x2, y2 = (value / 4 / 2**level for value in box)
    cell = [max(x2 - x1, 1.0) / 7, max(y2 - y1, 1.0) / 7]
    for row, column in ((0, 0), (3, 5), (6, 6)):
        points = [
            sample_bilinear(maps[level][0].numpy(), y1 + (row + fy) * cell[1], x1 + (column + fx) * cell[0])
            for fy in (0.25, 0.75)
            for fx in (0.25, 0.75)
        ]
        np.testing.assert_allclose(pooled[:, row, column], np.mean(points, axis=0), atol=1e-4)


def test_fusing_batch_norm_does_not_change_the_maps() -> None:
    model = network().eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        before = model.feature_maps(image)
        model.fuse_batch_norm()
        after = model.feature_maps(image)
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in model.modules())
    assert [tuple(level.shape[2:]) for level in after] == [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    for left, right in zip(before, after, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-3 * float(left.abs().max()))


def test_the_backbone_equals_a_plain_implementation() -> None:
    """The maps are computed block by block from the tensors alone."""
    model = network().eval()
    state = model.state_dict()
    functional = nn.functional

    def norm(x: Tensor, name: str) -> Tensor:
        weight, bias, mean, var = (
            state[f"{name}.{part}"].view(-1, 1, 1) for part in ("weight", "bias", "running_mean", "running_var")
        )
        normalized: Tensor = (x - mean) / var.sqrt() * weight + bias
        return normalized

    def conv(x: Tensor, name: str, **options: int) -> Tensor:
        return functional.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    image = torch.randn(1, 3, 64, 64)
    body = "backbone.body"
    x = functional.relu(norm(conv(image, f"{body}.stem.conv1", stride=2, padding=3), f"{body}.stem.bn1"))
    x, stages = functional.max_pool2d(x, 3, 2, 1), []
    for stage, depth in enumerate(SMALL.blocks, start=1):
        for block in range(depth):
            name, stride = f"{body}.layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = functional.relu(norm(conv(x, f"{name}.conv1"), f"{name}.bn1"))
            y = functional.relu(norm(conv(y, f"{name}.conv2", stride=stride, padding=1, groups=4), f"{name}.bn2"))
            y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            short = x
            if block == 0:
                short = norm(conv(x, f"{name}.downsample.0", stride=stride), f"{name}.downsample.1")
            x = functional.relu(y + short)
        stages.append(x)
    inner = conv(stages[3], "backbone.fpn.fpn_inner4")
    expected = [conv(inner, "backbone.fpn.fpn_layer4", padding=1)]
    for level in (3, 2, 1):
        above = inner.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        inner = conv(stages[level - 1], f"backbone.fpn.fpn_inner{level}") + above
        expected.insert(0, conv(inner, f"backbone.fpn.fpn_layer{level}", padding=1))
    expected.append(expected[-1][:, :, ::2, ::2])
    for actual, wanted in zip(model.feature_maps(image), expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-3 * float(wanted.abs().max()))


def test_regions_are_proposals_and_given_boxes_are_processed_alike(weight_file: Path) -> None:
    detector = X152.load(weight_file, ExtractConfig(max_regions=12))
    detected, none = detector.extract_regions([IMAGE], [np.zeros((0, 4))])[0]
    assert (detector.feature_size, len(detector.categories)) == (16, 21)
    assert detected.boxes_px.shape == (12, 4)
    assert none.features.shape == (0, 16)
    assert (detected.features >= 0).all()
    assert detected.class_probs is not None
    np.testing.assert_allclose(detected.class_probs.sum(1), 1, atol=1e-5)
    best = detected.class_probs[:, 1:].max(1)
    assert (detected.boxes_px[:, [2, 3]] <= [70, 45]).all()
    again, given = detector.extract_regions([IMAGE], [detected.boxes_px[::-1]])[0]
    np.testing.assert_array_equal(given.boxes_px, detected.boxes_px[::-1])
    np.testing.assert_allclose(again.features, detected.features, atol=1e-4)
    close = np.abs(given.features[::-1] - detected.features).max(1) <= 0.05 * detected.features.max()
    assert close.mean() > 0.7  # given boxes are scaled to whole pixels, proposals by the exact scale
    assert best[0] == best.max()


def test_missing_unknown_and_misshaped_tensors_are_named() -> None:
    state = dict(network().state_dict())
    state["roi_heads.box.predictor.attr_linear1.weight"] = torch.zeros(2)  # ignored: extraction does not use attributes
    state["rpn.anchor_generator.cell_anchors.0"] = cell_anchors(4, 32) + 1
    model = build_network(state, "file", SMALL)
    torch.testing.assert_close(model.anchors[0], cell_anchors(4, 32) + 1)  # those of the file
    del state["rpn.anchor_generator.cell_anchors.0"]
    torch.testing.assert_close(build_network(state, "file", SMALL).anchors[0], cell_anchors(4, 32))
    state["rpn.head.conv.wieght"] = state.pop("rpn.head.conv.weight")
    state["rpn.head.bbox_pred.bias"] = torch.zeros(11)
    with pytest.raises(TwelvefoldError) as error:
        build_network(state, "file", SMALL)
    for part in (
        "missing: rpn.head.conv.weight [",
        "unknown: rpn.head.conv.wieght [8, 8, 3, 3]; is it rpn.head.conv.weight?",
        "shape: rpn.head.bbox_pred.bias is [11], expected [12]",
    ):
        assert part in str(error.value)
    with pytest.raises(TwelvefoldError, match=r"missing: backbone\.body\.layer1"):
        build_network(network().state_dict(), "file", X152Config())  # the tensors of the small network do not fit


def test_widths_and_depths_are_inferred_from_the_file() -> None:
    assert infer_config(network().state_dict()) == SMALL
    with torch.device("meta"):
        assert infer_config(X152Network().state_dict()) == X152Config()
    with pytest.raises(TwelvefoldError, match="missing: backbone"):
        build_network({"roi_heads.box.predictor.cls_score.weight": torch.zeros(3)}, "file")


def test_digests_depend_on_the_settings(weight_file: Path) -> None:
    digests = {
        X152.load(weight_file).digest,
        X152.load(weight_file, ExtractConfig(max_regions=36)).digest,
        X152.load(weight_file, ExtractConfig(min_regions=10)).digest,
        X152.load(weight_file, ExtractConfig(min_regions=10, confidence=0.2)).digest,
        X152.load(weight_file, ExtractConfig(fc6="before_relu")).digest,
    }
    assert len(digests) == 5
    assert X152.load(weight_file).digest in digests


def test_features_are_fc6_after_or_before_its_relu(weight_file: Path) -> None:
    after, _ = X152.load(weight_file).extract_regions([IMAGE], [np.zeros((0, 4))])[0]
    before, _ = X152.load(weight_file, ExtractConfig(fc6="before_relu")).extract_regions([IMAGE], [np.zeros((0, 4))])[0]
    assert (before.features < 0).any()
    np.testing.assert_array_equal(before.features.clip(min=0), after.features)
    np.testing.assert_array_equal(before.boxes_px, after.boxes_px)  # classes depend on fc7, which is the same


def test_all_tensors_are_on_the_device_of_the_network() -> None:
    """Fake tensors compute nothing, but like a GPU they do not allow mixing devices."""
    gpu = torch.device("cuda")
    with FakeTensorMode(allow_non_fake_inputs=True):
        with gpu:
            model = X152Network(SMALL).eval()
        model.fuse_batch_norm()
        maps = model.feature_maps(preprocess(IMAGE, gpu))
        anchors = [grid_anchors(base, 3, 4, 8) for base in model.anchors]
        boxes = decode_deltas(anchors[0], torch.zeros(36, 4, device=gpu))
        fc6, logits = model.roi_heads["box"](torch.zeros(2, 8, 7, 7, device=gpu))
        tensors = [*maps, *anchors, clip_boxes_to_image(boxes, (44, 69)), fc6, logits]
        assert {tensor.device.type for tensor in tensors} == {"cuda"}
        with pytest.raises(RuntimeError, match="device"):
            model.feature_maps(preprocess(IMAGE))


@pytest.mark.parametrize(
    ("min_regions", "max_regions", "confidence"), [(0, 10, 0.0), (11, 10, 0.0), (1, 1001, 0.0), (1, 9, 1.0)]
)
def test_options_out_of_range_are_refused(min_regions: int, max_regions: int, confidence: float) -> None:
    with pytest.raises(TwelvefoldError, match="min_regions"):
        X152(network(), ExtractConfig(min_regions=min_regions, max_regions=max_regions, confidence=confidence))
