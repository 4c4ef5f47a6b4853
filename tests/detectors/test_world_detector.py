"""The detector that ships, on pictures it never saw, and on pictures that no detector likes."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from twelvefold.boxes import clip
from twelvefold.detectors.world_detector import detector as module
from twelvefold.detectors.world_detector.detector import SHIPPED, Detector, Words, read_weights, write_weights
from twelvefold.detectors.world_detector.fit_world import EVALUATION_SEED, TRAINING_SEED, WORDS, evaluate_detector
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import read_json
from twelvefold.world.draw import draw_scene
from twelvefold.world.scene import make_scene

Scenes = list[tuple[NDArray[np.uint8], NDArray[np.float32]]]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load(arithmetic="float32")


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    made = [make_scene(EVALUATION_SEED + 7, index) for index in range(6)]
    return [(np.asarray(draw_scene(s)), np.array([t.box_px for t in s.objects], np.float32)) for s in made]


def test_the_shipped_detector_sees_unseen_pictures() -> None:
    scores = evaluate_detector(pictures=40, seed=3)
    assert scores.recall > 0.98
    assert scores.map50 > 0.97
    assert scores.given_kind > 0.97
    assert scores.given_colour > 0.98
    assert scores.given_pattern > 0.95
    assert scores.given_size > 0.95
    assert scores.regions <= 16


def test_measured_figures_come_with_the_weights() -> None:
    about = read_json(SHIPPED.with_suffix(".json"))
    assert {"command", "seed", "evaluation"} <= set(about)
    assert about["digest"] == Detector.load().digest
    assert 0.98 < about["evaluation"]["recall"] <= 1
    assert SHIPPED.stat().st_size < 8_000_000


def test_the_weights_know_the_worlds_words() -> None:
    assert Detector.load().words == WORDS
    assert TRAINING_SEED != EVALUATION_SEED


def test_given_boxes_get_what_a_detected_region_gets(detector: Detector, scenes: Scenes) -> None:
    pictures = [picture for picture, _ in scenes]
    found = detector.detect(pictures)
    again = detector.detect_with(pictures, [regions.boxes_px for regions in found])
    for first, (second, given) in zip(found, again, strict=True):
        np.testing.assert_array_equal(first.boxes_px, given.boxes_px)
        np.testing.assert_allclose(first.features, given.features, atol=2e-3)
        np.testing.assert_allclose(first.features, second.features, atol=2e-3)


def test_given_boxes_come_back_as_they_were(detector: Detector, scenes: Scenes) -> None:
    (picture, boxes), odd = (
        scenes[0],
        np.array([[-20, -20, 15, 15], [60, 60, 60, 60], [500, 500, 600, 600]], np.float32),
    )
    asked = np.concatenate([boxes[::-1], odd])
    _, given = detector.detect_with([picture], [asked])[0]
    np.testing.assert_array_equal(given.boxes_px, asked)
    assert given.features.shape == (len(asked), detector.feature_size)
    assert np.isfinite(given.features).all()
    inside = clip(odd[:1], picture.shape[1], picture.shape[0])
    _, clipped = detector.detect_with([picture], [inside])[0]
    np.testing.assert_allclose(given.features[len(boxes)], clipped.features[0], atol=1e-4)


def test_a_batch_of_one_sees_what_a_batch_of_many_sees(detector: Detector, scenes: Scenes) -> None:
    together = detector.detect_with([p for p, _ in scenes], [b for _, b in scenes])
    for (picture, boxes), (found, given) in zip(scenes, together, strict=True):
        alone, given_alone = detector.detect_with([picture], [boxes])[0]
        np.testing.assert_allclose(given.features, given_alone.features, atol=2e-3)
        np.testing.assert_allclose(found.boxes_px, alone.boxes_px, atol=0.05)


def test_boxes_are_pixels_of_the_original_picture(detector: Detector, scenes: Scenes) -> None:
    picture, boxes = scenes[0]
    height, width = picture.shape[:2]
    large = np.asarray(Image.fromarray(picture).resize((width * 3, height * 3)))
    found, given = detector.detect_with([large], [boxes * 3])[0]
    assert (found.width, found.height) == (width * 3, height * 3)
    assert found.boxes_px.max() > max(width, height)
    assert found.class_probs is not None
    assert given.class_probs is not None
    small = detector.detect_with([picture], [boxes])[0][1]
    assert small.class_probs is not None
    agree = small.class_probs.argmax(1) == given.class_probs.argmax(1)
    assert agree.mean() >= 0.5  # another size, the same things


@pytest.mark.parametrize("size", [(8, 8), (700, 40), (40, 700), (320, 320), (1, 1), (1200, 900)])
def test_noise_of_any_size_is_survived(detector: Detector, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    found, given = detector.detect_with([noise], [np.array([[0, 0, size[1], size[0]]], np.float32)])[0]
    assert np.isfinite(found.features).all()
    assert np.isfinite(given.features).all()
    assert found.boxes_px.min(initial=0) >= 0
    assert (found.boxes_px.max(axis=0, initial=0) <= [size[1], size[0], size[1], size[0]]).all()


def test_an_empty_picture_has_no_regions(detector: Detector) -> None:
    blank = np.full((256, 256, 3), 127, np.uint8)
    found, given = detector.detect_with([blank], [np.zeros((0, 4), np.float32)])[0]
    assert found.boxes_px.shape[1] == 4
    assert given.features.shape == (0, detector.feature_size)
    strict = Detector.load(arithmetic="float32")
    strict._network.heads.score_thresh = 1.1  # nothing is that sure
    nothing = strict.detect([blank])[0]
    assert nothing.features.shape == (0, detector.feature_size)
    assert nothing.boxes_px.shape == (0, 4)
    assert nothing.class_probs is not None
    assert nothing.class_probs.shape == (0, 60)


def test_best_first_and_no_more_than_asked(scenes: Scenes) -> None:
    few = Detector.load(max_regions=2, arithmetic="float32")
    for seen, _ in few.look([p for p, _ in scenes], [b for _, b in scenes]):
        assert len(seen.scores) <= 2
        assert (np.diff(seen.scores) <= 0).all()
    for wrong in (0, 37):
        with pytest.raises(TwelvefoldError, match="1 to 36"):
            Detector.load(max_regions=wrong)


def test_boxes_that_are_no_boxes_are_refused(detector: Detector) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    for wrong in (np.array([[0, 0, np.nan, 4]]), np.array([[1.0, 2.0, 3.0]])):
        with pytest.raises(TwelvefoldError, match="given boxes"):
            detector.detect_with([picture], [wrong])
    with pytest.raises(TwelvefoldError, match="1 pictures came with 0"):
        detector.detect_with([picture], [])


def test_foreign_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"none\.safetensors"):
        Detector.load(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(SHIPPED.read_bytes()[:5000])
    with pytest.raises(TwelvefoldError, match=r"cut\.safetensors is damaged"):
        Detector.load(cut)
    other = tmp_path / "other.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, str(other))
    with pytest.raises(TwelvefoldError, match="format None"):
        Detector.load(other)
    lacking = tmp_path / "lacking.safetensors"
    write_weights(lacking, {}, WORDS)
    with pytest.raises(TwelvefoldError, match="lacks"):
        Detector.load(lacking)


def test_weights_go_out_and_in_again(tmp_path: Path) -> None:
    words = Words(("cat", "dog"), ("red",), ("small", "large"), ("plain",))
    network = words.network()
    write_weights(tmp_path / "w.safetensors", network.state_dict(), words)
    assert read_weights(tmp_path / "w.safetensors")[1] == words
    assert Detector.load(tmp_path / "w.safetensors").digest != module.Detector.load().digest
