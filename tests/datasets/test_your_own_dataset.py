"""The code blocks of docs/your-own-dataset.md work: they are written to disk, loaded, read and tested."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

import twelvefold
from twelvefold import cli
from twelvefold.config.recipe import Recipe
from twelvefold.datasets import check_options, load_dataset
from twelvefold.datasets.reading.image_files import image_files
from twelvefold.datasets.reading.recipe_tasks import resolve_tasks
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.doctor import doctor
from twelvefold.evaluation.predictions import PredictionRecord, predictions_path, read_predictions, write_predictions
from twelvefold.evaluation.scores import Scores, read_scores
from twelvefold.evaluation.submit import submit
from twelvefold.families import family_names
from twelvefold.model import Model
from twelvefold.schema import ClassName, Example, HeadSpec, ImageKey, Ranked, TwelvefoldError
from twelvefold.server.task_forms import make_forms

from .conftest import load_sample
from .samples.sample import encode_file

PAGE = Path(__file__).parents[2] / "docs" / "your-own-dataset.md"
BLOCK = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write every file of the page to a folder and make it the current one."""
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == PAGE.read_text().count("```") // 2
    for name, text in blocks:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("mine", "mine.pets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def _read(root: Path, **options: int) -> list[Example]:
    return list(load_dataset("mine.pets").read(root, "train", bad=BadRecords(), **options))


def write_sample_of_snli_ve_and_images(root: Path) -> None:
    """Write what the page assumes to exist: a few official records of the recipe's other task, and all images."""
    for name, content in load_sample("snli_ve").make_files().items():
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_file(name, content))
    noise = np.random.default_rng(0)
    for name in ("rex", "tom", "kim", "bo", *range(900, 904)):
        path = root / "data/images" / ("pets" if isinstance(name, str) else "flickr30k") / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(noise.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        small.resize((80, 60)).save(path)


def call(command: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(shlex.split(command)[1:])
    return int(left.value.code or 0)


@pytest.mark.slow
def test_the_commands_of_the_page_lead_from_reader_to_report(
    page_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sample_of_snli_ve_and_images(page_folder)
    commands = re.findall(r"^    (twelvefold .*)$", PAGE.read_text(), re.MULTILINE)
    assert [line.split()[1] for line in commands] == [
        *("doctor", "extract", "prepare", "train", "calibrate", "evaluate", "baselines", "report"),
    ]
    # `baselines` says that 3 training examples teach nothing: exit code 1.
    assert [call(command) for command in commands] == [0, 0, 0, 0, 0, 0, 1, 0]

    run = page_folder / "runs/pets"
    predictions = {each.id: each for each in read_predictions(predictions_path(run, "pets", "test"))}
    verdicts = {"p5": "false", "p6": "true"}
    right = [predictions[id_].ranked[0].name == verdict for id_, verdict in verdicts.items()]
    score = read_scores(run / "scores.json", Scores).tasks["pets"]
    assert (score.n, score.score) == (2, 50.0 * sum(right))
    report = json.loads((run / "report.json").read_text())
    assert "mine.pets" not in json.dumps(report["tasks"])
    assert "pets" in report["tasks"]

    # In another folder the module cannot be imported, and nobody needs it but a submission.
    (page_folder / "elsewhere").mkdir()
    monkeypatch.chdir(page_folder / "elsewhere")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(page_folder))])
    for name in ("mine", "mine.pets"):
        monkeypatch.delitem(sys.modules, name)
    data = "--prepared ../prepared --regions ../regions"
    line = {"task": "pets", "images": ["../data/images/pets/bo.jpg"], "text": "The rabbit is white."}
    Path("lines.jsonl").write_text(json.dumps(line))
    for command in (
        f"evaluate ../runs/pets {data} --split val --tasks mine.pets",
        "report ../runs/pets --prepared ../prepared --images ../data",
        f"finetune ../runs/pets mine.pets tuned {data} --epochs 1",
        "answer lines.jsonl --out answers.jsonl --model tuned",
    ):
        capsys.readouterr()
        assert call(f"twelvefold {command}") == 0, capsys.readouterr().err
    assert Recipe.load_run(Path("tuned")).tasks == ("pets",)
    answer = json.loads(Path("answers.jsonl").read_text())
    assert {each["name"] for each in answer["ranked"]} == {"false", "unknown", "true"}
    assert call("twelvefold submit ../runs/pets pets out.csv --data ../data") == 2
    assert "no module 'mine.pets'" in capsys.readouterr().err


