"""Recipes: everything that a run varies, in one short TOML file that is validated before anything else is loaded.

``Recipe.load("demo")`` reads a shipped recipe, ``Recipe.load("my/recipe.toml")`` a file. Every choice that the paper
varies is a value here with the paper's choice as its default (sections 3.2, 3.3 and the supplement). A misspelled
name is refused, and the error suggests the closest valid one. ``extends = "paper/multi_task"`` takes the values of
another recipe as defaults (:mod:`twelvefold.config.loading`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from twelvefold.config import loading, renamed
from twelvefold.config.extract import ExtractConfig
from twelvefold.config.loading import RUN_RECIPE
from twelvefold.config.model import ModelConfig, changed, check_names, preset
from twelvefold.config.tables import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    StrictStruct,
)
from twelvefold.config.training import TrainingConfig
from twelvefold.config.validation import check_tables, describe_error
from twelvefold.schema import TaskSpec, TwelvefoldError, did_you_mean


class WorldConfig(StrictStruct, frozen=True, kw_only=True):
    """The drawn world to draw, in a recipe that does not train on other data."""

    images: PositiveInt = 2000
    seed: Seed = 0


class DataConfig(StrictStruct, frozen=True, kw_only=True):
    """How ``prepare`` cleans splits, counts answers and treats bad records."""

    clean: bool | Literal["paper", "strict", "ids", "lists", "exact", "none"] = "paper"
    """Cleaning policy (section 2.2, docs/cleaning.md). "paper" or true: remove every task's test images from every
    task's train and val splits; "none" or false: keep the full splits."""
    manifest: str = ""
    """Path of a cleaning manifest (clean.json): remove exactly what it lists, and refuse data of other content."""
    clean_digest: str = ""
    """Digest that the cleaning manifest must have; empty: any."""
    max_similar: Fraction = 0.05
    """Largest fraction of a split that cleaning may remove by similarity alone, before it stops and shows the pairs."""
    min_count: PositiveInt = 9
    """Occurrences that an answer needs to enter the answer list; 9 gives VQAv2's 3,129 answers of the paper."""
    answers: dict[str, str] = msgspec.field(default_factory=dict)
    """Files of answers by task, to use instead of counting answers (docs/data.md); an empty name: count."""
    skip_bad: bool = False
    """List and count malformed records instead of stopping at the first."""
    without_regions: bool = False
    """Leave out and count examples whose image has no regions, instead of stopping at the first."""
    scale_boxes: bool = False
    """Use resized copies of the images that the annotations describe, with boxes scaled to match; else leave them out.
    Images of another aspect ratio are always left out."""

    def __post_init__(self) -> None:
        if isinstance(self.clean, bool):
            msgspec.structs.force_setattr(self, "clean", "paper" if self.clean else "none")


class TaskConfig(StrictStruct, frozen=True, kw_only=True):
    """Values for one task that replace those its dataset states (``TASK``, the supplement's values)."""

    batch_size: PositiveInt | None = None
    lr: PositiveFloat | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=3)] | None = None
    max_regions: PositiveInt | None = None
    epochs: PositiveInt | None = None
    max_examples: PositiveInt | None = None
    """Training examples that ``prepare`` keeps after cleaning, the first of the split; None: all."""
    options: dict[str, bool | int | float | str] = msgspec.field(default_factory=dict)
    """Keyword arguments of the dataset's reader."""


class PretrainingConfig(StrictStruct, frozen=True, kw_only=True):
    """Masked multi-modal modeling and alignment prediction on captioned images. Paper: section 3.1.

    ``mask_overlapping`` and ``predict_on_mismatched`` are the two changes to ViLBERT that section 4.1 measures; the
    defaults are the paper's.
    """

    token_mask_prob: Fraction = 0.15
    """Probability of each token to be one that the model predicts."""
    region_mask_prob: Fraction = 0.15
    """Probability of each region to be one whose category the model predicts."""
    mask_overlapping: bool = True
    """Also mask regions that overlap a region to predict by an IoU above 0.4; false: as ViLBERT, mask only those to
    predict."""
    mismatch_prob: Fraction = 0.5
    """Probability of each caption to be replaced by another image's."""
    predict_on_mismatched: bool = False
    """Also predict masked tokens and regions of mismatched pairs; true: as ViLBERT."""
    region_loss_weight: NonNegativeFloat = 1.0
    """Weight of the loss of masked regions; the losses of tokens and alignment have weight 1."""
    retrieval_pool: NonNegativeInt = 1000
    """Images that captions are searched in at every validation, zero-shot (R@1, R@5, R@10); 0: all."""


