"""``twelvefold ask`` and the commands like it print what the Predictor returns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import twelvefold
from twelvefold.cli import main
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.samples import find_sample

ROOM, LEFT, RIGHT = (str(find_sample(name).path) for name in ("room", "left", "right"))
BOXES = [[10.0, 10.0, 60.0, 60.0], [100.0, 100.0, 150.0, 160.0]]


@pytest.fixture(scope="module")
def model() -> Predictor:
    return twelvefold.load()


@pytest.fixture(autouse=True)
def shared_model(model: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all commands share one loaded model."""
    monkeypatch.setattr(twelvefold, "load", lambda *_, **__: model)


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Any:
    def command(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        captured = capfdbinary.readouterr()
        return int(exit_info.value.code or 0), captured.out.decode(), captured.err.decode()

    return command


def test_each_command_prints_what_its_method_returns(run: Any, model: Predictor) -> None:
    boxes, turns = [tuple(box) for box in BOXES], [("Is it a boot?", "Yes")]
    cases: list[tuple[list[str], Any]] = [
        (["ask", ROOM, "What is this?", "--task", "gqa"], model.ask(ROOM, "What is this?", task="gqa")),
        (["point", ROOM, "the boot", "--top", "2"], model.point(ROOM, "the boot", top=2)),
        (["entails", ROOM, "A boot is green."], model.entails(ROOM, "A boot is green.")),
        (["compare", LEFT, RIGHT, "There are two cars."], model.compare(LEFT, RIGHT, "There are two cars.")),
        (["choose", ROOM, "Which is red?", "--boxes", json.dumps(BOXES)], model.choose(ROOM, "Which is red?", boxes)),
        (["guess", ROOM, json.dumps(turns)], model.guess(ROOM, turns)),
        (["find", "a boot", ROOM, LEFT], model.find("a boot", [ROOM, LEFT])),
    ]
    for arguments, prediction in cases:
        code, out, _ = run(*arguments, "--json")
        assert (code, json.loads(out)) == (0, json.loads(json.dumps(prediction.to_dict())))
    code, out, _ = run("ground", ROOM, "a boot and a mushroom", "a boot", "a mushroom", "--json")
    assert [answer["text"] for answer in json.loads(out)] == ["a boot", "a mushroom"]


def test_without_json_it_prints_probabilities_and_names_and_draws(run: Any, model: Predictor, tmp_path: Path) -> None:
    code, out, _ = run("ask", ROOM, "What is the color of the boot?", "--draw", tmp_path / "a.jpg")
    best = model.ask(ROOM, "What is the color of the boot?").best
    assert code == 0
    assert out.splitlines()[0].split() == [f"{best.probability:.1%}", best.name]
    with Image.open(tmp_path / "a.jpg") as drawn:
        assert drawn.format == "JPEG"
    assert "room.jpg" in run("find", "a boot", ROOM, LEFT)[1]


def test_a_folder_gives_a_line_per_image_and_an_error_for_each_broken_file(run: Any, tmp_path: Path) -> None:
    for path in (ROOM, LEFT):
        shutil.copy(path, tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    code, out, _ = run("ask", tmp_path, "Is there a boot?", "--draw", tmp_path / "drawn")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [Path(line["file"]).name for line in lines] == ["broken.jpg", "left.jpg", "room.jpg"]
    assert ["error" in line for line in lines] == [True, False, False]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["left.png", "room.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ask", " "], "question: needs a text"),
        (["ask", "x" * 10_001], "at most 10,000 characters"),
        (["ask", "Is it red?", "--top", "0"], "top: expected"),
        (["ask", "Is it red?", "--task", "vqa"], "did you mean 'vqav2'"),
        (["point", "\t"], "phrase: needs a text"),
        (["entails", " "], "statement: needs a text"),
        (["choose", " "], "question: needs a text"),
        (["choose", "Which?", "--boxes", "[[1, 2]]"], "a box is four finite numbers"),
    ],
    ids=str,
)
def test_what_is_wrong_for_every_image_of_a_folder_is_one_error(
    run: Any, tmp_path: Path, words: list[str], message: str
) -> None:
    for path in (ROOM, LEFT):
        shutil.copy(path, tmp_path)
    code, out, error = run(words[0], tmp_path, *words[1:])
    assert (code, out) == (2, "")
    assert message in error


