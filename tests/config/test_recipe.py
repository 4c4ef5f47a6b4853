"""Recipes: shipped ones load, errors suggest the closest name, and the resolved file reads back equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from twelvefold.config.loading import shipped_recipes
from twelvefold.config.recipe import Recipe
from twelvefold.schema import TaskSpec, TwelvefoldError

MINIMAL = 'name = "r"\ntasks = ["vqav2", "refcoco+"]\n'


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_has_the_name_of_its_file_and_reads_back_equal(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.name == name.rpartition("/")[2]
    assert Recipe.parse(recipe.to_toml()) == recipe


def test_the_papers_values_are_the_defaults() -> None:
    training = Recipe.parse(MINIMAL).training
    assert (training.stop_and_go_gap, training.warmup_fraction, training.weight_decay, training.max_grad_norm) == (
        4,
        0.1,
        0.01,
        0.0,
    )
    assert training.stop_and_go
    assert training.loss_scaling
    assert training.curriculum == "none"
    assert Recipe.parse(MINIMAL).model_config().task_token == "dataset"
    assert Recipe.parse(MINIMAL).model_config(feature_size=7).feature_size == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nlrr_factor = 2.0", r"\[training\] lrr_factor .*did you mean 'lr_factor'"),
        ("[trainning]\n", "trainning does not exist.*did you mean 'training'"),
        ("[per_task.vqav2]\nbatchsize = 3", r"\[per_task.vqav2\] batchsize .*did you mean 'batch_size'"),
        ("[per_task.vqa]\nbatch_size = 3", r"\[per_task.vqa\].*did you mean 'vqav2'.*tasks has vqav2, refcoco\+"),
        ('[training]\ncurriculum = "easy_frist"', r"\[training\] curriculum .*did you mean 'easy_first'.*hard_first"),
        ('[model]\npreset = "smal"', r"\[model\] no model preset 'smal'.*did you mean 'small'"),
        (
            "[model]\nnum_text_layer = 1",
            r"\[model\] num_text_layer does not exist.*did you mean 'num_text_layers'",
        ),
        ("[model]\ntext_width = 32", r"\[model\] text_width is now called text_hidden_size"),
        ("[training]\niterations = -1", r"\[training\] iterations: Expected `int` >= 0"),
        ('[training]\nstop_and_go_gap = "4"', r"\[training\] stop_and_go_gap: Expected `int`, got `str`"),
        ("seed = ", "is not TOML"),
        ("name = 'twice'", "is not TOML"),
    ],
)
def test_an_error_states_the_key_and_the_closest_valid_name(text: str, message: str) -> None:
    with pytest.raises(TwelvefoldError, match=r"(?s)my.toml.*" + message):
        Recipe.parse(MINIMAL + text, "my.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "r"', "missing required field `tasks`"),
        ('name = "../r"\ntasks = ["a"]', "name: Expected `str` matching regex"),
        ('name = "r"\ntasks = []', "tasks: Expected `array` of length >= 1"),
        ('name = "r"\ntasks = ["a", "b", "a"]', "lists 'a' more than once"),
    ],
)
def test_a_recipe_needs_a_name_and_tasks(text: str, message: str) -> None:
    with pytest.raises(TwelvefoldError, match=message):
        Recipe.parse(text)


def test_an_unknown_recipe_is_an_error_that_lists_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(
        TwelvefoldError, match=r"no recipe 'dmo'; did you mean 'demo'.*shipped: demo, pretrain_world, smoke, world,"
    ):
        Recipe.load("dmo")
    with pytest.raises(TwelvefoldError, match=r"cannot read the recipe .*absent.toml"):
        Recipe.load(tmp_path / "absent.toml")
    (tmp_path / "mine.toml").write_text(MINIMAL)
    assert Recipe.load(tmp_path / "mine.toml").tasks == ("vqav2", "refcoco+")


def test_values_of_one_task_precede_those_of_all_tasks_and_of_the_dataset() -> None:
    recipe = Recipe.parse(
        MINIMAL
        + "[every_task]\nbatch_size = 8\nlr = 3e-5\noptions = {minval = 5, split = 'a'}\n"
        + "[per_task.'refcoco+']\nbatch_size = 4\noptions = {split = 'b'}\n"
    )
    dataset_specs = {
        "refcoco+": TaskSpec("refcoco+", "RefCOCO+", "grounding", "region", "box_accuracy", 20, 256, 2e-5),
        "vqav2": TaskSpec("vqav2", "VQAv2", "answers", "vqa", "vqa_accuracy", 23, 128, 4e-5),
    }
    vqa, refcoco = recipe.task_specs(dataset_specs.__getitem__)
    assert (vqa.name, vqa.batch_size, vqa.lr, vqa.max_tokens) == ("vqav2", 8, 3e-5, 23)
    assert (refcoco.batch_size, refcoco.lr) == (4, 3e-5)
    assert recipe.task_config("refcoco+").options == {"minval": 5, "split": "b"}
    assert Recipe.parse(recipe.to_toml()) == recipe


@pytest.mark.parametrize("table", ["training", "extract"])
def test_a_device_is_any_name_of_pytorch(table: str) -> None:

    def change(device: str) -> Recipe:
        own = f'extends = "demo"\n[{table}]\ndevice = "{device}"\n'
        return Recipe.parse(own)

    assert getattr(change("cuda:1"), table).device == "cuda:1"
    with pytest.raises(TwelvefoldError, match=rf"recipe: \[{table}\] device must be .*; did you mean 'cuda'"):
        change("gpu")
