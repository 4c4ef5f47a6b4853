"""Read the predictions of an evaluated run, with the image of each example, so that two runs can be paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twelvefold.config.recipe import Recipe
from twelvefold.evaluation.collect import NOT_EVALUATED
from twelvefold.evaluation.predictions import predictions_path, read_predictions
from twelvefold.evaluation.scores import Scores, TaskScore, read_scores
from twelvefold.schema import CONSISTENCY_ONLY, Example, Split, TwelvefoldError, did_you_mean
from twelvefold.store.prepared import MANIFEST, Prepared
from twelvefold.training.data_folders import remembered_folder

WITHHELD = "its labels are withheld, so it has no score"
SEEDS = "seed-*"
"""Folders of the runs of several seeds, in the folder of a side."""


@dataclass(frozen=True, slots=True)
class TaskPredictions:
    """The scored examples of a task. scores: in 0..1, by example id; images: the image of each, by the same ids.
    searches_images: whether an example was compared with all images of the test set (retrieval)."""

    score: TaskScore
    scores: Mapping[str, float]
    images: Mapping[str, str]
    searches_images: bool


@dataclass(slots=True)
class ExampleReader:
    """Reads the examples of a split from prepared folders, which runs may share; keeps those of the last task."""

    split: Split
    _folders: dict[Path, Prepared] = field(default_factory=dict)
    _task: str = ""
    _examples: dict[Path, dict[str, Example]] = field(default_factory=dict)

    def digest(self, folder: Path, task: str) -> str:
        """Return the digest of what the task's table was made from."""
        return self._open(folder).table(task, self.split).digest

    def read(self, folder: Path, task: str) -> dict[str, Example]:
        """Return the used examples of a task by id.

        Raises:
            TwelvefoldError: the folder has no such task or split.
        """
        if task != self._task:
            self._task, self._examples = task, {}
        if folder not in self._examples:
            table = self._open(folder).table(task, self.split)
            self._examples[folder] = {example.id: example for example in table}
        return self._examples[folder]

    def _open(self, folder: Path) -> Prepared:
        if folder not in self._folders:
            self._folders[folder] = Prepared.open(folder)
        return self._folders[folder]


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """A run that was evaluated on a split. ``prepared``: folder of its tables."""

    run: Path
    examples: ExampleReader
    recipe: Recipe
    scores: Scores
    prepared: Path

    @classmethod
    def open(cls, run: Path, examples: ExampleReader, prepared: Path | None = None) -> EvaluatedRun:
        """Open a run that was evaluated on the split of ``examples``.

        ``prepared``: folder of its tables, by default the one that it remembers.

        Raises:
            TwelvefoldError: the folder is not that of a run, the run was not evaluated on the split, or its tables are
                not there.
        """
        recipe, split = Recipe.load_run(run), examples.split
        path = run / ("scores.json" if split == "test" else f"scores-{split}.json")
        if not path.exists():
            option = "" if split == "test" else f" --split {split}"
            raise TwelvefoldError(
                f"{run} was not evaluated: {path.name} is missing; call `twelvefold evaluate {run}{option}`"
            )
        tables = prepared or remembered_folder(run, "prepared")
        if not (tables / MANIFEST).exists():
            raise TwelvefoldError(
                f"{run}: its tables, which have the image of each example, are not in {tables}; state the folder that "
                "`twelvefold prepare` wrote: --prepared FOLDER"
            )
        return cls(run, examples, recipe, read_scores(path, Scores), tables.resolve())

    def why_missing(self, task: str) -> str:
        """Return why the run has no score of a task; empty if it has one."""
        result = self.scores.tasks.get(task)
        if result is not None:
            return WITHHELD if result.score is None else ""
        if task in self.recipe.tasks:
            return self.scores.missing.get(task, NOT_EVALUATED)
        return "its recipe does not have this task"

    def read_predictions(self, task: str) -> TaskPredictions:
        """Return the scored examples of a task that has a score.

        Raises:
            TwelvefoldError: the predictions are missing, or are not those of ``scores.json`` or of the tables.
        """
        path, result = predictions_path(self.run, task, self.examples.split), self.scores.tasks[task]
        again = f"call `twelvefold evaluate {self.run} --tasks {task}` again"
        if not path.exists():
            raise TwelvefoldError(f"{path} is missing, but {task} has a score in the scores of {self.run}; {again}")
        examples, searches = self.examples.read(self.prepared, task), False
        scores: dict[str, float] = {}
        images: dict[str, str] = {}
        for record in read_predictions(path):
            if record.id not in examples:
                raise TwelvefoldError(
                    f"{path}: example {record.id!r} is not in the tables of {self.prepared}, so the predictions are of "
                    f"other data; {again}, or state the tables that the run was evaluated on: --prepared FOLDER"
                )
            if record.score is not None and examples[record.id].question_type != CONSISTENCY_ONLY:
                scores[record.id] = record.score
                images[record.id] = str(examples[record.id].pairs[0].image)
                searches |= record.rank is not None
        mean = 100 * sum(scores.values()) / len(scores) if scores else float("nan")
        if len(scores) != result.n or result.score is None or not abs(mean - result.score) < 0.006:
            raise TwelvefoldError(
                f"{path} has {len(scores):,} scored examples with mean {mean:.2f}, but the scores of {self.run} state "
                f"{result.n:,} with mean {result.score}: they are of different evaluations; {again}"
            )
        return TaskPredictions(result, scores, images, searches)


