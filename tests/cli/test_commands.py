"""The command line: help that teaches, errors that name the closest word, the three exit codes."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from twelvefold import cli
from twelvefold.config.loading import shipped_recipes
from twelvefold.config.recipe import Recipe

GROUPS = {
    "features": ["import", "unpack"],
    "clean": ["", "compare"],
    "audit": ["", "why"],
    "weights": ["import", "export", "onnx", "show"],
    "detector": ["train", "evaluate"],
    "index": ["add", "search", "remove"],
}
CALLS = [f"{name} {inner}".strip() for name in cli.COMMANDS for inner in GROUPS.get(name, [""])]


def leave(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return int(left.value.code or 0)


@pytest.mark.parametrize("command", CALLS)
def test_the_help_of_every_command_has_an_example_and_explains_every_option(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # one line for each option
    assert leave(*command.split(), "--help") == 0
    text = capsys.readouterr().out
    assert f"twelvefold {command}" in text.replace("Usage: twelvefold", "")
    options = re.findall(r"^│ \*? *((?:[A-Z.]+ )?--\S+(?: \S+)*?)(?: {2,}(.*?))? *│$", text, re.MULTILINE)
    assert len(options) >= 1
    assert [names for names, explanation in options if not re.sub(r"\[[^]]*\]", "", explanation).strip()] == []


@pytest.mark.parametrize("command", CALLS)
def test_the_help_shows_only_defaults_that_say_something(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(*command.split(), "--help") == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert re.findall(r"""\[default: (?:\(\)|""|False|None)\]|--empty-\S*""", text) == []


@pytest.mark.parametrize(
    "call",
    [
        ["answer", "requests.jsonl", "--draw", "a.png"],
        ["answer", "requests.jsonl", "--top", "1"],
        ["ground", "room.jpg", "a b", "a", "--draw", "a.png"],
        ["index", "add", "my.index", "room.jpg", "--draw", "a.png"],
        ["index", "search", "my.index", "a boot", "--draw", "a.png"],
        ["index", "remove", "my.index", "room.jpg", "--top", "1"],
    ],
    ids=" ".join,
)
def test_an_option_that_a_command_would_not_use_is_refused(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(*call) == 2
    assert f"Unknown option: {call[-2]}" in capsys.readouterr().err


def test_the_help_of_the_program_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--help") == 0
    text = capsys.readouterr().out
    assert [command for command in cli.COMMANDS if f"│ {command} " not in text] == []


def option_names(text: str) -> list[str]:
    return re.findall(r"--[a-z][a-z0-9-]*", text)


@pytest.mark.parametrize("command", CALLS)
def test_no_name_is_cut_in_a_narrow_terminal(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {}
    for columns in ("400", "40"):
        monkeypatch.setenv("COLUMNS", columns)
        assert leave(*command.split(), "--help") == 0
        texts[columns] = capsys.readouterr().out
    choices = [name for listed in re.findall(r"choices: (.*?)\]", texts["400"]) for name in listed.split(", ")]
    names = {*option_names(texts["400"]), *choices}
    assert [name for name in names if not re.search(rf"{re.escape(name)}(?![\w-])", texts["40"])] == []
    examples = [line for line in texts["40"].splitlines() if line.startswith((" twelvefold ", "     "))]
    assert [line for line in examples if len(line.rstrip()) > cli.MIN_WIDTH] == []


def test_commands_are_listed_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--help") == 0
    titles = re.findall(r"╭─ (.*?) ─", capsys.readouterr().out)
    assert [title for title in titles if title != "Commands"] == list(cli.GROUPS)


def test_errors_are_not_wrapped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert leave("evaluate", "runs/demo", "--checkpiont", "best") == 2
    assert capsys.readouterr().err == "twelvefold: Unknown option: --checkpiont. Did you mean --checkpoint?\n"


FORMS = [["--tasks", "gqa", "nlvr2"], ["--tasks", "gqa,nlvr2"], ["--tasks", "gqa,", "nlvr2"], ["--tasks=gqa, nlvr2"]]
FORMS += [["--tasks", "gqa", "--tasks", "nlvr2"], ["--tasks=gqa", "--tasks=nlvr2"]]


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize(
    "command", ["evaluate run", "doctor data", "audit data", "clean data out", "clean compare data"]
)
def test_tasks_are_named_in_the_same_forms_everywhere(command: str, form: list[str]) -> None:
    _, bound, _ = cli.make_app().parse_args([*command.split(), *form])
    values = [getattr(value, "tasks", None) for value in bound.arguments.values()]
    assert ("gqa", "nlvr2") in [*values, bound.arguments.get("tasks")]


def test_an_option_for_tasks_without_a_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for form in (["--tasks", ","], ["--tasks="]):
        assert leave("evaluate", "run", *form) == 2
        assert "--tasks" in capsys.readouterr().err


NOT_COMPUTING = {"datasets", "fetch", "doctor", "world", "features import", "prepare", "clean", "audit", "recipes"}
NOT_COMPUTING |= {
    "report",
    "submit",
    "compare-runs",
    "weights import",
    "weights show",
    "features unpack",
    "clean compare",
    "audit why",
}
"""Commands that run no network. All others take --device; so does a new one, unless it is listed here."""


@pytest.mark.parametrize("command", CALLS)
def test_every_command_that_computes_takes_a_device(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(*command.split(), "--help") == 0
    assert ("--device" in capsys.readouterr().out) == (command not in NOT_COMPUTING)


IMAGE = "sample:room"
COMPUTING = [
    *(f"{name} {IMAGE} text" for name in ("ask", "point", "entails", "choose")),
    f"compare {IMAGE} {IMAGE} text",
    f"ground {IMAGE} text text",
    f"guess {IMAGE} []",
    f"find text {IMAGE}",
    f"index add new.index {IMAGE}",
    "answer requests.jsonl",
    "serve",
    "demo",
    "train demo run",
    "pretrain pretrain_world run",
    "finetune run gqa new",
    *(f"{name} run" for name in ("evaluate", "calibrate", "baselines")),
    "extract images regions",
    "weights export model file.bin",
    "weights export model --hub hub",
    "weights onnx model --task vqav2 --out file.onnx",
    "detector train new",
    "detector evaluate",
]


@pytest.mark.parametrize("device", ["gpu:0", "cuda:99", "meta"])
@pytest.mark.parametrize("command", COMPUTING)
def test_a_device_that_is_not_there_is_refused_and_nothing_is_written(
    command: str, device: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("requests.jsonl").write_text('{"task": "vqav2", "images": ["sample:room"], "text": "Is it red?"}\n')
    words = ['[["Is it red?", "No"]]' if word == "[]" else word for word in command.split()]
    assert leave(*words, "--device", device) == 2
    assert f"{device!r}" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["requests.jsonl"]


@pytest.mark.parametrize("command", ["world w", "detector train d"])
def test_an_option_of_an_earlier_version_is_refused_with_its_present_name(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(*command.split(), "--workers", "2") == 2
    assert "--workers is now called --processes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["ask", "nosuch.jpg", "q"],
        ["point", "nosuch.jpg", "p"],
        ["entails", "nosuch.jpg", "s"],
        ["choose", "nosuch.jpg", "q"],
        ["guess", "nosuch.jpg", '[["Is it red?", "No"]]'],
        ["compare", "room.png", "nosuch.jpg", "s"],
        ["ground", "nosuch.jpg", "c", "p"],
        ["find", "t", "nosuch.jpg"],
        ["answer", "nosuch.jpg"],
        ["index", "add", "new.index", "nosuch.jpg"],
        ["index", "search", "nosuch.jpg", "t"],
        ["index", "remove", "nosuch.jpg", "n"],
        ["ask", "room.png", "q", "--detector-weights", "nosuch.jpg"],
        ["ask", "room.png", "q", "--draw", "nosuch.jpg/x.nosuch.jpg.txt"],
        ["find", "t", "room.png", "--draw", "nosuch.jpg.txt"],
    ],
    ids=" ".join,
)
def test_a_missing_file_is_reported_before_the_model_is_loaded(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("the model is loaded")

    Image.new("RGB", (40, 40)).save(tmp_path / "room.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twelvefold.serving.load.load", load)
    assert leave(*words) == 2
    assert "nosuch.jpg" in capsys.readouterr().err


def test_blind_is_another_name_of_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("blind", "--help") == 0
    assert "Score the baselines of every task" in capsys.readouterr().out


def test_a_misspelt_command_gets_the_closest_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("trian") == 2
    assert "train" in capsys.readouterr().err


def test_bad_input_is_an_error_of_one_sentence_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("world", str(tmp_path / "w"), "--images", "3") == 2
    message = capsys.readouterr().err
    assert message.startswith("twelvefold: ")
    assert "Traceback" not in message


def test_an_unknown_recipe_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    assert leave("train", "dmeo", str(tmp_path), "--prepared", "nowhere", "--regions", "nowhere") == 2
    assert not (tmp_path / "recipe.toml").exists()


def test_recipes_are_listed_and_printed_as_a_start_for_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("recipes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == shipped_recipes()
    assert leave("recipes", "demo") == 0
    assert Recipe.parse(capsys.readouterr().out) == Recipe.load("demo")
    assert leave("recipes", "demo", "--json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == tomllib.loads('name = "demo"')["name"]


@pytest.mark.parametrize(
    "command",
    [
        *("evaluate FOLDER", "calibrate FOLDER", "baselines FOLDER", "report FOLDER", "finetune FOLDER gqa new"),
        "submit FOLDER --task vqav2 --data data --out out.json",
    ],
)
def test_a_folder_that_is_no_run_is_called_that(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "runs/mine/checkpoints/latest"):
        Path(name).mkdir(parents=True)
    Path("runs/mine/recipe.toml").touch()
    Path("file").touch()
    expected = {
        "photos": "photos is not a run, it has no recipe.toml: expected the folder of a run",
        "runs": "runs is not a run, it has no recipe.toml; did you mean runs/mine?",
        "runs/mine/checkpoints/latest": "it has no recipe.toml; did you mean runs/mine?",
        "nosuch": "nosuch is no folder: expected the folder of a run",
        "file": "file is a file: expected the folder of a run",
    }
    if command.startswith("finetune"):  # which also starts from a checkpoint or a name on a hub
        del expected["runs/mine/checkpoints/latest"], expected["nosuch"]
    for folder, message in expected.items():
        assert leave(*command.replace("FOLDER", folder).split()) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "call",
    [
        ["report", ""],
        ["evaluate", "shipped", "--out", " "],
        ["index", "search", "", "a dog"],
        ["features", "import", "", "regions"],
        ["audit", "--prepared", ""],
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    call: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert leave(*call) == 2
    assert "is an empty text; expected a path" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
