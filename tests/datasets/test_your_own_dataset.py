"""The code blocks of docs/your-own-dataset.md work: they are written to disk, loaded, read and tested."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from twelvefold.config.recipe import Recipe
from twelvefold.datasets import check_options, load_dataset
from twelvefold.datasets.reading.image_files import image_files
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.evaluation.predictions import PredictionRecord, predictions_path, write_predictions
from twelvefold.evaluation.submit import submit
from twelvefold.families import family_names
from twelvefold.schema import ClassName, Example, ImageKey, Ranked, TwelvefoldError

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


@pytest.mark.slow
def test_the_test_of_the_page_passes(page_folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pets.py"]
    done = subprocess.run(command, cwd=page_folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_the_recipe_of_the_page_loads_with_its_reader_options(page_folder: Path) -> None:
    recipe = Recipe.load(page_folder / "pets.toml")
    assert recipe.tasks == ("snli_ve", "mine.pets")
    choice = recipe.task_config("mine.pets")
    pets = load_dataset(recipe.tasks[1])
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
