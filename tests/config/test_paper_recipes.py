"""The paper's recipes: their values against the published table, which is repeated here; and ``extends``."""

from __future__ import annotations

from pathlib import Path

import pytest

from twelvefold import datasets
from twelvefold.config.loading import shipped_recipes
from twelvefold.config.recipe import Recipe
from twelvefold.finetune import single_task_recipe
from twelvefold.schema import TaskSpec, TwelvefoldError
from twelvefold.training.optimizer import loss_scales
from twelvefold.training.round_robin import longest_task_iterations

TABLE = """
    1  vqav2      128 4e-5  23 542104
    2  vgqa       128 4e-5  26 1294255
    4  visual7w   256 2e-5  20 93813
    7  coco       128 2e-5  30 487600
    8  flickr30k  128 2e-5  30 140485
    9  refcoco    256 2e-5  20 96221
    10 refcoco+   256 2e-5  20 95852
    11 refcocog   256 2e-5  20 65514
    12 nlvr2       64 2e-5  40 86373
    13 snli_ve    256 2e-5  56 512396
    15 gqa        128 4e-5  26 962928
    17 guesswhat   64 2e-5 256 100398
"""
"""The original's task number, name, batch size, learning rate, maximum tokens; training examples after cleaning."""
ROWS = {name: rest for _, name, *rest in (line.split() for line in TABLE.split("\n") if line)}
PAPER = [name for name in shipped_recipes() if name.startswith("paper/") and not name.startswith("paper/pretrain")]
GROUPS = {
    "answers": {"vqav2", "gqa", "vgqa"},
    "retrieval": {"coco", "flickr30k"},
    "grounding": {"refcoco", "refcoco+", "refcocog", "visual7w", "guesswhat"},
    "verification": {"nlvr2", "snli_ve"},
}


def task_specs(recipe: Recipe) -> list[TaskSpec]:
    return recipe.task_specs(lambda name: datasets.load_dataset(name).TASK)


@pytest.mark.parametrize("name", PAPER)
def test_each_task_has_its_published_values_in_every_recipe_of_the_paper(name: str) -> None:
    for spec in task_specs(Recipe.load(name)):
        batch, lr, tokens, _ = ROWS[spec.name]
        assert (spec.batch_size, spec.lr, spec.max_tokens) == (int(batch), float(lr), int(tokens)), spec.name
        assert (spec.epochs, spec.max_regions) == (20, 101)


def test_multi_task_has_the_order_and_settings_of_the_paper() -> None:
    recipe = Recipe.load("paper/multi_task")
    training, model = recipe.training, recipe.model_config(feature_size=2048)
    assert recipe.tasks == tuple(ROWS)
    assert (recipe.data.clean, recipe.data.min_count, recipe.evaluation.retrieval_pool) == ("paper", 9, 0)
    assert (
        model.num_text_layers + model.num_coattention_layers,
        model.num_image_layers + model.num_coattention_layers,
        model.num_coattention_layers,
    ) == (12, 6, 6)
    assert (model.text_hidden_size, model.image_hidden_size, model.bi_hidden_size, model.dropout) == (
        768,
        1024,
        1024,
        0.1,
    )
    assert (model.task_token, model.norm, model.feature_size) == ("dataset", "post", 2048)
    assert (training.warmup_fraction, training.weight_decay, training.max_grad_norm) == (0.1, 0.01, 0.0)
    assert (training.adam_beta1, training.adam_beta2, training.adam_eps) == (0.9, 0.999, 1e-6)
    assert (training.stop_and_go, training.stop_and_go_gap, training.evaluations_per_epoch) == (True, 4, 1)
    assert (training.lr_factor, training.curriculum, training.precision) == (1.0, "none", "fp32")
    assert (training.iterations, training.validation_examples, training.stop_and_go_start_fraction) == (0, 0, 0.0)
    scales = loss_scales(task_specs(recipe), enabled=training.loss_scaling)
    assert {name for name, scale in scales.items() if scale == pytest.approx(2.0)} == GROUPS["answers"]
    assert all(scales[name] == 1.0 for name in ROWS if name not in GROUPS["answers"])


