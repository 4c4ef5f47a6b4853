"""The Predictor answers the samples correctly, takes single inputs and lists, and refuses invalid input."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pytest
from PIL import Image

import twelvefold
from twelvefold import boxes
from twelvefold.datasets import paper_task_names
from twelvefold.datasets.guesswhat import format_dialogue
from twelvefold.images import InputImage, load_image
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request
from twelvefold.serving.result import Prediction
from twelvefold.serving.samples import Suggestion, find_sample, load_samples

MIN_ACCURACY = 0.75
"""Of the shipped model on the samples: below its lowest test score, with a margin for chance among 130 questions."""


@pytest.fixture(scope="module")
def model() -> Predictor:
    return twelvefold.load()


def all_suggestions() -> list[tuple[str, Suggestion]]:
    return [(sample.name, suggestion) for sample in load_samples() for suggestion in sample.suggestions]


def text_of(suggestion: Suggestion) -> str:
    return (format_dialogue(list(suggestion.dialogue)) or "") if suggestion.dialogue else suggestion.text


def images_of(name: str, suggestion: Suggestion) -> tuple[InputImage, ...]:
    if suggestion.task in ("coco", "flickr30k"):
        return tuple(load_image(sample.path) for sample in load_samples())
    return tuple(load_image(find_sample(n).path) for n in ((name, suggestion.other) if suggestion.other else (name,)))


def make_request(name: str, suggestion: Suggestion, **options: Any) -> Request:
    images, text = images_of(name, suggestion), text_of(suggestion)
    return Request(suggestion.task, images, text, suggestion.boxes_px, **options)


def test_the_shipped_model_answers_the_samples_correctly(model: Predictor) -> None:
    correct = []
    questions = all_suggestions()
    predictions = model.answer([make_request(*question) for question in questions])
    for (name, suggestion), prediction in zip(questions, predictions, strict=True):
        best = prediction.best
        if suggestion.box_px is not None:
            box, target = (np.array([b], dtype=np.float32) for b in (best.box_px, suggestion.box_px))
            correct.append(bool(boxes.iou(box, target)[0, 0] >= 0.5))
        elif prediction.family == "retrieval":
            correct.append(load_samples()[int(best.name)].name == name)
        else:
            correct.append(best.name == suggestion.answer)
    assert np.mean(correct) >= MIN_ACCURACY


def test_a_single_input_gives_a_prediction_and_a_list_gives_a_list(model: Predictor) -> None:
    room, beach = find_sample("room").path, find_sample("beach").path
    assert isinstance(assert_type(model.ask(room, "What is this?"), Prediction), Prediction)
    answers = model.ask([room, beach], "What is this?")
    assert isinstance(assert_type(answers, list[Prediction]), list)
    assert [p.best.name for p in answers] == [model.ask(p, "What is this?").best.name for p in (room, beach)]
    assert len(model.ask(room, ["What?", "Where?", "How many?"], top=2)) == 3
    assert model.ask([], []) == []
    searches = model.find(["a boot", "a crab"], [room, beach])
    assert len(searches[0].found) == 2
    comparisons = model.compare([room, beach], [beach, room], "There is a boot.")
    assert comparisons[0].images[0].digest == comparisons[1].images[1].digest
    assert comparisons[0].pictures == comparisons[0].images  # the earlier name


def test_the_ranking_of_boxes_does_not_depend_on_their_order(model: Predictor) -> None:
    name, question = next((n, s) for n, s in all_suggestions() if s.task == "visual7w")
    path, candidates = find_sample(name).path, list(question.boxes_px)
    forward, backward = (model.choose(path, question.text, order) for order in (candidates, candidates[::-1]))
    assert [r.box_px for r in forward.ranked] == [r.box_px for r in backward.ranked]
    assert {r.box_px for r in forward.ranked} == set(candidates)


def test_explain_keeps_the_answers_and_adds_normalized_weights(model: Predictor) -> None:
    questions = [next((n, s) for n, s in all_suggestions() if s.task == task) for task in paper_task_names()]
    plain = model.answer([make_request(n, s) for n, s in questions])
    explained = model.answer([make_request(n, s, explain=True) for n, s in questions])
    for without, prediction in zip(plain, explained, strict=True):
        assert [r.name for r in without.ranked] == [r.name for r in prediction.ranked]
        assert without.to_dict()["attention"] is None
        assert len(prediction.attention) == (2 if prediction.task == "nlvr2" else 1)
        for attention in prediction.attention:
            image = prediction.images[attention.image_index]
            assert list(attention.boxes_px[0]) == [0, 0, image.width, image.height]
            assert " ".join(attention.words).startswith(f"[CLS] [{prediction.task}] ")
            assert attention.region_weights().shape == (len(attention.boxes_px),)
            assert attention.region_weights(0, 0, attention.words[-1]).sum() == pytest.approx(1, abs=1e-4)
            assert attention.word_weights(0, None, 0).sum() == pytest.approx(1, abs=1e-4)
            invalid: list[dict[str, Any]] = [{"block": 9}, {"head": 99}, {"word": "zebra"}]
            for selection in invalid:
                with pytest.raises(TwelvefoldError, match="no"):
                    attention.region_weights(**selection)
        if prediction.family == "retrieval":
            assert prediction.attention[0].image_index == int(prediction.best.name)


def test_the_digest_does_not_depend_on_the_source(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue())
    sources: list[Any] = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        file.getvalue(),
        Image.fromarray(rgb),
        rgb,
        rgb / 255,
    ]
    assert len({load_image(source).digest for source in sources}) == 1
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    upright = np.rot90(rgb, -1)
    Image.fromarray(rgb).save(tmp_path / "rotated.png", exif=exif)
    assert load_image(tmp_path / "rotated.png").digest == load_image(np.ascontiguousarray(upright)).digest


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("https://example.org/a.jpg", "never downloaded"),
        (np.zeros((3, 8, 8), np.uint8), "channels come last"),
        (np.full((8, 8), 2.0), "from 0 to 1"),
        (np.zeros((8, 8), np.int64), "uint8"),
        (np.zeros((0, 8), np.uint8), "H, W"),
        (b"nothing", "not an image"),
        (7, "got int"),
    ],
)
def test_sources_that_are_no_image_are_refused(source: Any, message: str) -> None:
    with pytest.raises(TwelvefoldError, match=message):
        load_image(source)


def test_invalid_requests_are_refused(model: Predictor) -> None:
    room = find_sample("room").path
    outside = [(900.0, 900.0, 950.0, 950.0)]
    invalid: list[tuple[Any, str]] = [
        (lambda: model.ask(room, "What?", task="vqa2"), "did you mean 'vqav2'"),
        (lambda: model.ask(room, " "), "needs a text"),
        (lambda: model.ask(room, "x" * 10_001), "at most 10,000"),
        (lambda: model.ask(room, "What?", top=0), "at least 1"),
        (lambda: model.ask([room, room], ["a", "b", "c"]), "same length"),
        (lambda: model.choose(room, "Which?", outside), "inside the image"),
        (lambda: model.choose(room, "Which?", [(1, 2, 3)]), "x1, y1, x2, y2"),
        (lambda: model.find("a boot", room), "list of images"),  # type: ignore[call-overload]
        (lambda: model.find("a boot", []), "got none"),
        (lambda: model.guess(room, [("Is it?", "")]), "empty one"),
        (lambda: model.ground(room, "a boot", ["a cat"]), "not part of the caption"),
        (lambda: model.answer([Request("nlvr2", (load_image(room),), "True?")]), "2 images, got 1"),
        (lambda: model.answer([Request("vqav2", (load_image(room),), "What?", ((1, 1, 5, 5),))]), "takes no boxes"),
    ]
    for call, message in invalid:
        with pytest.raises(TwelvefoldError, match=message):
            call()


def test_without_regions_it_answers_with_a_note(model: Predictor) -> None:
    empty = np.full((64, 64, 3), 255, np.uint8)
    assert len(model.detect([load_image(empty)])[0].boxes_px) == 0
    without, with_regions = (model.ask(image, "What is this?") for image in (empty, find_sample("room").path))
    assert without.best.name
    assert "found nothing in the image" in " ".join(without.notes)
    assert "found nothing" not in " ".join(with_regions.notes)
    compared = model.compare(find_sample("room").path, empty, "There is a boot in both pictures.")
    assert "in one of the images" in " ".join(compared.notes)
    pointed = model.point(empty, "the boot")
    assert "nothing" in " ".join(pointed.notes)
    with pytest.raises(TwelvefoldError, match="gave no answer"):
        _ = pointed.best
    assert pointed.draw().size[0] >= 64
