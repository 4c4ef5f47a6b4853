"""A recipe: everything that a run varies, in one short TOML file, checked whole before anything is loaded.

``Recipe.load("demo")`` gives a shipped recipe, ``Recipe.load("my/recipe.toml")`` your own. Everything the paper
varies is a value here, with the paper's choice as the default (sections 3.2, 3.3 and the supplement); a value that
is left out keeps its default, and a misspelt name is refused with the closest valid one. With
``extends = "paper/multi_task"`` it keeps that recipe's value instead (:mod:`twelvefold.config.loading`).
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from twelvefold.config import loading
from twelvefold.config.loading import shipped as shipped
from twelvefold.config.model import ModelConfig, changed, check_names, preset
from twelvefold.schema import TaskSpec, TwelvefoldError, did_you_mean

Count = Annotated[int, msgspec.Meta(ge=1)]
CountOrAll = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0)]


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: no other names than its fields."""


class WorldConfig(Strict, frozen=True, kw_only=True):
    """The embedded world to build, where the recipe is not about data of your own."""

    images: Count = 2000
    seed: int = 0


class DataConfig(Strict, frozen=True, kw_only=True):
    """What ``prepare`` makes of the official files."""

    clean: bool | Literal["paper", "strict", "ids", "lists", "none"] = "paper"
    """Which photographs no task may learn from (section 2.2, docs/cleaning.md). paper, or true: every task's test
    photographs leave every task's train and val; none, or false: full data."""
    manifest: str = ""
    """A cleaning manifest (clean.json): remove exactly what it says, and refuse other data than it was made of."""
    clean_digest: str = ""
    """The digest that the cleaning manifest must have; empty: any."""
    min_count: Count = 9
    """How often an answer must occur to be in the answer list; 9 is the paper's for the real data."""
    skip_bad: bool = False
    """Count and list malformed records instead of stopping at the first."""
    without_regions: bool = False
    """Leave out and count examples whose picture has no regions (a dead address) instead of stopping at the first."""

    def __post_init__(self) -> None:
        if isinstance(self.clean, bool):
            msgspec.structs.force_setattr(self, "clean", "paper" if self.clean else "none")


class ExtractConfig(Strict, frozen=True, kw_only=True):
    """How pictures become regions."""

    detector: str = ""
    """Weights of a detector of your own; empty: the one that ships with the package."""
    max_regions: Annotated[int, msgspec.Meta(ge=1, le=36)] = 16
    """Detected regions kept per picture, best first (IMG comes on top): enough for a world; the paper has 100."""


class TaskConfig(Strict, frozen=True, kw_only=True):
    """Numbers of one task that differ from the ones its dataset states (``TASK``, the supplement's values)."""

    batch_size: Count | None = None
    lr: Positive | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=3)] | None = None
    max_regions: Count | None = None
    epochs: Count | None = None
    max_examples: Count | None = None
    """Training examples read by ``prepare``; the first so many. None: all."""
    options: dict[str, bool | int | float | str] = {}
    """Keyword arguments of the dataset's reader."""


class PretrainingConfig(Strict, frozen=True, kw_only=True):
    """What is hidden of captioned pictures, and told from the rest. Paper: section 3.1; the two changes that section
    4.1 measures are ``hide_overlapping`` and ``tell_of_swapped``, here as the paper has them."""

    words: Share = 0.15
    """Share of the words that are to be told."""
    regions: Share = 0.15
    """Share of the regions whose kind is to be told."""
    hide_overlapping: bool = True
    """Hide every region that overlaps one to be told by an IoU above 0.4; false: as ViLBERT, only those to be told."""
    swapped: Share = 0.5
    """Share of the captions that are another picture's."""
    tell_of_swapped: bool = False
    """Words and regions are to be told of pairs that don't belong together as well; true: as ViLBERT."""
    region_weight: NotNegative = 1.0
    """Multiplies the loss of the regions; the original's img_weight."""
    pool: CountOrAll = 100
    """Pictures that captions are searched in at every validation, untrained for it (R@1, R@5, R@10); 0: all."""


