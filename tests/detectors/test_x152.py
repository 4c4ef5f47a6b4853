"""The published detector: every tensor's name and shape, its pictures, proposals and features against plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.ops import FrozenBatchNorm2d

from twelvefold.detectors.x152.detector import X152, network_of, sizes_of
from twelvefold.detectors.x152.images import MEANS_BGR, prepared, scale_of, size_of
from twelvefold.detectors.x152.network import Sizes, X152Network, pool
from twelvefold.detectors.x152.proposals import anchors_of, base_anchors, clipped, propose, shifted
from twelvefold.schema import TwelvefoldError

SMALL = Sizes(blocks=(1, 2, 1, 1), stem=8, groups=4, group_width=2, pyramid=8, hidden=16, classes=21)
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (45, 70, 3), dtype=np.uint8)


def network(seed: int = 0) -> X152Network:
    """Random weights with normalisation that does something."""
    torch.manual_seed(seed)
    made = X152Network(SMALL)
    for module in made.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for name, low, high in (("weight", 0.5, 1.5), ("bias", -1, 1), ("running_mean", -1, 1)):
                getattr(module, name).uniform_(low, high)
            module.running_var.uniform_(0.5, 2.0)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.2)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A training checkpoint as maskrcnn-benchmark writes it."""
    state = {f"module.{name}": tensor for name, tensor in network().state_dict().items()}
    torch.save({"model": state, "iteration": 90_000}, tmp_path / "detectron_model.pth")
    return tmp_path / "detectron_model.pth"


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published network, from its architecture."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})

    def layer(name: str, *shape: int) -> None:
        shapes.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})

    body = "backbone.body"
    shapes[f"{body}.stem.conv1.weight"] = (64, 3, 7, 7)
    norm(f"{body}.stem.bn1", 64)
    inside = 64
    for stage, depth in enumerate((3, 8, 36, 3)):
        width, out = 256 * 2**stage, 256 * 2**stage
        for block in range(depth):
            name = f"{body}.layer{stage + 1}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, inside, 1, 1)
            shapes[f"{name}.conv2.weight"] = (width, width // 32, 3, 3)
            shapes[f"{name}.conv3.weight"] = (out, width, 1, 1)
            for i in (1, 2, 3):
                norm(f"{name}.bn{i}", width)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (out, inside, 1, 1)
                norm(f"{name}.downsample.1", out)
            inside = out
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
    assert {name: tuple(tensor.shape) for name, tensor in full.state_dict().items()} == published()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 480), (1067, 800)), ((480, 640), (800, 1067)), ((1000, 400), (1333, 533)), ((800, 800), (800, 800))],
)
def test_the_short_side_is_800_unless_the_long_one_exceeds_1333(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert size_of(*size) == expected


def test_a_picture_is_resized_as_written_out_pixel_by_pixel() -> None:
    tensor = prepared(PHOTO)
    scale, (wide, high) = scale_of(70, 45), size_of(70, 45)
    assert tensor.shape == (1, 3, -(-high // 32) * 32, -(-wide // 32) * 32)
    assert (tensor[:, :, high:] == 0).all()
    assert (tensor[:, :, :, wide:] == 0).all()
    for y, x in ((0, 0), (high - 1, wide - 1), (311, 402), (17, 1001)):
        at = [min(max((i + 0.5) / scale - 0.5, 0.0), n - 1.0) for i, n in ((y, 45), (x, 70))]
        low = [math.floor(value) for value in at]
        for channel in range(3):
            value = 0.0
            for dy in (0, 1):
                for dx in (0, 1):
                    rows, columns = min(low[0] + dy, 44), min(low[1] + dx, 69)
                    share = [f if d else 1 - f for d, f in ((dy, at[0] - low[0]), (dx, at[1] - low[1]))]
                    value += float(PHOTO[rows, columns, 2 - channel]) * share[0] * share[1]
            assert float(tensor[0, channel, y, x]) == pytest.approx(value - MEANS_BGR[channel], abs=1e-3)


def test_anchors_are_the_ones_that_the_trainers_code_documents() -> None:
    documented = [[-83, -39, 100, 56], [-55, -55, 72, 72], [-35, -79, 52, 96]]  # stride 16, size 128, pixels from 1
    assert (base_anchors(16, 128) + 1).tolist() == documented
    grid = anchors_of(base_anchors(16, 128), 2, 3, 16).reshape(2, 3, 3, 4)
    np.testing.assert_array_equal(grid[1, 2] - grid[0, 0], np.tile([32, 16, 32, 16], (3, 1)))


def test_shifts_count_both_edges() -> None:
    anchor, shift = [10.0, 20.0, 29.0, 59.0], [0.1, -0.2, 0.3, 9.0]
    width, height = 20.0, 40.0
    x, y = 10 + 0.5 * width + 0.1 * width, 20 + 0.5 * height - 0.2 * height
    w, h = width * math.exp(0.3), height * 62.5
    expected = [x - w / 2, y - h / 2, x + w / 2 - 1, y + h / 2 - 1]
    found = shifted(torch.tensor([anchor]), torch.tensor([shift]))
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    assert clipped(found, 30, 25)[0].tolist() == pytest.approx([max(expected[0], 0), 0, 29, 24])


def counted_overlap(a: list[float], b: list[float]) -> float:
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1 for i in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return shared / (sum(areas) - shared)


def test_proposals_are_what_plain_loops_propose() -> None:
    torch.manual_seed(1)
    grids = [(8, 10), (4, 5), (2, 3), (1, 2), (1, 1)]
    judged = [(torch.randn(1, 3, *grid), torch.randn(1, 12, *grid)) for grid in grids]
    anchors = [base_anchors(4 << level, 32 << level) for level in range(5)]
    boxes, scores = propose(judged, anchors, 39, 31)
    expected: list[tuple[float, list[float]]] = []
    for (logits, shifts), base, stride in zip(judged, anchors, (4, 8, 16, 32, 64), strict=True):
        level = []
        for row, column, ratio in np.ndindex(*logits.shape[2:], 3):
            anchor = base[ratio] + torch.tensor([column, row, column, row]) * stride
            moved = shifted(anchor[None], shifts[0, 4 * ratio : 4 * ratio + 4, row, column][None])
            level.append((float(logits[0, ratio, row, column].sigmoid()), clipped(moved, 39, 31)[0].tolist()))
        kept: list[tuple[float, list[float]]] = []
        for score, box in sorted(level, key=lambda pair: -pair[0]):
            if all(counted_overlap(box, other) <= 0.7 for _, other in kept):
                kept.append((score, box))
        expected += kept
    expected.sort(key=lambda pair: -pair[0])
    np.testing.assert_allclose(scores, [score for score, _ in expected], rtol=1e-6)
    np.testing.assert_allclose(boxes, [box for _, box in expected], atol=1e-4)


def sampled(values: NDArray[np.float32], y: float, x: float) -> NDArray[np.float32]:
    """(C,) of a map (C, H, W) at a point between its cells' corners."""
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
def test_a_region_is_pooled_from_the_level_of_its_size(box: list[int], level: int) -> None:
    maps = [torch.from_numpy(RNG.normal(size=(1, 2, 512 >> i, 512 >> i)).astype(np.float32)) for i in (2, 3, 4, 5)]
    found = pool(maps, torch.tensor([box], dtype=torch.float32))[0].numpy()
    x1, y1, x2, y2 = (value / 4 / 2**level for value in box)
    cell = [max(x2 - x1, 1.0) / 7, max(y2 - y1, 1.0) / 7]
    for row, column in ((0, 0), (3, 5), (6, 6)):
        points = [
            sampled(maps[level][0].numpy(), y1 + (row + fy) * cell[1], x1 + (column + fx) * cell[0])
            for fy in (0.25, 0.75)
            for fx in (0.25, 0.75)
        ]
        np.testing.assert_allclose(found[:, row, column], np.mean(points, axis=0), atol=1e-4)


def test_folding_the_normalisation_changes_no_map() -> None:
    one = network().eval()
    picture = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        before = one.maps(picture)
        one.fold()
        after = one.maps(picture)
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in one.modules())
    assert [tuple(one_map.shape[2:]) for one_map in after] == [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    for left, right in zip(before, after, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-3 * float(left.abs().max()))


def test_the_body_is_the_one_that_the_names_say() -> None:
    """The maps, written out block by block from the tensors alone."""
    one = network().eval()
    state = one.state_dict()
    functional = nn.functional

    def norm(x: Tensor, name: str) -> Tensor:
        weight, bias, mean, var = (
            state[f"{name}.{part}"].view(-1, 1, 1) for part in ("weight", "bias", "running_mean", "running_var")
        )
        made: Tensor = (x - mean) / var.sqrt() * weight + bias
        return made

    def conv(x: Tensor, name: str, **options: int) -> Tensor:
        return functional.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    picture = torch.randn(1, 3, 64, 64)
    body = "backbone.body"
    x = functional.relu(norm(conv(picture, f"{body}.stem.conv1", stride=2, padding=3), f"{body}.stem.bn1"))
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
    for found, wanted in zip(one.maps(picture), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3 * float(wanted.abs().max()))


def test_regions_are_proposals_and_given_boxes_take_the_same_path(file: Path) -> None:
    detector = X152.load(file, sizes=SMALL, max_regions=12)
    found, none = detector.detect_with([PHOTO], [np.zeros((0, 4))])[0]
    assert (detector.feature_size, len(detector.kinds)) == (16, 21)
    assert found.boxes_px.shape == (12, 4)
    assert none.features.shape == (0, 16)
    assert (found.features >= 0).all()
    assert found.class_probs is not None
    np.testing.assert_allclose(found.class_probs.sum(1), 1, atol=1e-5)
    best = found.class_probs[:, 1:].max(1)
    assert (found.boxes_px[:, [2, 3]] <= [70, 45]).all()
    again, told = detector.detect_with([PHOTO], [found.boxes_px[::-1]])[0]
    np.testing.assert_array_equal(told.boxes_px, found.boxes_px[::-1])
    np.testing.assert_allclose(again.features, found.features, atol=1e-4)
    close = np.abs(told.features[::-1] - found.features).max(1) <= 0.05 * found.features.max()
    assert close.mean() > 0.7  # a box asked about is scaled by whole pixels, a proposal by the exact scale
    assert best[0] == best.max()


def test_the_file_is_accounted_for_tensor_by_tensor(file: Path) -> None:
    state = dict(network().state_dict())
    state["roi_heads.box.predictor.attr_linear1.weight"] = torch.zeros(2)  # set aside: extraction reads no attributes
    state["rpn.anchor_generator.cell_anchors.0"] = base_anchors(4, 32) + 1
    made = network_of(state, "file", SMALL)
    torch.testing.assert_close(made.anchors[0], base_anchors(4, 32) + 1)  # the file's own count
    del state["rpn.anchor_generator.cell_anchors.0"]
    torch.testing.assert_close(network_of(state, "file", SMALL).anchors[0], base_anchors(4, 32))
    state["rpn.head.conv.wieght"] = state.pop("rpn.head.conv.weight")
    state["rpn.head.bbox_pred.bias"] = torch.zeros(11)
    with pytest.raises(TwelvefoldError) as error:
        network_of(state, "file", SMALL)
    for part in (
        "1 missing: rpn.head.conv.weight",
        "1 unknown: rpn.head.conv.wieght; did you mean 'rpn.head.conv.weight'?",
        "1 of another shape: rpn.head.bbox_pred.bias (11,) instead of (12,)",
    ):
        assert part in str(error.value)
    with pytest.raises(TwelvefoldError, match=r"backbone\.body\.stem\.conv1"):
        X152.load(file, sizes=Sizes())  # the small network's file is not the published one's


def test_widths_and_depths_are_read_off_the_file(file: Path) -> None:
    assert sizes_of(network().state_dict()) == SMALL
    with torch.device("meta"):
        assert sizes_of(X152Network().state_dict()) == Sizes()
    assert X152.load(file).digest == X152.load(file, sizes=SMALL).digest
    with pytest.raises(TwelvefoldError, match="missing: backbone"):
        network_of({"roi_heads.box.predictor.cls_score.weight": torch.zeros(3)}, "file")


def test_digests_tell_weights_and_settings_apart(file: Path) -> None:
    digests = {
        X152.load(file, sizes=SMALL).digest,
        X152.load(file, sizes=SMALL, max_regions=36).digest,
        X152.load(file, sizes=SMALL, min_regions=10).digest,
        X152.load(file, sizes=SMALL, min_regions=10, confidence=0.2).digest,
        X152.load(file, sizes=SMALL, fc6="before_relu").digest,
    }
    assert len(digests) == 5
    assert X152.load(file, sizes=SMALL).digest in digests


def test_features_are_fc6_after_its_relu_or_before_it(file: Path) -> None:
    after, _ = X152.load(file).detect_with([PHOTO], [np.zeros((0, 4))])[0]
    before, _ = X152.load(file, fc6="before_relu").detect_with([PHOTO], [np.zeros((0, 4))])[0]
    assert (before.features < 0).any()
    np.testing.assert_array_equal(before.features.clip(min=0), after.features)
    np.testing.assert_array_equal(before.boxes_px, after.boxes_px)  # classes read fc7, which is the same


def test_nothing_of_a_picture_stays_on_another_device_than_the_network() -> None:
    """PyTorch's stand-in for a GPU computes nothing, but refuses to mix devices, as a GPU does."""
    gpu = torch.device("cuda")
    with FakeTensorMode(allow_non_fake_inputs=True):
        with gpu:
            one = X152Network(SMALL).eval()
        one.fold()
        maps = one.maps(prepared(PHOTO, gpu))
        anchors = [anchors_of(base, 3, 4, 8) for base in one.anchors]
        boxes = shifted(anchors[0], torch.zeros(36, 4, device=gpu))
        fc6, logits = one.roi_heads["box"](torch.zeros(2, 8, 7, 7, device=gpu))
        made = [*maps, *anchors, clipped(boxes, 70, 45), fc6, logits]
        assert {tensor.device.type for tensor in made} == {"cuda"}
        with pytest.raises(RuntimeError, match="device"):
            one.maps(prepared(PHOTO))


@pytest.mark.parametrize(("least", "most", "confidence"), [(0, 10, 0.0), (11, 10, 0.0), (1, 1001, 0.0), (1, 9, 1.0)])
def test_senseless_numbers_are_refused(least: int, most: int, confidence: float) -> None:
    with pytest.raises(TwelvefoldError, match="min_regions"):
        X152(network(), min_regions=least, max_regions=most, confidence=confidence)