def test_the_form_of_the_page_becomes_part_of_the_task(page_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = PAGE.read_text().split("says how the page asks")[1].split("## A submission file")[0]
    text = "\n".join(line[4:] for line in block.splitlines() if line.startswith("    "))
    module = page_folder / "mine/pets.py"
    plain = module.read_text()
    module.write_text(f"{plain}\n{text}\n")
    task = load_dataset("mine.pets").TASK
    assert task.form is not None
    network = twelvefold.load().network
    [form] = make_forms([task], network.head_specs)
    assert (form.tab, form.title, form.label) == ("Pets", "Is it true of this pet?", "Statement")
    assert (form.example, form.hint, form.verb) == (
        "The dog is asleep.",
        "The answer is true, false or unknown.",
        "Check",
    )
    Model(network.config, [task], [HeadSpec("pets", "verification", task.classes)]).save(page_folder / "model")
    assert Model.load(page_folder / "model").tasks["pets"] == task
    for form_text, message in (
        ("'Pets'", "expected a twelvefold.schema.TaskForm, got str"),
        ("TaskForm('a', 3, 'b')", "heading needs a text, got 3"),
    ):
        module.write_text(f"{plain}\nfrom twelvefold.schema import TaskForm\nFORM = {form_text}\n")
        monkeypatch.delitem(sys.modules, "mine.pets")
        with pytest.raises(TwelvefoldError, match=message):
            load_dataset("mine.pets")


@pytest.mark.parametrize("table", ["pets", '"mine.pets"'])
def test_a_recipe_may_name_the_task_or_its_module(page_folder: Path, table: str) -> None:
    text = f'name = "r"\ntasks = ["mine.pets"]\n[model]\npreset = "small"\n[per_task.{table}]\nlr = 1.0\n'
    recipe = resolve_tasks(Recipe.parse(text))
    assert (recipe.tasks, recipe.modules, recipe.module("pets")) == (("pets",), {"pets": "mine.pets"}, "mine.pets")
    assert recipe.task_config("pets").lr == 1.0
    assert [recipe.task_name(name) for name in ("pets", "mine.pets")] == ["pets", "pets"]
    assert resolve_tasks(Recipe.parse(recipe.to_toml())) == recipe
    with pytest.raises(TwelvefoldError, match=r"no task 'pet'.*did you mean 'pets'"):
        recipe.task_name("pet")


def test_a_recipe_may_extend_that_of_a_run_by_either_name(page_folder: Path) -> None:
    (page_folder / "run.toml").write_text(resolve_tasks(Recipe.load(page_folder / "pets.toml")).to_toml())
    for listed in ("pets", "mine.pets"):
        path = page_folder / "more.toml"
        path.write_text(f'extends = "run.toml"\ntasks = ["{listed}"]\n')
        recipe = resolve_tasks(Recipe.load(path))
        assert (recipe.tasks, recipe.modules) == (("pets",), {"pets": "mine.pets"})
        assert recipe.task_config("pets").batch_size == 16
    with pytest.raises(TwelvefoldError, match=r"lists the task 'pets' twice, as mine\.pets and as mine\.pets"):
        resolve_tasks(msgspec.structs.replace(recipe, tasks=("pets", "mine.pets")))


def test_two_modules_with_one_task_name_are_refused(page_folder: Path) -> None:
    (page_folder / "mine/dogs.py").write_text((page_folder / "mine/pets.py").read_text())
    with pytest.raises(TwelvefoldError, match=r"lists the task 'pets' twice, as mine\.pets and as mine\.dogs"):
        resolve_tasks(Recipe.parse('name = "r"\ntasks = ["mine.pets", "mine.dogs"]'))
    with pytest.raises(TwelvefoldError, match=r"mine\.pets and mine\.dogs are both the task 'pets'"):
        doctor(page_folder / "data", tasks=["mine.pets", "mine.dogs"])


@pytest.mark.parametrize(
    ("tables", "error"),
    [
        ("[per_task.pet]\nlr = 1.0", r"\[per_task\.pet\] has values for a task that is not in tasks; did you mean"),
        ('[per_task.pets]\nlr = 1.0\n[per_task."mine.pets"]\nlr = 1.0', "are one task"),
    ],
)
def test_values_for_no_task_or_twice_for_one_are_refused(page_folder: Path, tables: str, error: str) -> None:
    with pytest.raises(TwelvefoldError, match=error):
        resolve_tasks(Recipe.parse(f'name = "r"\ntasks = ["mine.pets"]\n{tables}'))


@pytest.mark.slow
def test_the_test_of_the_page_passes(page_folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pets.py"]
    done = subprocess.run(command, cwd=page_folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_the_recipe_of_the_page_loads_with_its_reader_options(page_folder: Path) -> None:
    recipe = resolve_tasks(Recipe.load(page_folder / "pets.toml"))
    assert recipe.tasks == ("snli_ve", "pets")
    choice = recipe.task_config("pets")
    pets = load_dataset(recipe.module("pets"))
    check_options(pets, choice.options)
    assert [e.id for e in pets.read(page_folder / "data", "train", bad=BadRecords(), **choice.options)] == [
        "p1",
        "p2",
        "p3",
    ]
    assert [e.id for e in _read(page_folder / "data", shortest=5)] == ["p1", "p2"]
    with pytest.raises(TwelvefoldError, match="did you mean 'shortest'"):
        check_options(pets, {"shortesd": 3})


def test_examples_and_image_files_have_the_keys_that_the_page_states(page_folder: Path) -> None:
    example = _read(page_folder / "data")[2]
    assert (example.pairs[0].image, example.label) == (ImageKey("pets", "tom"), ClassName("false"))
    image = page_folder / "data/images/pets/tom.jpg"
    image.parent.mkdir(parents=True)
    image.touch()
    assert image_files(page_folder / "data") == {ImageKey("pets", "tom"): image}


def test_the_submission_format_of_the_page_is_used(page_folder: Path) -> None:
    lines = re.findall(r"^    ((?:from \S+ import|SUBMISSION = ).*)$", PAGE.read_text(), re.MULTILINE)
    module = page_folder / "mine" / "pets.py"
    module.write_text("\n".join([module.read_text(), *lines]))
    run = page_folder / "run"
    run.mkdir()
    (run / "recipe.toml").write_text(Recipe.load(page_folder / "pets.toml").to_toml())
    records = [PredictionRecord(id_, "pets", 1.0, (Ranked(0.9, name="true"),)) for id_ in ("p6", "p5")]
    write_predictions(predictions_path(run, "pets", "test"), records)
    submit(run, "pets", run / "pets.csv", data=page_folder / "data")
    assert (run / "pets.csv").read_text() == "p5,true\np6,true\n"


def test_the_page_names_the_papers_families() -> None:
    for family in family_names()[:4]:
        assert f"| `{family}` |" in PAGE.read_text()