def open_side(folder: Path, more: Sequence[Path], examples: ExampleReader, prepared: Path | None) -> list[EvaluatedRun]:
    """Return the runs of one side: ``folder``, or the runs ``seed-*`` in it if it is none itself, and ``more``.

    Raises:
        TwelvefoldError: a folder is not that of a run, a run was not evaluated, runs have the same folder or weights,
            or their recipes differ in more than the seed.
    """
    from twelvefold.training.run_folder import recipe_differences

    inner = (
        [] if (folder / "recipe.toml").exists() else sorted(path.parent for path in folder.glob(f"{SEEDS}/recipe.toml"))
    )
    runs = [EvaluatedRun.open(run, examples, prepared) for run in (*(inner or [folder]), *more)]
    first = runs[0]
    for position, run in enumerate(runs[1:], 1):
        for other in runs[:position]:
            if run.run.resolve() == other.run.resolve():
                raise TwelvefoldError(f"{run.run} is stated twice on one side; a side consists of different runs")
            if have_same_weights(run, other):
                raise TwelvefoldError(f"{run.run} and {other.run} have the same weights, so they are not two seeds")
        if differences := recipe_differences(first.recipe, run.recipe, ("seed", "name", "model.initial")):
            raise TwelvefoldError(
                f"{first.run} and {run.run} are not of the same recipe, so they are not seeds of one side; "
                f"differences: {'; '.join(differences)}"
            )
    return sorted(runs, key=lambda run: run.recipe.seed)


def have_same_weights(first: EvaluatedRun, second: EvaluatedRun) -> bool:
    """Return whether two runs' scores are of the same weights; False if the weights were not recorded."""
    return first.scores.weights_digest == second.scores.weights_digest != ""


def check_same_test_set(task: str, baseline: EvaluatedRun, other: EvaluatedRun) -> None:
    """Check that examples with the same id are the same example in both runs' tables.

    Raises:
        TwelvefoldError: images, texts or labels differ.
    """
    examples = baseline.examples
    if examples.digest(baseline.prepared, task) == examples.digest(other.prepared, task):
        return
    tables = [examples.read(run.prepared, task) for run in (baseline, other)]
    common = tables[0].keys() & tables[1].keys()
    different = sorted(id_ for id_ in common if _content(tables[0][id_]) != _content(tables[1][id_]))
    if different:
        raise TwelvefoldError(
            f"{task}: {baseline.run} and {other.run} were evaluated on other data: {len(different):,} of "
            f"{len(common):,} examples with the same id have another image, text or label, such as {different[0]!r} "
            f"({baseline.prepared}, {other.prepared}); evaluate both on the same prepared folder"
        )


def choose_tasks(runs: Sequence[EvaluatedRun], tasks: Sequence[str]) -> list[str]:
    """Return the tasks that any run has in its recipe or its scores, or those of ``tasks``, in the recipe's order.

    Raises:
        TwelvefoldError: no run has a task of that name; names the closest.
    """
    known = list(dict.fromkeys(name for run in runs for name in (*run.recipe.tasks, *run.scores.tasks)))
    for name in tasks:
        if name not in known:
            raise TwelvefoldError(
                f"no run has a task {name!r}; they have {', '.join(known)}{did_you_mean(name, known)}"
            )
    return [name for name in known if name in tasks] if tasks else known


def _content(example: Example) -> tuple[object, ...]:
    return (*((pair.image, pair.text) for pair in example.pairs), example.label)
