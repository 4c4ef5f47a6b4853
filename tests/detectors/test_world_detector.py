"""The package's detector: accuracy on unseen images, given boxes, unusual images, and weight files."""

from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from twelvefold.boxes import clip
from twelvefold.detectors.world_detector.detector import (
    SHIPPED_WEIGHTS,
    LabelSpace,
    WorldDetector,
    read_weights,
    write_weights,
)
from twelvefold.detectors.world_detector.images import input_size, to_tensor
from twelvefold.detectors.world_detector.train_on_world import EVALUATION_SEED, LABELS, TRAINING_SEED, evaluate_detector
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import read_json
from twelvefold.world.draw import draw_scene
from twelvefold.world.scene import make_scene

Scenes = list[tuple[NDArray[np.uint8], NDArray[np.float32]]]


@pytest.fixture(scope="module")
def detector() -> WorldDetector:
    return WorldDetector.load(dtype="float32")


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    drawn = [make_scene(EVALUATION_SEED + 7, index) for index in range(6)]
    return [(np.asarray(draw_scene(s)), np.array([t.box_px for t in s.objects], np.float32)) for s in drawn]


@pytest.mark.slow
def test_the_shipped_detector_is_accurate_on_unseen_images() -> None:
    metrics = evaluate_detector(images=40, seed=3)
    assert metrics.recall > 0.98
    assert metrics.map50 > 0.97
    assert metrics.given_category > 0.97
    assert metrics.given_color > 0.98
    assert metrics.given_pattern > 0.95
    assert metrics.given_size > 0.95
    assert metrics.regions <= 16


def test_the_weights_come_with_their_evaluation() -> None:
    card = read_json(SHIPPED_WEIGHTS.with_suffix(".json"))
    assert {"command", "seed", "evaluation"} <= set(card)
    assert card["digest"] == WorldDetector.load().digest
    assert 0.98 < card["evaluation"]["recall"] <= 1
    assert SHIPPED_WEIGHTS.stat().st_size < 8_000_000


def test_the_weights_have_the_labels_of_the_world() -> None:
    assert WorldDetector.load().labels == LABELS
    assert TRAINING_SEED != EVALUATION_SEED


def test_a_given_box_has_the_features_of_an_equal_detected_box(detector: WorldDetector, scenes: Scenes) -> None:
    images = [image for image, _ in scenes]
    detected = detector.detect(images)
    again = detector.extract_regions(images, [regions.boxes_px for regions in detected])
    assert all(len(regions.boxes_px) for regions in detected)
    for first, (second, given) in zip(detected, again, strict=True):
        np.testing.assert_array_equal(first.boxes_px, given.boxes_px)
        np.testing.assert_allclose(first.features, given.features, atol=2e-3)
        np.testing.assert_allclose(first.features, second.features, atol=2e-3)


def test_given_boxes_keep_their_coordinates(detector: WorldDetector, scenes: Scenes) -> None:
    (image, boxes), unusual = (
        scenes[0],
        np.array([[-20, -20, 15, 15], [60, 60, 60, 60], [500, 500, 600, 600]], np.float32),
    )
    requested = np.concatenate([boxes[::-1], unusual])
    _, given = detector.extract_regions([image], [requested])[0]
    np.testing.assert_array_equal(given.boxes_px, requested)
    assert given.features.shape == (len(requested), detector.feature_size)
    assert np.isfinite(given.features).all()
    inside = clip(unusual[:1], image.shape[1], image.shape[0])
    _, clipped = detector.extract_regions([image], [inside])[0]
    np.testing.assert_allclose(given.features[len(boxes)], clipped.features[0], atol=1e-4)


def test_a_batch_of_one_equals_a_batch_of_many(detector: WorldDetector, scenes: Scenes) -> None:
    together = detector.extract_regions([p for p, _ in scenes], [b for _, b in scenes])
    for (image, boxes), (detected, given) in zip(scenes, together, strict=True):
        alone, given_alone = detector.extract_regions([image], [boxes])[0]
        np.testing.assert_allclose(given.features, given_alone.features, atol=2e-3)
        np.testing.assert_allclose(detected.boxes_px, alone.boxes_px, atol=0.05)


def test_boxes_are_pixels_of_the_original_image(detector: WorldDetector, scenes: Scenes) -> None:
    image, boxes = scenes[0]
    height, width = image.shape[:2]
    large = np.asarray(Image.fromarray(image).resize((width * 3, height * 3)))
    detected, given = detector.extract_regions([large], [boxes * 3])[0]
    assert (detected.width, detected.height) == (width * 3, height * 3)
    assert detected.boxes_px.max() > max(width, height)
    assert detected.class_probs is not None
    assert given.class_probs is not None
    small = detector.extract_regions([image], [boxes])[0][1]
    assert small.class_probs is not None
    agree = small.class_probs.argmax(1) == given.class_probs.argmax(1)
    assert agree.mean() >= 0.5  # another size, the same objects