def test_its_iterations_agree_with_the_papers_epochs() -> None:
    """VG QA, the largest, has 10,112 iterations an epoch, 19.8 times RefCOCOg's; VQAv2 alone takes 84K."""
    specs = {spec.name: spec for spec in task_specs(Recipe.load("paper/multi_task"))}
    epochs = {name: -(-int(ROWS[name][3]) // spec.batch_size) for name, spec in specs.items()}
    assert longest_task_iterations([*specs.values()], epochs) == 20 * 10112
    assert longest_task_iterations([specs["vqav2"]], epochs) // 1000 == 84
    assert longest_task_iterations([specs["refcocog"]], epochs) // 1000 == 5
    batches_alike = int(ROWS["vgqa"][3]) / int(ROWS["refcocog"][3])
    assert round(batches_alike, 1) == 19.8


def test_each_row_of_the_papers_tables_changes_only_what_it_states() -> None:
    multi_task = Recipe.load("paper/multi_task")
    changed = {
        "multi_task_full_splits": {"data.clean": "none"},
        "one_gpu": {"training.gradient_accumulation_steps": 8},
        "ablation/token_per_head": {"model.task_token": "head"},
        "ablation/no_task_token": {"model.task_token": "none"},
        "ablation/no_stop_and_go": {"training.stop_and_go": False},
        "ablation/curriculum": {"training.stop_and_go": False, "training.curriculum": "easy_first"},
        "ablation/anti_curriculum": {"training.stop_and_go": False, "training.curriculum": "hard_first"},
        "ablation/round_robin": {"training.stop_and_go": False, "model.task_token": "none"},
    }
    for name, wanted in changed.items():
        assert differences(multi_task, Recipe.load(f"paper/{name}")) == wanted, name
    trained = {name: Recipe.load(name) for name in PAPER}
    for group, tasks in GROUPS.items():
        assert set(trained[f"paper/group/{group}"].tasks) == tasks
    assert set(trained["paper/multi_task_without_verification"].tasks) == set(ROWS) - GROUPS["verification"]
    singles = [recipe for name, recipe in trained.items() if name.startswith("paper/single/")]
    assert sorted(recipe.tasks for recipe in singles) == sorted((name,) for name in ROWS)
    assert not any(recipe.training.stop_and_go for recipe in singles)
    together = {frozenset(recipe.tasks) for name, recipe in trained.items() if name.startswith("paper/together/")}
    assert len(together) == 6 + 4
    assert frozenset().union(*together) == {"vqav2", "flickr30k", "visual7w", "nlvr2"}


@pytest.mark.parametrize("task", ROWS)
def test_fine_tuning_has_the_settings_of_the_single_task_recipe(task: str) -> None:
    single = Recipe.load(f"paper/single/{task.replace('+', '_plus')}")
    assert differences(single_task_recipe(Recipe.load("paper/multi_task"), task), single) == {}


def differences(first: Recipe, second: Recipe) -> dict[str, object]:
    """Return the values of the second recipe that differ from the first's, by ``table.key``, except its name."""
    result: dict[str, object] = {}
    for table in Recipe.__struct_fields__:
        a, b = getattr(first, table), getattr(second, table)
        if table == "name" or a == b:
            continue
        names = a.keys() | b.keys() if isinstance(a, dict) else a.__struct_fields__
        get = dict.get if isinstance(a, dict) else getattr
        result |= {f"{table}.{name}": get(b, name) for name in names if get(a, name) != get(b, name)}
    return result


def test_a_recipe_can_extend_a_shipped_one_or_a_file_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "first.toml").write_text(
        'extends = "paper/multi_task"\nname = "first"\ntasks = ["gqa", "nlvr2"]\n[per_task.gqa]\nbatch_size = 7\n'
    )
    (tmp_path / "second.toml").write_text(
        'extends = "first.toml"\nname = "second"\n[training]\nstop_and_go_gap = 5\n'
        "[per_task.gqa]\noptions = {consistency = true}\n"
    )
    recipe = Recipe.load(tmp_path / "second.toml")
    assert (recipe.name, recipe.tasks, recipe.training.stop_and_go_gap) == ("second", ("gqa", "nlvr2"), 5)
    assert (recipe.task_config("gqa").batch_size, recipe.task_config("gqa").lr) == (7, 4e-5)
    assert recipe.task_config("gqa").options == {"consistency": True}
    assert recipe.training.weight_decay == 0.01
    assert Recipe.parse(recipe.to_toml()) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "paper/multi_taks"\n', "no recipe 'paper/multi_taks'; did you mean 'paper/multi_task'"),
        ('extends = "other.toml"\n', r"cannot read the recipe .*other.toml"),
        ("extends = 3\n", "extends names one recipe"),
        ('extends = "mine.toml"\n', r"mine.toml extends itself"),
        (
            'extends = "paper/multi_task"\nname = "r"\ntasks = ["gqa"]\n[per_task.nlvr2]\nlr = 1e-5\n',
            r"\[per_task.nlvr2\] has values for a task that is not in tasks",
        ),
    ],
)
def test_an_invalid_extends_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(TwelvefoldError, match=message):
        Recipe.load(tmp_path / "mine.toml")
