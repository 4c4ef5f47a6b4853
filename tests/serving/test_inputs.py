"""Lists of images, texts, boxes, dialogues and options in every form that has one meaning; other forms are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

import twelvefold
from twelvefold.images import load_image
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request

ROOM = twelvefold.sample("room")
RGB = np.asarray(Image.open(ROOM).convert("RGB"))
BOXES = [[190.0, 100.0, 215.0, 140.0], [50.0, 50.0, 150.0, 110.0]]
TURNS = [("Is it a boot?", "No"), ("Is it red?", "Yes")]


@pytest.fixture(scope="module")
def model() -> Predictor:
    return twelvefold.load()


def test_lists_of_inputs_may_be_any_ordered_collection(model: Predictor) -> None:
    expected = [answer.best.name for answer in model.ask([ROOM, "sample:beach"], "What is this?")]
    batch = torch.stack([torch.tensor(RGB[:200, :200]).permute(2, 0, 1)] * 2)
    assert len(model.ask(batch, "What is this?")) == len(model.ask(batch.permute(0, 2, 3, 1).numpy(), "What?")) == 2
    sources: list[Any] = [
        (ROOM, "sample:beach"),
        iter([ROOM, "sample:beach"]),
        (path for path in (ROOM, "sample:beach")),
        np.array([str(ROOM), "sample:beach"]),
    ]
    for images in sources:
        assert [answer.best.name for answer in model.ask(images, "What is this?")] == expected
    questions = (text for text in ("What is this?", "Where?"))
    assert len(model.ask(ROOM, questions)) == 2
    assert len(model.guess((path for path in (ROOM, "sample:beach")), TURNS)) == 2
    assert len(model.find("a boot", iter([str(ROOM), "sample:beach"])).ranked) == 2
    assert len(model.find(np.array(["a boot", "a crab"]), (ROOM, "sample:beach"))) == 2
    assert len(model.ground(ROOM, "a boot and a mushroom", iter(["a boot", "a mushroom"]))) == 2
    index = model.index(path for path in ("sample:room", "sample:beach"))  # type: ignore[attr-defined]
    assert index.names == ["sample:room", "sample:beach"]
    assert len(index.search(("a boot", "a crab"))) == 2


SAME_BOXES: dict[str, Callable[[], Any]] = {
    "tuples": lambda: [tuple(box) for box in BOXES],
    "an array": lambda: np.array(BOXES),
    "float32": lambda: np.array(BOXES, np.float32),
    "integers": lambda: np.array(BOXES, np.int32),
    "a tensor": lambda: torch.tensor(BOXES),
    "half precision": lambda: torch.tensor(BOXES, dtype=torch.bfloat16).float().round(),
    "a list of arrays": lambda: [np.array(box) for box in BOXES],
    "a list of tensors": lambda: [torch.tensor(box) for box in BOXES],
    "numbers of NumPy": lambda: [[np.float32(x) for x in box] for box in BOXES],
    "tensors without dimensions": lambda: [[torch.tensor(x) for x in box] for box in BOXES],
    "a generator": lambda: (box for box in BOXES),
    "dicts": lambda: [dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)) for box in BOXES],
}


@pytest.mark.parametrize("form", SAME_BOXES)
def test_boxes_in_any_form_are_the_same_candidates(form: str, model: Predictor) -> None:
    expected = model.choose(ROOM, "Which is green?", BOXES)
    prediction = model.choose(ROOM, "Which is green?", SAME_BOXES[form]())
    assert prediction.candidates_px == expected.candidates_px == tuple(map(tuple, BOXES))
    assert prediction.best == expected.best


def test_other_box_formats_are_named(model: Predictor) -> None:
    height, width = RGB.shape[:2]
    unit = np.array(BOXES) / [width, height, width, height]
    forms: dict[str, Any] = {
        "xywh": [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in BOXES],
        "xyxy_unit": unit,
        "xywh_unit": [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in unit],
    }
    for box_format, boxes in forms.items():
        prediction = model.guess(ROOM, TURNS, boxes, box_format=box_format)  # type: ignore[call-overload]
        assert prediction.candidates_px == pytest.approx(np.array(BOXES), abs=1e-3)
        with pytest.raises(TwelvefoldError, match=r"boxes.*box_format='(xywh|xyxy_unit)'"):
            model.choose(ROOM, "Which?", boxes)


def test_boxes_of_torchvision_state_their_format(model: Predictor) -> None:
    def boxes(box_format: str) -> Any:
        return tv_tensors.BoundingBoxes(torch.tensor(BOXES), format=box_format, canvas_size=RGB.shape[:2])

    assert len(model.choose(ROOM, "Which?", boxes("XYXY")).candidates_px) == 2
    with pytest.raises(TwelvefoldError, match=r"boxes: .* XYWH, .* give box_format='xywh'"):
        model.choose(ROOM, "Which?", boxes("XYWH"))
    with pytest.raises(TwelvefoldError, match=r"boxes: .* CXCYWH, .* convert them"):
        model.choose(ROOM, "Which?", boxes("CXCYWH"))


def test_boxes_of_several_requests(model: Predictor) -> None:
    images, question = [ROOM, ROOM], "Which is green?"
    each = model.choose(images, question, [BOXES, None])
    assert [len(prediction.candidates_px) for prediction in each] == [2, 0]
    assert [len(p.candidates_px) for p in model.choose(images, question, np.array([BOXES, BOXES]))] == [2, 2]
    assert [len(p.candidates_px) for p in model.choose(ROOM, [question] * 2, BOXES)] == [2, 2]
    assert model.choose([], [], []) == []


NO_BOXES: list[tuple[Any, str]] = [
    ([], "at least one.*None means the detected regions"),
    (np.zeros((0, 4)), "at least one"),
    ("[[1, 2, 30, 40]]", "list of boxes"),
    (7, "list of boxes"),
    ({"xmin": 1}, "list of boxes"),
    ([1, 2, 30, 40], r"\[\[x1, y1, x2, y2\]\]"),
    ([[1, 2, 30]], r"boxes\[0\]"),
    ([[1, 2, 30, 40], [1, 2, 30, 40, 5]], r"boxes\[1\]"),
    ([[1, 2, "30", 40]], r"boxes\[0\].*finite numbers"),
    ([[1, 2, None, 40]], "finite numbers"),
    ([[1, 2, True, 40]], "finite numbers"),
    ([[1, 2, float("nan"), 40]], "finite numbers"),
    ([[1, 2, float("inf"), 40]], "finite numbers"),
    ([[1, 2, 10**400, 40]], "finite numbers"),
    ([{"xmin": 1, "ymin": 2, "width": 3, "height": 4}], "finite numbers"),
    ([None], "lists of boxes go with lists"),
    ([{1, 2, 30, 40}], r"boxes\[0\]"),
    ({(1, 2, 30, 40)}, "list of boxes"),
    (torch.tensor(BOXES).to_sparse(), "without numbers"),
    (torch.zeros(2, 4, device="meta"), "without numbers"),
    ([[BOXES]], "four finite|lists of boxes"),
    ([BOXES], "lists of boxes go with lists"),
    ([[0.1, 0.2, 0.5, 0.6]], "box_format='xyxy_unit'"),
    ([[0, 0, 1, 1]], "from 0 to 1"),
    ([[150, 100, 20, 40]], "box_format='xywh'"),
    ([[100, 150, 120, 40]], "x2 > x1"),
    ([[10, 10, 10, 40]], "x2 > x1"),
    ([[10, 10, 5000, 40]], "inside the image"),
    ([[-30, 10, 50, 40]], "inside the image"),
    ([[900, 900, 950, 950]], "inside the image"),
]


@pytest.mark.parametrize(("boxes", "message"), NO_BOXES)
def test_invalid_boxes_are_one_error_that_names_the_argument(boxes: Any, message: str, model: Predictor) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: model.choose(ROOM, "Which?", boxes),
        lambda: model.guess(ROOM, TURNS, boxes),
    ]
    for call in calls:
        with pytest.raises(TwelvefoldError, match=message) as error:
            call()
        assert str(error.value).startswith("boxes")


def test_boxes_beyond_the_image_by_rounding_are_clipped(model: Predictor) -> None:
    height, width = RGB.shape[:2]
    prediction = model.choose(ROOM, "Which?", [[-0.4, 0, width + 0.6, height]])
    assert prediction.candidates_px == ((0, 0, width, height),)


SAME_DIALOGUE: list[Any] = [
    [list(turn) for turn in TURNS],
    tuple(TURNS),
    [{"question": q, "answer": a} for q, a in TURNS],
    [{"q": q, "a": a, "id": i} for i, (q, a) in enumerate(TURNS)],
    [TURNS[0], {"answer": TURNS[1][1], "question": TURNS[1][0]}],
    np.array(TURNS),
    "start Is it a boot? answer No stop start Is it red? answer Yes stop",
]


@pytest.mark.parametrize("dialogue", SAME_DIALOGUE)
def test_a_dialogue_in_any_form_is_the_same_text(dialogue: Any, model: Predictor) -> None:
    expected = model.guess(ROOM, TURNS)
    assert model.guess(ROOM, dialogue).text == expected.text
    several = model.guess([ROOM, ROOM], [dialogue, dialogue])
    assert [prediction.text for prediction in several] == [expected.text] * 2
    assert model.guess(ROOM, (turn for turn in TURNS)).text == expected.text


NO_DIALOGUE: list[tuple[Any, str]] = [
    (None, "got None"),
    ("", "needs a text"),
    ([], "at least one"),
    (7, "list of turns"),
    ([()], "empty list"),
    ([("Is it red?",)], "pairs"),
    ([("Is it red?", "No", "x")], "pairs"),
    ([("Is it red?", True)], "pairs"),
    ([("Is it red?", "")], "empty one"),
    ([{"Is it red?", "No"}], "got set"),
    (["Is it red?", "No"], "each turn is a pair"),
    (("Is it red?", "Yes."), "each turn is a pair"),
    ([{"question": "Is it red?"}], "`question` and `answer`"),
    ([{"Question": "Is it red?", "Answer": "No"}], "Question, Answer"),
    ([{"role": "user", "content": "Is it red?"}], "role, content"),
    ({"question": "Is it red?", "answer": "No"}, "list of turns"),
    ([b"Is it red?"], "dialogue"),
    ([("Is it \ud800 red?", "No")], "surrogate"),
]


@pytest.mark.parametrize(("dialogue", "message"), NO_DIALOGUE)
def test_invalid_dialogues_are_one_error_that_names_the_argument(dialogue: Any, message: str, model: Predictor) -> None:
    with pytest.raises(TwelvefoldError, match=message) as error:
        model.guess(ROOM, dialogue)
    assert str(error.value).startswith("dialogue")


NO_OPTION: list[tuple[dict[str, Any], str]] = [
    ({"top": "3"}, "top: .*got '3'"),
    ({"top": 0}, "top: "),
    ({"top": -1}, "top: "),
    ({"top": 2.5}, "top: "),
    ({"top": True}, "top: "),
    ({"top_k": "3"}, "top_k: "),
    ({"top": 3, "top_k": 2}, "same option"),
    ({"explain": "false"}, "explain: "),
    ({"explain": None}, "explain: "),
    ({"task": None}, "no task 'None'"),
    ({"task": 7}, "no task '7'"),
]


@pytest.mark.parametrize(("options", "message"), NO_OPTION)
def test_invalid_options_are_one_error_that_names_the_argument(
    options: dict[str, Any], message: str, model: Predictor
) -> None:
    with pytest.raises(TwelvefoldError, match=message):
        model.ask(ROOM, "What is this?", **options)


@pytest.mark.parametrize("text", [None, "", " ", 7, b"What?", True, {"a": 1}, ["What?", None], [["What?"]], "a\udcffb"])
def test_what_is_no_text_is_one_error_that_names_the_argument(text: Any, model: Predictor) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "question": lambda: model.ask(ROOM, text),
        "text": lambda: model.find(text, [ROOM]),
        "phrase": lambda: model.point(ROOM, text),
        "statement": lambda: model.entails(ROOM, text),
    }
    for argument, call in calls.items():
        with pytest.raises(TwelvefoldError, match=rf"^{argument}(\[\d\])?: "):
            call()


def test_more_answers_than_there_are_gives_all(model: Predictor) -> None:
    assert len(model.entails(ROOM, "A boot is green.", top=10**6).ranked) == 3
    assert len(model.entails(ROOM, "A boot is green.", top=np.int64(2)).ranked) == 2  # type: ignore[call-overload]
    assert len(model.entails(ROOM, "A boot is green.", top_k=1)) == 1
    assert len(model.find("a boot", [ROOM], top=10**25).ranked) == 1


def test_lists_that_do_not_go_together_are_named(model: Predictor) -> None:
    with pytest.raises(TwelvefoldError, match="same length, got image 2, question 3"):
        model.ask([ROOM, ROOM], ["a", "b", "c"])
    with pytest.raises(TwelvefoldError, match="same length, got image_a 2, image_b 1"):
        model.compare([ROOM, ROOM], [ROOM], "a")
    with pytest.raises(TwelvefoldError, match="image: ground takes one image"):
        model.ground([ROOM], "a boot", ["a boot"])  # type: ignore[arg-type]
    for phrases in ("a boot", [], None, [7]):
        with pytest.raises(TwelvefoldError, match="phrases"):
            model.ground(ROOM, "a boot", phrases)  # type: ignore[arg-type]
    index = model.index(["sample:room", "sample:left"])  # type: ignore[attr-defined]
    for names in (3, None, ["sample:right"], ["sample:room", 3]):
        with pytest.raises(TwelvefoldError, match=r"names: expected|has no image"):
            index.remove(names)
    assert len(index) == 2
    index.remove(name for name in ("sample:room",))
    assert index.names == ["sample:left"]
    with pytest.raises(TwelvefoldError, match="images: "):
        model.index("sample:room")  # type: ignore[attr-defined]


def test_a_generator_that_was_read_before_is_refused(model: Predictor) -> None:
    images, turns = (path for path in (ROOM, "sample:beach")), (turn for turn in TURNS)
    assert len(model.ask(images, "What is this?")) == 2
    with pytest.raises(TwelvefoldError, match="image: a generator that was read to its end"):
        model.ask(images, "What is this?")
    model.guess(ROOM, turns)
    with pytest.raises(TwelvefoldError, match="dialogue: a generator that was read to its end"):
        model.guess(ROOM, turns)


def test_predictions_iterate_as_in_hugging_face_pipelines(model: Predictor) -> None:
    answer = model.ask(ROOM, "What is the color of the boot?", top_k=3)
    assert [(item["score"], item["label"]) for item in answer] == [(r.probability, r.name) for r in answer.ranked]
    assert all(item.keys() == {"score", "label"} for item in answer)
    pointed = model.point(ROOM, "rightmost mushroom")
    assert pointed[0]["label"] == "mushroom"
    assert tuple(pointed[0]["box"].values()) == pointed.best.box_px
    assert list(pointed[0]["box"]) == ["xmin", "ymin", "xmax", "ymax"]
    chosen = model.choose(ROOM, "Which is green?", [item["box"] for item in pointed])
    assert {item["label"] for item in chosen} <= set(model.categories)
    assert next(iter(model.find("a boot", [ROOM, "sample:left"])))["label"].endswith(".jpg")
    assert [each["label"] for each in pointed.to_dict()["ranked"]] == [item["label"] for item in pointed]


def test_requests_and_images_to_detect_are_checked(model: Predictor) -> None:
    room = load_image(ROOM)
    boxes: Any = np.array(BOXES)
    [prediction] = model.answer(iter([Request("visual7w", (room,), "Which is green?", boxes)]))
    assert prediction.candidates_px == tuple(map(tuple, BOXES))
    invalid: list[tuple[Any, str]] = [
        (Request("vqav2", (room,), "What?"), "requests: expected a list"),
        (["What?"], r"requests\[0\]: expected a Request, got 'What\?'"),
        ([Request("vqav2", (room,), "What?", top="3")], "top"),  # type: ignore[arg-type]
        ([Request("vqav2", (room,), "What?", boxes)], "takes no boxes"),
        ([Request("visual7w", (room,), "Which?", [[9, 9, 1, 1]])], "x2 > x1"),  # type: ignore[arg-type]
    ]
    for requests, message in invalid:
        with pytest.raises(TwelvefoldError, match=message):
            model.answer(requests)
    assert len(model.detect(["sample:room", RGB])) == 2
    with pytest.raises(TwelvefoldError, match="images: "):
        model.detect("sample:room")


def test_a_detector_is_a_name_or_a_detector() -> None:
    with pytest.raises(TwelvefoldError, match="detector: expected a name or a RegionDetector, got 7"):
        twelvefold.load(detector=7)  # type: ignore[arg-type]
    with pytest.raises(TwelvefoldError, match=r"detector_weights \(--detector-weights\) FILE"):
        twelvefold.load(detector="x152")