class TrainingConfig(Strict, frozen=True, kw_only=True):
    """How the one model learns the tasks together. Paper: section 3.3."""

    iterations: CountOrAll = 0
    """Times round all tasks; 0: as many as the longest task's ``epochs`` take, the paper's N."""
    lr_factor: Positive = 1.0
    """Multiplies every task's lr: a small model from scratch wants a larger one, in the same proportions."""
    loss_scaling: bool = True
    """Scale a task's loss by its lr over the base lr, which is the least of all; false: every loss as it is."""
    warmup_fraction: Share = 0.1
    """Share of all iterations over which the lr rises, linearly; the paper's eta. Then it falls linearly to 0."""
    weight_decay: NotNegative = 0.01
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Positive = 1e-6
    clip: NotNegative = 0.0
    """Greatest norm of a step's gradient; 0: no limit, as in the paper."""
    accumulation: Count = 1
    """Parts into which a process cuts its share of a batch to fit it into memory; the update is the same."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Of the linear layers; auto: bf16 where the machine is quick at it. Weights and sums stay fp32."""
    word_pieces: Literal["all", "seen"] = "all"
    """Word pieces with a vector of their own; seen: those in the training texts, for a small language from scratch."""
    stop_and_go: bool = True
    """Dynamic stop-and-go (Algorithm 1); false: every task steps in every iteration."""
    stop_and_go_rule: Literal["paper", "original_cooldown"] = "paper"
    stop_from_fraction: Share = 0.0
    """Share of all iterations before stop-and-go begins to look; the paper's is 0. A model from scratch stands at
    chance for a while, which is not convergence."""
    gap: Count = 4
    """A stopped task steps once in so many iterations; the paper's delta."""
    grounding_loss: Literal["sigmoid", "softmax"] = "sigmoid"
    """Every region judged alone, as in the paper's code, or a soft-max over the regions."""
    curriculum: Literal["none", "easy_first", "hard_first"] = "none"
    """easy_first: the pointing tasks (G3) alone at first; hard_first: question answering (G1) alone at first."""
    curriculum_fraction: Share = 0.1
    """Share of all iterations that the first group has for itself."""
    evaluations_per_epoch: Count = 1
    """How often stop-and-go looks at a task per task epoch; 1 is the paper's."""
    evaluate_within: CountOrAll = 0
    """Also validate all tasks every so many iterations, for people to see: stop-and-go doesn't look. 0: don't."""
    validation_examples: CountOrAll = 500
    """Validation examples per task and evaluation, the first so many; 0: all."""
    checkpoint_every: Count = 100
    """Iterations from one checkpoint to the next."""
    keep: CountOrAll = 0
    """Older checkpoints to keep besides latest and best."""
    processes: Count = 1
    """Processes that share every batch, one thread each on a CPU, one GPU each where there are some."""
    loaders: CountOrAll = 0
    """Processes per task that make its batches ahead of time, for a GPU not to wait; 0: made when needed."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tensorboard: bool = True
    """Write TensorBoard files too, where TensorBoard is installed."""


class EvaluationConfig(Strict, frozen=True, kw_only=True):
    """How the test sets are scored."""

    max_examples: CountOrAll = 0
    """Test examples per task, the first so many; 0: all."""
    pool: CountOrAll = 0
    """Pictures in the retrieval pool; 0: every one of the split, the paper's 1,000."""
    batch_size: Count = 128
    bootstrap: Count = 1000
    """Samples behind a 95 % interval."""


