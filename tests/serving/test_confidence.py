"""The model of the drawn world is not sure about photographs, unknown words, or images in which nothing is detected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twelvefold
from twelvefold.families import load_family
from twelvefold.families.shared.probabilities import lower_probabilities
from twelvefold.schema import Ranked
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.result import Prediction
from twelvefold.serving.samples import load_samples

PHOTOGRAPHS = sorted((Path(__file__).parent / "photographs").glob("*.jpg"))
MAX_PROBABILITY = 0.6


@pytest.fixture(scope="module")
def model() -> Predictor:
    return twelvefold.load()


def about_photographs(model: Predictor) -> list[Prediction]:
    others = [*PHOTOGRAPHS[1:], PHOTOGRAPHS[0]]
    return [
        *model.ask(PHOTOGRAPHS, "Is there a dog?"),
        *model.ask(PHOTOGRAPHS, "How many people are there?"),
        *model.point(PHOTOGRAPHS, "the person on the left"),
        *model.entails(PHOTOGRAPHS, "There is a dog."),
        *model.compare(PHOTOGRAPHS, others, "There is a car."),
        *model.find(["a red car", "a dog"], PHOTOGRAPHS),
        model.find("a red car", PHOTOGRAPHS[:1]),
        *model.guess(PHOTOGRAPHS, [[("is it red?", "no")]] * len(PHOTOGRAPHS)),
    ]


def test_no_answer_about_a_photograph_has_more_than_60_percent_and_each_says_why(model: Predictor) -> None:
    assert len(PHOTOGRAPHS) >= 7
    for prediction in about_photographs(model):
        assert all(rank.probability <= MAX_PROBABILITY for rank in prediction.ranked), prediction
        assert any("unlike" in note for note in prediction.notes), prediction
        assert prediction.confidence_weight < 1


def test_probabilities_of_an_unusual_image_keep_their_order(model: Predictor) -> None:
    for prediction in about_photographs(model):
        probabilities = [rank.probability for rank in prediction.ranked]
        assert probabilities == sorted(probabilities, reverse=True)


def test_drawn_images_and_known_words_keep_their_confidence(model: Predictor) -> None:
    for sample in load_samples():
        prediction = model.ask(sample.path, "Is there a dog?")
        assert prediction.confidence_weight == 1
        assert prediction.notes == ()


def test_a_photograph_in_the_pool_does_not_lower_a_drawing_that_ranks_first(model: Predictor) -> None:
    room = next(sample for sample in load_samples() if sample.name == "room")
    caption = next(suggestion.text for suggestion in room.suggestions if suggestion.task == "coco")
    prediction = model.find(caption, [room.path, *PHOTOGRAPHS[:3]])
    if prediction.best.name != "0":
        pytest.fail(f"expected the drawing to rank first, got {prediction}")
    assert prediction.confidence_weight == 1


def test_an_index_gives_the_probabilities_of_find(model: Predictor) -> None:
    pool = PHOTOGRAPHS[:4]
    ranked = twelvefold.load().index(pool).search("a dog", top=4)
    expected = model.find("a dog", pool, top=4).ranked
    assert [str(PHOTOGRAPHS[int(rank.name)]) for rank in expected] == [rank.name for rank in ranked]
    np.testing.assert_allclose([r.probability for r in ranked], [r.probability for r in expected], atol=1e-5)
    assert ranked[0].probability <= MAX_PROBABILITY


def test_an_unknown_word_and_an_empty_image_lower_the_confidence(model: Predictor) -> None:
    room = next(sample.path for sample in load_samples() if sample.name == "room")
    unknown = model.ask(room, "Is there a giraffe?")
    assert unknown.confidence_weight < 1
    assert "giraffe" in unknown.notes[0]
    blank = model.ask(Image.new("RGB", (300, 200), "white"), "Is there a dog?")
    assert blank.best.probability <= MAX_PROBABILITY
    assert blank.notes


@pytest.mark.parametrize(
    ("family", "options", "chance"),
    [("answers", 100, 0), ("verification", 3, 1 / 3), ("grounding", 1, 1 / 2), ("retrieval", 4, 1 / 5)],
)
def test_probabilities_move_toward_chance(family: str, options: int, chance: float) -> None:
    assert load_family(family).chance_probability(options) == pytest.approx(chance)
    certain = (Ranked(1.0, "yes"),)
    [lowered] = lower_probabilities(certain, 0.1, chance)
    assert lowered.name == "yes"
    assert lowered.probability == pytest.approx(0.1 + 0.9 * chance)