@pytest.mark.parametrize("size", [(8, 8), (700, 40), (40, 700), (320, 320), (1, 1), (1200, 900)])
def test_noise_of_any_size_gives_valid_regions(detector: WorldDetector, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    detected, given = detector.extract_regions([noise], [np.array([[0, 0, size[1], size[0]]], np.float32)])[0]
    assert np.isfinite(detected.features).all()
    assert np.isfinite(given.features).all()
    assert detected.boxes_px.min(initial=0) >= 0
    assert (detected.boxes_px.max(axis=0, initial=0) <= [size[1], size[0], size[1], size[0]]).all()


def test_an_empty_image_has_no_regions(detector: WorldDetector) -> None:
    blank = np.full((256, 256, 3), 127, np.uint8)
    detected, given = detector.extract_regions([blank], [np.zeros((0, 4), np.float32)])[0]
    assert detected.boxes_px.shape[1] == 4
    assert given.features.shape == (0, detector.feature_size)
    strict = WorldDetector.load(dtype="float32")
    strict._network.heads.score_thresh = 1.1  # above every score
    none = strict.detect([blank])[0]
    assert none.features.shape == (0, detector.feature_size)
    assert none.boxes_px.shape == (0, 4)
    assert none.class_probs is not None
    assert none.class_probs.shape == (0, 60)


def test_regions_are_sorted_and_limited(scenes: Scenes) -> None:
    few = WorldDetector.load(max_regions=2, dtype="float32")
    for detected, _ in few.detect_with_attributes([p for p, _ in scenes], [b for _, b in scenes]):
        assert len(detected.scores) <= 2
        assert (np.diff(detected.scores) <= 0).all()
    for wrong in (0, 37):
        with pytest.raises(TwelvefoldError, match="1 to 36"):
            WorldDetector.load(max_regions=wrong)


def test_invalid_boxes_are_refused(detector: WorldDetector) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    for wrong in (np.array([[0, 0, np.nan, 4]]), np.array([[1.0, 2.0, 3.0]])):
        with pytest.raises(TwelvefoldError, match="given boxes"):
            detector.extract_regions([image], [wrong])
    with pytest.raises(TwelvefoldError, match="each of 1 images, got 0"):
        detector.extract_regions([image], [])


def test_unsuitable_weight_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"none\.safetensors"):
        WorldDetector.load(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(SHIPPED_WEIGHTS.read_bytes()[:5000])
    with pytest.raises(TwelvefoldError, match=r"cut\.safetensors: can't be read as safetensors"):
        WorldDetector.load(cut)
    other = tmp_path / "other.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, str(other))
    with pytest.raises(TwelvefoldError, match="format None"):
        WorldDetector.load(other)
    incomplete = tmp_path / "incomplete.safetensors"
    write_weights(incomplete, {}, LABELS)
    with pytest.raises(TwelvefoldError, match=r"incomplete\.safetensors is not a weight file (?s:.*)missing: backbone"):
        WorldDetector.load(incomplete)


def test_written_weights_can_be_read(tmp_path: Path) -> None:
    labels = LabelSpace(("cat", "dog"), ("red",), ("small", "large"), ("plain",))
    network = labels.build_network()
    write_weights(tmp_path / "w.safetensors", network.state_dict(), labels)
    assert read_weights(tmp_path / "w.safetensors")[1] == labels
    assert WorldDetector.load(tmp_path / "w.safetensors").digest != WorldDetector.load().digest


@hypothesis.given(st.integers(1, 5000), st.integers(1, 5000))
def test_input_sizes_are_multiples_of_the_stride(width: int, height: int) -> None:
    w, h = input_size(width, height)
    assert w % 32 == 0
    assert h % 32 == 0
    assert min(w, h) >= 32
    assert 64 <= max(w, h) <= 320


@pytest.mark.parametrize("size", [(288, 224), (224, 288), (256, 256)])
def test_world_images_are_not_resampled(size: tuple[int, int]) -> None:
    assert input_size(*size) == size
    image = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    tensor = to_tensor([image])
    assert tensor.shape == (1, 3, size[1], size[0])
    np.testing.assert_allclose(tensor[0].permute(1, 2, 0).numpy() * 64 + 127.5, image, atol=1e-3)