class Recipe(Strict, frozen=True, kw_only=True):
    """One run. ``tasks``: names of datasets (or dotted modules of your own), in the order they take turns."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    tasks: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    seed: int = 0
    world: WorldConfig | None = None
    data: DataConfig = DataConfig()
    extract: ExtractConfig = ExtractConfig()
    model: dict[str, bool | int | float | str] = {}
    """``preset`` names a size, or ``initial`` the folder of a model or a run, whose size and weights are taken; every
    other name is a field of ``ModelConfig`` that differs from it (``task_token``)."""
    pretraining: PretrainingConfig | None = None
    """A recipe with this table pretrains on the captions of its tasks (`twelvefold pretrain`)."""
    training: TrainingConfig = TrainingConfig()
    every_task: TaskConfig = TaskConfig()
    """Numbers for all tasks; ``[tasks.<name>]`` of the file goes before them."""
    per_task: dict[str, TaskConfig] = {}
    evaluation: EvaluationConfig = EvaluationConfig()

    @staticmethod
    def load(source: str | Path) -> Recipe:
        """The recipe in a file, or a shipped one by its name.

        Raises:
            TwelvefoldError: no such recipe, not TOML, or a name or value in it that can't be.
        """
        return Recipe._made(*loading.read(source))

    @staticmethod
    def parse(text: str, where: str = "recipe") -> Recipe:
        """The recipe in ``text``; ``where`` names it in errors."""
        return Recipe._made(loading.parse(text, where), where)

    @staticmethod
    def _made(raw: dict[str, Any], where: str) -> Recipe:
        _check(raw, Recipe, where, ())
        try:
            recipe = msgspec.convert(raw, Recipe)
        except msgspec.ValidationError as error:
            raise TwelvefoldError(f"{where}: {_explain(error)}") from error
        recipe.check(where)
        return recipe

    def check(self, where: str = "recipe") -> None:
        """Look at what no single value shows.

        Raises:
            TwelvefoldError: a task twice, numbers for a task that isn't trained, or too many warm-up iterations.
        """
        for name in self.per_task:
            if name not in self.tasks:
                raise TwelvefoldError(
                    f"{where}: [per_task.{name}] sets numbers of a task that is not among tasks"
                    f"{did_you_mean(name, self.tasks)}; it has {', '.join(self.tasks)}"
                )
        for name in self.tasks:
            if self.tasks.count(name) > 1:
                raise TwelvefoldError(f"{where}: tasks names {name!r} more than once; a task has one turn")
        self._check_model(where)
        if self.training.warmup_fraction + self.training.curriculum_fraction > 1.0:
            raise TwelvefoldError(
                f"{where}: [training] warmup_fraction {self.training.warmup_fraction} and curriculum_fraction "
                f"{self.training.curriculum_fraction} are shares of all iterations and exceed 1 together"
            )

    def _check_model(self, where: str) -> None:
        if self.initial is None:
            self.model_config(where=where)
            return
        if "preset" in self.model:
            raise TwelvefoldError(
                f"{where}: [model] preset and initial both say how large the model is; leave out preset"
            )
        try:
            check_names(name for name in self.model if name != "initial")  # sizes are known when the folder is read
        except TwelvefoldError as error:
            raise TwelvefoldError(f"{where}: [model] {error}") from error

    @property
    def initial(self) -> Path | None:
        """The folder of a model or a run to start from, where there is one."""
        return Path(str(self.model["initial"])) if "initial" in self.model else None

    def starting_from(self, folder: Path) -> Recipe:
        """The recipe with the model or run in ``folder`` to start from, which says how large the model is."""
        kept = {name: value for name, value in self.model.items() if name != "preset"}
        return msgspec.structs.replace(self, model=kept | {"initial": str(folder)})

    def model_config(self, *, where: str = "recipe", initial: ModelConfig | None = None, **found: int) -> ModelConfig:
        """The model's shape. ``initial``: that of the model to start from, where there is one; ``found``: what only the
        data know (``feature_size``), unless the recipe says it.

        Raises:
            TwelvefoldError: no such preset or field, or a value that can't be.
        """
        choices = found | {name: value for name, value in self.model.items() if name not in ("preset", "initial")}
        try:
            if initial is not None:
                return changed(initial, **choices)
            return preset(str(self.model.get("preset", "vilbert_base")), **choices)
        except TwelvefoldError as error:
            raise TwelvefoldError(f"{where}: [model] {error}") from error

    def choice(self, task: str) -> TaskConfig:
        """What the recipe sets for ``task``: its own table before ``[every_task]``; options are joined."""
        own = self.per_task.get(task, TaskConfig())
        values = {
            name: getattr(own, name) if getattr(own, name) is not None else getattr(self.every_task, name)
            for name in TaskConfig.__struct_fields__
        }
        return TaskConfig(**values | {"options": self.every_task.options | own.options})

    def specs(self, state: Callable[[str], TaskSpec]) -> list[TaskSpec]:
        """The recipe's tasks in its order, with its numbers in place of the ones that ``state(name)`` gives."""
        specs = []
        for name in self.tasks:
            choice = self.choice(name)
            numbers = {
                field: getattr(choice, field)
                for field in ("batch_size", "lr", "max_tokens", "max_regions", "epochs")
                if getattr(choice, field) is not None
            }
            specs.append(dataclasses.replace(state(name), **numbers))
        return specs

    def to_toml(self) -> str:
        """The whole recipe, defaults written out, as TOML that :meth:`parse` reads back to an equal recipe."""
        return _toml(msgspec.to_builtins(self))