def test_a_sample_is_an_image_wherever_one_is_taken(run: Any, tmp_path: Path) -> None:
    question = ["What is this?", "--json"]
    by_path, by_name = (json.loads(run("ask", image, *question)[1]) for image in (ROOM, "sample:room"))
    assert by_path == by_name
    assert json.loads(run("compare", "sample:left", "sample:right", "Two houses.", "--json")[1])["pictures"]
    assert json.loads(run("ground", "sample:room", "a boot", "a boot", "--json")[1])
    found = json.loads(run("find", "a boot", "sample:room", "sample:left", "--json")[1])
    assert {picture["name"] for picture in found["pictures"]} == {"room.jpg", "left.jpg"}
    assert json.loads(run("index", "add", tmp_path / "index", "sample:room", "--json")[1])["pictures"] == 1
    assert run("index", "remove", tmp_path / "index", "sample:room")[0] == 0
    lines = tmp_path / "in.jsonl"
    lines.write_text('{"task": "vqav2", "images": ["sample:room"], "text": "What is this?"}')
    assert json.loads(run("answer", lines)[1])["ranked"] == by_path["ranked"]
    for command in (["ask"], ["find", "a boot"]):
        code, _, err = run(*command, "sample:rom", *(["What?"] if command == ["ask"] else []))
        assert (code, "paper, room" in err, "did you mean 'room'" in err) == (2, True, True), err