class EvaluationConfig(StrictStruct, frozen=True, kw_only=True):
    """How test sets are scored."""

    max_examples: NonNegativeInt = 0
    """Test examples per task; 0: all."""
    retrieval_pool: NonNegativeInt = 0
    """Images in the retrieval pool; 0: all of the split, the paper's 1,000."""
    batch_size: PositiveInt = 128
    bootstrap_samples: PositiveInt = 1000
    """Bootstrap samples for a 95 % interval."""


class Recipe(StrictStruct, frozen=True, kw_only=True):
    """One run."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    tasks: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Names of tasks, or dotted names of modules that define one, in the order of their turns."""
    modules: dict[str, str] = msgspec.field(default_factory=dict)
    """Dotted name of the module that defines a task of your own, by the task's name. A run's recipe.toml has it; in
    your own recipe the dotted name in ``tasks`` is enough."""
    seed: Seed = 0
    world: WorldConfig | None = None
    data: DataConfig = DataConfig()
    extract: ExtractConfig = ExtractConfig()
    model: dict[str, bool | int | float | str] = msgspec.field(default_factory=dict)
    """Fields of ``ModelConfig`` (such as ``task_token``), and ``preset``, the name of the configuration whose fields
    they change, or ``initial``, the folder of a model or run whose configuration and weights to start from."""
    pretraining: PretrainingConfig | None = None
    """A recipe with this table pretrains on the captions of its tasks (`twelvefold pretrain`)."""
    training: TrainingConfig = TrainingConfig()
    every_task: TaskConfig = TaskConfig()
    """Values for all tasks; those of ``per_task`` take precedence."""
    per_task: dict[str, TaskConfig] = msgspec.field(default_factory=dict)
    """Values for single tasks, by name."""
    evaluation: EvaluationConfig = EvaluationConfig()

    @staticmethod
    def load(source: str | Path) -> Recipe:
        """Return the recipe in the file ``source`` (a run's own is read as by :meth:`load_run`), or the shipped recipe
        of that name.

        Raises:
            TwelvefoldError: there is no such recipe, it is not TOML, or it has an invalid name or value.
        """
        path = Path(source)
        if path.name == RUN_RECIPE and (path.parent / "checkpoints").is_dir():
            return Recipe.load_run(path.parent)
        return Recipe._convert(*loading.read_tables(source))

    @staticmethod
    def load_run(run: Path) -> Recipe:
        """Return the recipe that a run keeps in its folder, also if an earlier version with other names wrote it.

        Raises:
            TwelvefoldError: as :meth:`load`; or the folder is not one of a run.
        """
        loading.check_run(run)
        tables, source = loading.read_tables(run / RUN_RECIPE)
        return Recipe._convert(renamed.translate_recipe(tables), source)

    @staticmethod
    def parse(text: str, source: str = "recipe") -> Recipe:
        """Return the recipe in ``text``; errors call it ``source``."""
        return Recipe._convert(loading.parse_tables(text, source), source)

    @staticmethod
    def _convert(tables: dict[str, Any], source: str) -> Recipe:
        check_tables(tables, Recipe, source)
        try:
            recipe = msgspec.convert(tables, Recipe)
        except msgspec.ValidationError as error:
            raise TwelvefoldError(f"{source}: {describe_error(error)}") from error
        rule = tables.get("training", {}).get("stop_and_go_rule", recipe.training.stop_and_go_rule)
        if rule != recipe.training.stop_and_go_rule:
            raise TwelvefoldError(
                f"{source}: [training] optimization = 'vilbert_mt' has the stop-and-go rule 'original_cooldown'; set "
                f"stop_and_go_rule to it, or leave it out, got {rule!r}"
            )
        recipe.validate(source)
        return recipe

    def validate(self, source: str = "recipe") -> None:
        """Check the values that depend on each other; errors call the recipe ``source``.

        Raises:
            TwelvefoldError: a task is listed twice, ``per_task`` has a task that is not trained, the model's fields
                are invalid, or a value does not fit ``optimization``.
        """
        for name in self.tasks:
            if self.tasks.count(name) > 1:
                raise TwelvefoldError(f"{source}: tasks lists {name!r} more than once")
        if not self.unresolved_modules:  # else the names of some tasks are not known yet
            self._check_task_tables(source)
        self._validate_model(source)
        self._validate_optimization(source)

    def _validate_optimization(self, source: str) -> None:
        training = self.training
        original = training.optimization == "vilbert_mt"
        if original and self.pretraining is not None:
            raise TwelvefoldError(
                f"{source}: [training] optimization = 'vilbert_mt' is that of the original's multi-task training; its "
                "pretraining has the settings of recipe paper/pretraining and optimization = 'paper'"
            )
        if original and training.max_grad_norm > 0:
            raise TwelvefoldError(
                f"{source}: [training] optimization = 'vilbert_mt' clips no gradients; set max_grad_norm = 0, got "
                f"{training.max_grad_norm:g}"
            )
        if training.lr_schedule == "step" and not original:
            raise TwelvefoldError(
                f"{source}: [training] lr_schedule = 'step' is part of optimization = 'vilbert_mt'; choose linear or "
                "constant, or set that optimization"
            )

    def _check_task_tables(self, source: str) -> None:
        for table, names in (("per_task", self.per_task), ("modules", self.modules)):
            for name in names:
                if name not in self.tasks:
                    raise TwelvefoldError(
                        f"{source}: [{table}.{name}] has values for a task that is not in tasks"
                        f"{did_you_mean(name, self.tasks)}; tasks has {', '.join(self.tasks)}"
                    )

    def _validate_model(self, source: str) -> None:
        if self.training.initial_alignment and self.pretraining is not None:
            raise TwelvefoldError(
                f"{source}: [training] initial_alignment reads the examples of grounding tasks, and pretraining reads "
                "captions; remove initial_alignment"
            )
        if self.initial is None:
            self.model_config(source=source)
            return
        if self.training.initial_alignment:
            raise TwelvefoldError(
                f"{source}: [training] initial_alignment is for models that start from scratch; set it to false, or "
                "remove [model] initial"
            )
        if "preset" in self.model:
            raise TwelvefoldError(
                f"{source}: [model] preset and initial both set the model's configuration; remove preset"
            )
        try:
            check_names(name for name in self.model if name != "initial")  # values are known when the folder is read
        except TwelvefoldError as error:
            raise TwelvefoldError(f"{source}: [model] {error}") from error

    @property
    def initial(self) -> Path | None:
        """Folder of the model or run to start from, if any."""
        return Path(str(self.model["initial"])) if "initial" in self.model else None

    def with_initial(self, folder: Path) -> Recipe:
        """Return this recipe, starting from the configuration and weights of the model or run in ``folder``.

        What initializes a random model is removed: ``preset``, and ``initial_alignment``, which would replace weights.
        """
        fields = {name: value for name, value in self.model.items() if name != "preset"}
        training = msgspec.structs.replace(self.training, initial_alignment=False)
        return msgspec.structs.replace(self, model=fields | {"initial": str(folder)}, training=training)

    def with_iterations(self, iterations: int) -> Recipe:
        """Return this recipe, training for so many iterations.

        Raises:
            TwelvefoldError: ``iterations`` is below 1.
        """
        if iterations < 1:
            raise TwelvefoldError(f"iterations must be at least 1, got {iterations}")
        training = msgspec.structs.replace(self.training, iterations=iterations)
        return msgspec.structs.replace(self, training=training)

    def model_config(
        self, *, source: str = "recipe", initial: ModelConfig | None = None, **from_data: int
    ) -> ModelConfig:
        """Return the configuration of the model.

        ``initial`` is that of the model to start from, if any. ``from_data`` are fields that only the data determine
        (``feature_size``); the recipe's own values take precedence.

        Raises:
            TwelvefoldError: an unknown preset or field, or an invalid value.
        """
        fields = from_data | {name: value for name, value in self.model.items() if name not in ("preset", "initial")}
        try:
            if initial is not None:
                return changed(initial, **fields)
            return preset(str(self.model.get("preset", "vilbert_base")), **fields)
        except TwelvefoldError as error:
            raise TwelvefoldError(f"{source}: [model] {error}") from error

    @property
    def unresolved_modules(self) -> tuple[str, ...]:
        """Dotted names in ``tasks`` whose task is not known before the module is imported."""
        return tuple(name for name in self.tasks if "." in name and name not in self.modules)

    def with_task_names(self, names: Mapping[str, str]) -> Recipe:
        """Return this recipe with its tasks under their own names. ``names``: the name of the task that each of
        ``unresolved_modules`` defines.

        Raises:
            TwelvefoldError: two modules define the same task, or ``per_task`` has it twice or has a task that is not
                trained.
        """
        modules = dict(self.modules)
        listed = {name: modules.get(name, name) for name in self.tasks if name not in names}
        for module, name in names.items():
            if name in listed:
                raise TwelvefoldError(
                    f"recipe {self.name}: tasks lists the task {name!r} twice, as {listed[name]} and as {module}; list "
                    "it once, or change TASK.name in one of the modules"
                )
            listed[name] = module
            if name != module and {name, module} <= self.per_task.keys():
                raise TwelvefoldError(f'recipe {self.name}: [per_task."{module}"] and [per_task.{name}] are one task')
            modules[name] = module
        resolved = msgspec.structs.replace(
            self,
            tasks=tuple(names.get(name, name) for name in self.tasks),
            modules={name: module for name, module in modules.items() if name != module},
            per_task={names.get(name, name): config for name, config in self.per_task.items()},
        )
        resolved._check_task_tables(f"recipe {self.name}")
        return resolved

    def module(self, task: str) -> str:
        """Return what ``datasets.load_dataset`` takes for a task: its name, or its module if it is your own."""
        return self.modules.get(task, task)

    def task_name(self, task: str) -> str:
        """Return the name of the recipe's task with that name or module.

        Raises:
            TwelvefoldError: the recipe has no such task; names the closest.
        """
        name = {module: name for name, module in self.modules.items()}.get(task, task)
        if name not in self.tasks:
            raise TwelvefoldError(
                f"recipe {self.name} has no task {task!r}; it has {', '.join(self.tasks)}"
                f"{did_you_mean(task, self.tasks)}"
            )
        return name

    def task_config(self, task: str) -> TaskConfig:
        """Return the values for ``task``: those of ``per_task`` before those of ``every_task``; options are merged."""
        own = self.per_task.get(task, TaskConfig())
        values = {
            name: getattr(own, name) if getattr(own, name) is not None else getattr(self.every_task, name)
            for name in TaskConfig.__struct_fields__
        }
        return TaskConfig(**values | {"options": self.every_task.options | own.options})

    def task_specs(self, load_spec: Callable[[str], TaskSpec]) -> list[TaskSpec]:
        """Return the specs of the recipe's tasks in order: ``load_spec(name)`` with the recipe's values."""
        specs = []
        for name in self.tasks:
            config = self.task_config(name)
            values = {
                field: getattr(config, field)
                for field in ("batch_size", "lr", "max_tokens", "max_regions", "epochs")
                if getattr(config, field) is not None
            }
            specs.append(dataclasses.replace(load_spec(name), **values))
        return specs

    def to_toml(self) -> str:
        """Return the whole recipe, defaults included, as TOML from which :meth:`parse` makes an equal recipe."""
        return loading.to_toml(msgspec.to_builtins(self))