def _check(value: object, wanted: Any, where: str, path: tuple[str, ...]) -> None:
    """Refuse names that no table has and words that are no choice, with the closest valid one.

    msgspec refuses them too, but names neither the choices nor the closest.
    """
    kinds = _kinds(wanted)
    for kind in kinds:
        if get_origin(kind) is Literal and isinstance(value, str) and value not in get_args(kind):
            raise TwelvefoldError(
                f"{where}: {_place(path)} can't be {value!r}{did_you_mean(value, get_args(kind))}; "
                f"choose one of {', '.join(get_args(kind))}"
            )
        if isinstance(value, Mapping) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            hints = get_type_hints(kind)
            for name, inner in value.items():
                if name not in hints:
                    raise TwelvefoldError(
                        f"{where}: {_place((*path, name))} is not a name that a recipe knows"
                        f"{did_you_mean(name, hints)}; here it knows {', '.join(hints)}"
                    )
                _check(inner, hints[name], where, (*path, name))
        if isinstance(value, Mapping) and get_origin(kind) is dict:
            for name, inner in value.items():
                _check(inner, get_args(kind)[1], where, (*path, name))


def _kinds(wanted: Any) -> Sequence[Any]:
    """The members of a union, or the type itself."""
    return get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)


def _place(path: Sequence[str]) -> str:
    """``[training] lr`` for a name in a table, the bare name at the top."""
    return f"[{'.'.join(path[:-1])}] {path[-1]}" if len(path) > 1 else path[-1]


def _explain(error: msgspec.ValidationError) -> str:
    """msgspec's message with ``$.training.lr`` turned into ``[training] lr``."""
    message, _, path = str(error).partition(" - at `$.")
    return f"{_place(path.rstrip('`').split('.'))}: {message}" if path else message


def _toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """A nested mapping of plain values as TOML; None is left out, as TOML has none."""
    lines = [f"{_key(name)} = {json.dumps(v, ensure_ascii=False)}" for name, v in table.items() if _is_plain(v)]
    if path and (lines or not table):
        lines.insert(0, f"[{'.'.join(_key(name) for name in path)}]")
    text = "\n".join(lines) + "\n" if lines else ""
    for name, value in table.items():
        if isinstance(value, Mapping):
            text += ("\n" if text else "") + _toml(value, (*path, name))
    return text


def _is_plain(value: object) -> bool:
    return value is not None and not isinstance(value, Mapping)


def _key(name: str) -> str:
    """A name as TOML writes it, in quotes where TOML wants them (``refcoco+``, dotted modules)."""
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)
