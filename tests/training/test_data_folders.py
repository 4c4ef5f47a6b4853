"""A run remembers the folders of its tables and regions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.schema import TwelvefoldError
from twelvefold.train import train
from twelvefold.training.data_folders import FILE, DataFolders, find_data_folders, remember_data_folders

from .conftest import Toy, read_weights


@pytest.fixture(scope="module")
def trained(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and copies of its data."""
    folder = tmp_path_factory.mktemp("trained")
    for name, source in (("prepared", toy.prepared), ("regions", toy.regions)):
        shutil.copytree(source, folder / name)
    recipe = toy.recipe(iterations=1, eval_interval=0)
    train(recipe, folder / "prepared", folder / "regions", folder / "run")
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of ``trained`` whose run remembers the copied data."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    remember_data_folders(copy / "run", DataFolders(copy / "prepared", copy / "regions"))
    return copy


def test_training_remembers_its_folders_and_later_calls_use_them(trained: Path, toy: Toy, tmp_path: Path) -> None:
    run = trained / "run"
    assert find_data_folders(run) == (trained / "prepared", trained / "regions")
    assert RunInputs.open(run, prepared=None, regions=None).prepared == trained / "prepared"
    longer = tmp_path / "run"
    shutil.copytree(run, longer)
    train(toy.recipe(eval_interval=0), None, None, longer, iterations=2)
    assert read_weights(longer).keys() == read_weights(run).keys()


def test_a_stated_folder_wins_and_is_not_remembered(folder: Path, toy: Toy) -> None:
    inputs = RunInputs.open(folder / "run", prepared=toy.prepared, regions=None)
    assert (inputs.prepared, inputs.regions) == (toy.prepared, folder / "regions")
    assert find_data_folders(folder / "run").prepared == folder / "prepared"


def test_a_moved_folder_is_named_and_remembered_once_it_is_stated(folder: Path) -> None:
    run, moved = folder / "run", folder / "elsewhere"
    (folder / "prepared").rename(moved)
    with pytest.raises(TwelvefoldError, match=r"prepared folder as .*/copy/prepared, which is not there.*--prepared"):
        RunInputs.open(run, prepared=None, regions=None)
    RunInputs.open(run, prepared=moved, regions=None)
    assert find_data_folders(run).prepared == moved


def test_other_data_are_not_remembered(folder: Path) -> None:
    run, other = folder / "run", folder / "other"
    shutil.copytree(folder / "prepared", other)
    (other / "prepared.json").write_text((other / "prepared.json").read_text().replace('"digest": "', '"digest": "0'))
    shutil.rmtree(folder / "prepared")
    RunInputs.open(run, prepared=other, regions=None)
    with pytest.raises(TwelvefoldError, match="which is not there"):
        find_data_folders(run)


def test_folders_inside_the_run_move_with_it(folder: Path) -> None:
    run = folder / "run"
    for name in ("prepared", "regions"):
        (folder / name).rename(run / name)
    (run / FILE).unlink()
    assert find_data_folders(run) == (run / "prepared", run / "regions")
    remember_data_folders(run, DataFolders(run / "prepared", run / "regions"))
    moved = run.rename(folder / "moved")
    assert find_data_folders(moved) == (moved / "prepared", moved / "regions")


def test_a_run_that_remembers_nothing_asks_for_its_folders(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"does not say where its prepared folder is: state --prepared FOLDER"):
        train(toy.recipe(), None, toy.regions, tmp_path / "run")