def test_images_of_one_stem_have_drawings_of_their_own(run: Any, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name in ("a.jpg", "b.jpg", "deep/a.jpg"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOM, images / name)
    Image.open(LEFT).save(images / "a.png")
    Image.open(LEFT).save(images / "A.jpg.png")
    assert run("ask", images, "Is there a boot?", "--draw", tmp_path / "drawn")[0] == 0
    drawn = sorted(path.relative_to(tmp_path / "drawn").as_posix() for path in (tmp_path / "drawn").rglob("*.png"))
    assert len(drawn) == 5
    assert {"b.png", "deep/a.png"} < set(drawn)
    assert len({name.casefold() for name in drawn}) == 5


def test_a_drawing_never_replaces_an_image(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    shutil.copy(ROOM, file)
    before = file.read_bytes()
    for arguments in (["ask", file, "What?", "--draw", file], ["find", "a boot", file, "--draw", file]):
        code, _, err = run(*arguments)
        assert (code, "the image itself" in err) == (2, True)
    code, _, err = run("ask", tmp_path, "What?", "--draw", tmp_path)
    assert (code, "give another folder" in err, file.read_bytes()) == (2, True, before)


def test_answers_with_independent_probabilities_are_explained(run: Any) -> None:
    assert "judged separately" in run("ask", ROOM, "What is this?")[1]
    assert "judged separately" not in run("ask", ROOM, "What is this?", "--top", "1")[1]
    assert "judged separately" not in run("entails", ROOM, "A boot is green.")[1]
    assert "mushroom" in run("point", ROOM, "rightmost mushroom")[1]


def test_a_request_file_is_answered_in_order(run: Any, model: Predictor, tmp_path: Path) -> None:
    requests = [
        {"task": "nlvr2", "images": [LEFT, RIGHT], "text": "There are two cars.", "id": "a"},
        {"task": "vqav3", "images": [ROOM], "text": "What?"},
        {"task": "vqav2", "images": ["room.jpg"], "text": "What is this?", "top": 1},
        {"task": "guesswhat", "images": [ROOM], "dialogue": [["Is it a boot?", "Yes"]], "boxes": BOXES},
        {"task": "guesswhat", "images": [ROOM], "text": "a boot", "boxes": [[900, 900, 950, 950]]},
        {"task": "vqav2", "image": ROOM},
        {"task": "guesswhat", "images": [ROOM], "dialogue": [["Is it a boot?", "Yes"]], "boxes": []},
        {"task": "guesswhat", "images": [ROOM], "dialogue": [["Is it a boot?", "Yes"]], "text": "a boot"},
        {"task": "guesswhat", "images": [ROOM], "dialogue": [{"question": "Is it a boot?", "answer": "Yes"}]},
        {"task": "vqav2", "images": [ROOM], "text": "half \ud800 a pair"},
        {"task": "vqav2", "images": [ROOM], "text": "What?", "top": "3"},
        {"task": "vqav2", "images": ["https://example.org/a.jpg"], "text": "What?"},
    ]
    shutil.copy(ROOM, tmp_path)
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text("\n\n".join(json.dumps(line) for line in requests) + "\n{")
    assert run("answer", file, "--out", out)[0] == 1
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    errors = [False, True, False, False, True, True, True, True, False, True, True, True, True]
    assert ["error" in answer for answer in answers] == errors
    assert answers[0]["id"] == "a"
    expected = model.compare(LEFT, RIGHT, "There are two cars.").best
    assert answers[0]["ranked"][0]["name"] == expected.name
    assert "did you mean 'vqav2'" in answers[1]["error"]
    assert len(answers[2]["ranked"]) == 1
    assert answers[3]["candidates_px"] == BOXES
    assert "did you mean 'images'" in answers[5]["error"]
    assert "at least one" in answers[6]["error"]
    assert "surrogate" in answers[9]["error"]
    assert "never downloaded" in answers[11]["error"]
    assert "line 24" in answers[12]["error"]
    file.write_text(json.dumps(requests[0]))
    code, printed, _ = run("answer", file)
    assert (code, json.loads(printed)["id"]) == (0, "a")


def test_index_commands_add_search_and_remove(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    assert json.loads(run("index", "add", folder, ROOM, LEFT, "--json")[1]) == {"added": 2, "pictures": 2}
    assert json.loads(run("index", "add", folder, ROOM, RIGHT, "--json")[1]) == {"added": 1, "pictures": 3}
    code, out, _ = run("index", "search", folder, "a boot", "--json", "--top", "2")
    assert code == 0
    assert len(json.loads(out)) == 2
    assert run("index", "remove", folder, RIGHT)[0] == 0
    code, _, err = run("index", "remove", folder, RIGHT)
    assert (code, "no image" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "none.jpg", "What?"], "none.jpg"),
        (["ask", ROOM, " "], "needs a text"),
        (["ask", ROOM, "What?", "--task", "vqa2"], "did you mean 'vqav2'"),
        (["ask", ROOM, "What?", "--draw", "answer.txt"], "answer.txt"),
        (["ask", "https://example.org/a.jpg", "What?"], "address"),
        (["point", ROOM, "boot", "--top", "0"], "at least 1"),
        (["choose", ROOM, "Which?", "--boxes", "[1]"], "expected a JSON list of"),
        (["choose", ROOM, "Which?", "--boxes", "[]"], "at least one box"),
        (["choose", ROOM, "Which?", "--boxes", ""], "expected a JSON list of"),
        (["choose", ROOM, "Which?", "--boxes", "[[0.1, 0.1, 0.5, 0.5]]"], "xyxy_unit"),
        (["choose", ROOM, "Which?", "--boxes", "[[150, 100, 20, 40]]"], "box_format='xywh'"),
        (["choose", ROOM, "Which?", "--boxes", "[[1, 2, 9, 9]]", "--box-format", "xyhw"], "xywh"),
        (["guess", ROOM, '[{"question": "Is it red?"}]'], "`question` and `answer`"),
        (["ask", ROOM, "What?", "--top", "x"], "top"),
        (["ask", "", "What?"], "empty text"),
        (["find", "a boot", "", ROOM], "empty text"),
        (["compare", ROOM, " ", "a"], "empty text"),
        (["index", "add", "i.index", ""], "empty text"),
        (["ask", "data:image/png;base64,AAAA", "What?"], "image"),
        (["choose", ROOM, "Which?", "--boxes", "[[900, 900, 950, 950]]"], "inside the image"),
        (["guess", ROOM, "a boot"], "expected a JSON list of pairs"),
        (["ground", ROOM, "a boot", "a mushroom"], "is not part of the caption"),
        (["find", "a boot", "."], "no image"),
        (["answer", "none.jsonl"], "none.jsonl"),
        (["index", "search", "none", "a boot"], "none"),
        (["index", "search", ".", "a boot"], "is not an index"),
        (["ask", ROOM, "What?", "--task", "vqa"], "did you mean 'vqav2'"),
    ],
)
def test_invalid_input_exits_with_code_2_and_a_message(
    run: Any, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert (code, message in err) == (2, True), err
