"""The paper's recipes: all of them against what the paper and its code state, which paper.toml repeats; ``extends``."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import msgspec
import pytest

from twelvefold import datasets
from twelvefold.config.loading import shipped_recipes
from twelvefold.config.recipe import Recipe
from twelvefold.families import load_family
from twelvefold.finetune import single_task_recipe
from twelvefold.model import Model
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError
from twelvefold.training import stop_and_go
from twelvefold.training.lr_schedule import build_lr_schedule
from twelvefold.training.optimizer import loss_scales
from twelvefold.training.round_robin import RoundRobin, longest_task

PAPER = tomllib.loads(Path(__file__).with_name("paper.toml").read_text())
TASKS: dict[str, list[float]] = PAPER["tasks"]
GROUPS = {group: set(tasks) for group, tasks in PAPER["groups"].items()}
STEPS = {name: -(-int(examples) // int(batch)) for name, (_, batch, _, _, examples) in TASKS.items()}
"""Iterations of an epoch of each task."""
MULTI_TASK = Recipe.load("paper/multi_task")


def pinned_recipes() -> dict[str, tuple[set[str], dict[str, object]]]:
    """Return for every recipe of the paper its tasks, and the values in which it differs from paper/multi_task."""
    every, groups = set(TASKS), ("answers", "retrieval", "grounding", "verification")
    pins: dict[str, tuple[set[str], dict[str, object]]] = {
        "multi_task": (every, {}),  # Table 2, row 4
        "multi_task_without_verification": (every - GROUPS["G4"], {}),  # row 5
        "multi_task_full_splits": (every, {"data.clean": "none"}),  # not in the paper
        "original_code": (
            every,
            {"training.optimization": "vilbert_mt", "training.stop_and_go_rule": "original_cooldown"},
        ),
        "one_gpu": (every, {"training.gradient_accumulation_steps": 8}),  # row 4
    }
    pins |= {f"group/{name}": (tasks, {}) for name, tasks in zip(groups, GROUPS.values(), strict=True)}  # row 3
    for task in TASKS:  # rows 1 and 2: without other tasks there is nothing to stop for
        pins[f"single/{task.replace('+', '_plus')}"] = {task}, {"training.stop_and_go": False}
    for size in (2, 3):
        for together in itertools.combinations(PAPER["table3"], size):
            name = "together/" + "_".join(together).lower()
            pins[name] = {PAPER["table3"][group] for group in together}, {}
    for name, row in PAPER["table6"].items():
        changes: dict[str, object] = {}
        if row["tokens"] != 12:
            changes["model.task_token"] = {4: "group", 0: "none"}[row["tokens"]]
        if not row["stop_and_go"]:
            changes["training.stop_and_go"] = False
        if row["first_group"] != "all":
            changes["training.curriculum"] = {"G1": "hard_first", "G3": "easy_first"}[row["first_group"]]
        pins[name] = every, changes
    return pins


PINNED = pinned_recipes()


def task_specs(recipe: Recipe) -> list[TaskSpec]:
    return recipe.task_specs(lambda name: datasets.load_dataset(name).TASK)


def test_every_recipe_of_the_paper_is_pinned() -> None:
    shipped = {name.removeprefix("paper/") for name in shipped_recipes() if name.startswith("paper/")}
    assert shipped == PINNED.keys() | {"pretraining"}


@pytest.mark.parametrize("name", PINNED)
def test_a_recipe_of_the_paper_differs_from_multi_task_only_as_its_row_does(name: str) -> None:
    recipe, (tasks, changes) = Recipe.load(f"paper/{name}"), PINNED[name]
    assert (set(recipe.tasks), len(recipe.tasks)) == (tasks, len(tasks))
    all_tasks = msgspec.structs.replace(recipe, tasks=MULTI_TASK.tasks, per_task=MULTI_TASK.per_task)
    assert differences(MULTI_TASK, all_tasks) == changes
    for spec in task_specs(recipe):
        _, batch, lr, tokens, _ = TASKS[spec.name]
        assert (spec.batch_size, spec.lr, spec.max_tokens) == (batch, lr, tokens), spec.name
        assert (spec.epochs, spec.max_regions) == (PAPER["every_task"]["epochs"], PAPER["every_task"]["regions"])


def test_tasks_take_turns_in_the_order_of_the_original_command() -> None:
    assert MULTI_TASK.tasks == tuple(TASKS)


def test_multi_task_has_the_model_of_the_paper() -> None:
    model, paper = MULTI_TASK.model_config(feature_size=2048), PAPER["model"]
    blocks = model.num_coattention_layers
    layers = (model.num_text_layers + blocks, model.num_image_layers + blocks, blocks)
    assert layers == (paper["text_layers"], paper["image_layers"], paper["coattention_layers"])
    same = ("text_hidden_size", "image_hidden_size", "bi_hidden_size", "feature_size", "dropout")
    assert {name: getattr(model, name) for name in same} == {name: paper[name] for name in same}
    assert (model.trunk, model.norm, model.fusion) == ("two_stream", "post", "product")


def test_multi_task_has_the_training_of_the_paper() -> None:
    training, paper = MULTI_TASK.training, PAPER["training"]
    assert (training.warmup_fraction, training.warmup_fraction_of) == (paper["warmup"], "longest_task")
    assert (training.lr_schedule, training.lr_factor, training.iterations) == ("linear", 1.0, 0)
    assert {name: getattr(training, name) for name in PAPER["code"]} == PAPER["code"]
    assert training.optimization == "paper"
    assert (training.stop_and_go, training.stop_and_go_rule, training.stop_and_go_start_fraction) == (True, "paper", 0)
    assert (paper["converged_gain"], paper["converged_epochs"]) == (stop_and_go.MIN_DELTA, stop_and_go.PATIENCE)
    assert paper["diverged_drop"] == stop_and_go.DIVERGENCE_DROP
    assert (training.stop_and_go_gap, training.evaluations_per_epoch) == (paper["gap"], paper["evaluations_per_epoch"])
    assert (training.precision, training.grounding_loss, training.word_pieces) == ("fp32", "sigmoid", "all")
    assert (MULTI_TASK.data.clean, MULTI_TASK.data.min_count, MULTI_TASK.evaluation.retrieval_pool) == ("paper", 9, 0)
    assert (training.validation_examples, training.curriculum) == (0, "none")
    specs = task_specs(MULTI_TASK)
    assert min(spec.lr for spec in specs) == paper["base_lr"]
    for name, scale in loss_scales(specs, enabled=training.loss_scaling).items():
        assert scale == pytest.approx(TASKS[name][2] / paper["base_lr"])


def test_iterations_and_warm_up_agree_with_the_papers_epochs() -> None:
    specs, paper = {spec.name: spec for spec in task_specs(MULTI_TASK)}, PAPER["training"]
    longest = longest_task(specs.values(), STEPS)
    assert longest == (20 * 10_112, 10_112)
    for task in ("vqav2", "refcocog"):
        assert longest_task([specs[task]], STEPS).iterations // 1000 * 1000 == paper[f"{task}_iterations"]
    assert round(TASKS["vgqa"][4] / TASKS["refcocog"][4], 1) == paper["epochs_of_smallest_in_largest"]
    for iterations in (longest.iterations, 40_000):  # Figure 2 shows 40,000
        assert build_lr_schedule(MULTI_TASK.training, iterations, longest).warmup == 0.1 * longest.iterations


@pytest.mark.parametrize("name", PAPER["table6"])
def test_a_row_of_table_6_has_its_task_tokens_and_its_first_group(name: str) -> None:
    recipe, row = Recipe.load(f"paper/{name}"), PAPER["table6"][name]
    specs, tiny = task_specs(recipe), Recipe.load("smoke").model
    outputs = {"answers": ("yes", "no"), "verification": ("true", "false")}
    heads = {s.head: HeadSpec(s.head, s.family, outputs.get(s.family, ()), s.pairs_per_example) for s in specs}
    fields = {**tiny, "task_token": recipe.model["task_token"], "vocab_size": 50}
    config = msgspec.structs.replace(recipe, model=fields).model_config(feature_size=8)
    model = Model(config, specs, [*heads.values()])
    assert len(model.task_tokens) == row["tokens"]
    if row["tokens"] == 4:  # tasks of a group share a token, tasks of different groups do not
        tokens = {task.name: model._task_index(task.name) for task in specs}
        shared = [{task for task in tokens if tokens[task] == index} for index in range(4)]
        assert sorted(map(sorted, shared)) == sorted(map(sorted, GROUPS.values()))
    training = recipe.training
    schedule = RoundRobin(specs, 1000, curriculum=training.curriculum, fraction=training.curriculum_fraction)
    assert set(schedule.tasks_at(1)) == GROUPS.get(row["first_group"], set(TASKS))
    assert schedule.tasks_at(1000) == list(TASKS)
    assert {load_family(spec.family).group for spec in specs} == GROUPS.keys()


def test_pretraining_has_the_values_of_the_paper() -> None:
    recipe, paper = Recipe.load("paper/pretraining"), PAPER["pretraining"]
    (spec,) = task_specs(recipe)
    assert recipe.pretraining is not None
    tables = (recipe.pretraining, recipe.training, spec)
    values = {name: getattr(table, name) for table in tables for name in paper if hasattr(table, name)}
    assert values | {"warmup": recipe.training.warmup_fraction} == paper
    assert (recipe.training.iterations, recipe.extract.max_regions) == (0, 36)
    assert recipe.training.warmup_fraction_of == "longest_task"


@pytest.mark.parametrize("task", TASKS)
def test_fine_tuning_has_the_settings_of_the_single_task_recipe(task: str) -> None:
    single = Recipe.load(f"paper/single/{task.replace('+', '_plus')}")
    assert differences(single_task_recipe(MULTI_TASK, task), single) == {}


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
