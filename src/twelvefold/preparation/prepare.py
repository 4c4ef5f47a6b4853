"""Prepare data for training: read the official files once, clean the splits, and write memory-mapped tables.

The steps are: a table of all examples of every split; what cleaning removes (paper: section 2.2), decided from the
tables or taken from a pinned manifest; the rows of each table that are used; answer lists; hard negatives. Each step is
keyed by the digest of its inputs and is not repeated while these are the same: a second call does nothing, a call after
a kill runs the remaining steps, and with another policy, limit or region store no official file is read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from rich.table import Table

from twelvefold import boxes, datasets
from twelvefold.config.recipe import DataConfig, Recipe, TaskConfig
from twelvefold.data.negatives import NUM_NEIGHBORS
from twelvefold.datasets.reading.image_headers import ImageHeaders
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.recipe_tasks import resolve_tasks
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.images import ImageError
from twelvefold.parsing.bounds import short_repr
from twelvefold.preparation.jobs import choose_answer_lists, make_requests, vocabulary_task
from twelvefold.preparation.original_counts import CountComparisons, compare_with_original
from twelvefold.preparation.pinning import policy_name, read_pinned_manifest
from twelvefold.preparation.steps import PreparationSteps
from twelvefold.schema import TwelvefoldError
from twelvefold.splits.clean import counts_table
from twelvefold.splits.manifest import CleaningManifest
from twelvefold.splits.policy import NO_CLEANING
from twelvefold.splits.similarity_limit import count_removed_by_similarity
from twelvefold.store import atomic_files
from twelvefold.store.prepared import ExampleCounts, PreparedManifest
from twelvefold.store.region_store import RegionStore


class AnswerListUse(msgspec.Struct, frozen=True):
    """An answer list of a prepared folder. ``file``: where it is from; empty if the answers were counted, or are those
    of the dataset's own files. ``answers``: their number. ``questions``: by task, the train questions that are used;
    ``answered``: those of them that have an answer in the list."""

    file: str
    answers: int
    questions: Mapping[str, int]
    answered: Mapping[str, int]

    def describe(self, owner: str) -> str:
        """Return a line about the list of the task ``owner``."""
        source = f" of {self.file}" if self.file else ""
        shares = [
            f"{self.answered[task]:,} of {count:,} train questions of {task} have one of them "
            f"({100 * self.answered[task] / count:.1f} %)"
            for task, count in self.questions.items()
            if count
        ]
        return "; ".join([f"answer list of {owner}: {self.answers:,} answers{source}", *shares])


class PrepareSummary(msgspec.Struct, frozen=True):
    """The result of :func:`prepare`.

    ``policy``: the cleaning policy. ``clean_digest``: digest of the cleaning manifest, which a recipe can pin.
    ``new_steps``: the steps that this call ran. ``problems``: malformed records that were left out. ``limitations``:
    duplicates that cleaning could not detect, and why. ``unreadable``: images that cleaning could not compare, with the
    reason. ``other_sizes``: images whose examples were left out because they do not have the size that the annotations
    state (or boxes lie outside of them), with the reason. ``num_scaled``: resized copies whose boxes are scaled.
    ``changed_files``: images of tasks with boxes whose file has another size than the image that regions come from.
    ``notes``: unusual records that are used, and answer lists that are not. ``removed_by_similarity``: the number of
    examples that were removed only because images look alike. ``answer_lists``: by the task that owns each.
    ``original_counts``: how the numbers of examples differ from those of the original project.
    """

    folder: Path
    policy: str
    clean_digest: str
    counts: Mapping[str, Mapping[str, ExampleCounts]]
    new_steps: tuple[str, ...] = msgspec.field(name="made")
    problems: tuple[str, ...]
    limitations: tuple[str, ...] = msgspec.field(name="hidden")
    unreadable: Mapping[str, str]
    other_sizes: Mapping[str, str]
    num_scaled: int
    changed_files: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    removed_by_similarity: int = 0
    answer_lists: Mapping[str, AnswerListUse] = {}
    original_counts: CountComparisons = CountComparisons()

    def table(self) -> Table:
        """Return examples before cleaning, removed and kept by task, for printing with rich."""
        return counts_table(self.counts)


def prepare_recipe(
    recipe: Recipe,
    data: Path,
    regions: Path | None,
    out: Path,
    *,
    config: DataConfig | None = None,
    answer_lists: Mapping[str, Path] | None = None,
    processes: int = 0,
) -> PrepareSummary:
    """Read the official files of a recipe's tasks, clean their splits, and write memory-mapped tables.

    Args:
        recipe: Gives the tasks, their reader options and their limits. A drawn world has its own reader options, which
            are used where the recipe sets none.
        data: A data folder with the official files.
        regions: The folder that `twelvefold extract` wrote.
        out: Folder for the tables.
        config: Cleaning, answer counts and what to do with bad records; the recipe's ``[data]`` if left out.
        answer_lists: Files to use instead of those of ``config`` and of counting answers, by task.
        processes: Tables made at once; 0: as the recipe says.

    Raises:
        TwelvefoldError: as :func:`prepare`.
    """
    recipe = resolve_tasks(recipe)
    configs = {recipe.module(name): recipe.task_config(name) for name in recipe.tasks}
    options = reader_options(data, configs, {name: each.options for name, each in configs.items()})
    tasks = {name: msgspec.structs.replace(each, options=options[name]) for name, each in configs.items()}
    # Pretraining draws mismatched captions from all other images, so it needs no hard negatives.
    num_negatives = NUM_NEIGHBORS if recipe.pretraining is None else 0
    processes = processes or recipe.training.processes
    config = config or recipe.data
    return prepare(
        data,
        regions,
        out,
        tasks,
        config,
        answer_lists=answer_lists,
        num_negatives=num_negatives,
        processes=processes,
    )


def prepare(
    data: Path,
    regions: Path | None,
    out: Path,
    tasks: Sequence[str] | Mapping[str, TaskConfig] = (),
    config: DataConfig | None = None,
    *,
    answer_lists: Mapping[str, Path] | None = None,
    num_negatives: int = NUM_NEIGHBORS,
    processes: int = 1,
) -> PrepareSummary:
    """Prepare tasks of a data folder.

    Args:
        data: A data folder with the official files.
        regions: The folder that ``extract`` wrote. None: examples need no regions, and no negatives are made.
        out: Folder for the tables.
        tasks: Names of tasks or dotted paths of your own datasets; the paper's twelve tasks if empty. A mapping gives
            each its ``options`` (keyword arguments of the reader) and ``max_examples`` (training examples to keep).
        config: Cleaning, answer counts and what to do with bad records.
        answer_lists: Files to use instead of those of ``config`` and of counting answers, by task; tasks that share a
            list need one. Each must be used, whereas ``config`` may have lists of other tasks.
        num_negatives: Hard negatives per training image of a retrieval task; 0: none.
        processes: Tables made at once.

    Raises:
        TwelvefoldError: a file is missing or damaged, a record is malformed, an image has no regions, a name is wrong,
            the data differ from those that were pinned, an answer list fits no question, the disk is full, or another
            process prepares the folder.
    """
    config = config or DataConfig()
    requests = make_requests(tasks or datasets.paper_task_names())
    lists, notes = choose_answer_lists(requests, config.answers, answer_lists or {})
    policy = policy_name(config)
    store = None if regions is None else RegionStore.open(regions / "detected")
    bad_links = BadRecords(config.skip_bad)
    steps = PreparationSteps(Path(data), Path(out), store, requests, config, processes, bad_links, lists)
    with atomic_files.lock_folder(out):
        for folder in (steps.folder, *filter(Path.is_dir, steps.folder.iterdir())):
            atomic_files.remove_leftovers(folder)
        pinned = read_pinned_manifest(config, policy, [request.task.name for request in requests])
        steps.make_tables()
        cleaning = None if policy == NO_CLEANING else steps.decide_cleaning(policy, pinned)
        steps.select_rows(cleaning, check=pinned is not None)
        for request in requests:
            if request.task.vocabulary:
                steps.make_answer_list(vocabulary_task(request, requests))
        answer_list_uses = measure_answer_lists(steps)
        if store is not None and num_negatives:
            from twelvefold.families import load_family  # imports torch, which nothing else here needs

            for request in requests:
                if load_family(request.task.family).searches_images:
                    steps.make_negatives(request, num_negatives)
        return _summarize(steps, steps.write_manifest(policy), cleaning, answer_list_uses, notes)


def measure_answer_lists(steps: PreparationSteps) -> dict[str, AnswerListUse]:
    """Return, for each answer list, how many train questions have an answer in it.

    Raises:
        TwelvefoldError: a list that was given has no answer of any train question.
    """
    uses = {}
    for owner, answers in steps.answers_by_owner().items():
        tables = {
            request.task.name: steps.open_selected(request, "train")
            for request in steps.requests
            if request.task.vocabulary == owner
        }
        questions = {task: len(table) for task, table in tables.items()}
        answered = {task: table.count_answered(answers) for task, table in tables.items()}
        file = steps.answer_lists[owner].file if owner in steps.answer_lists else None
        if file and any(questions.values()) and not any(answered.values()):
            raise TwelvefoldError(
                f"{file}: none of the {sum(questions.values()):,} train questions of {', '.join(questions)} has an "
                f"answer in this list of {len(answers):,} answers, which begins with {short_repr(answers[0])}: is it "
                "another task's list?"
            )
        uses[owner] = AnswerListUse(str(file or ""), len(answers), questions, answered)
    return uses


def _summarize(
    steps: PreparationSteps,
    manifest: PreparedManifest,
    cleaning: CleaningManifest | None,
    answer_lists: Mapping[str, AnswerListUse],
    notes: Sequence[str],
) -> PrepareSummary:
    return PrepareSummary(
        folder=steps.folder,
        policy=manifest.policy,
        clean_digest=cleaning.digest if cleaning else "",
        counts=manifest.counts,
        new_steps=tuple(steps.new_steps),
        problems=tuple(manifest.problems),
        limitations=tuple(cleaning.limitations) if cleaning else (),
        unreadable=cleaning.unreadable if cleaning else {},
        other_sizes=manifest.other_sizes,
        num_scaled=steps.num_scaled(),
        changed_files=find_changed_files(steps),
        notes=(*(note for entry in steps.entries.values() for note in entry.notes), *notes),
        removed_by_similarity=count_removed_by_similarity(cleaning),
        answer_lists=answer_lists,
        original_counts=compare_with_original(steps.data, manifest.counts, manifest.policy),
    )


def find_changed_files(steps: PreparationSteps) -> dict[str, str]:
    """Return the images of tasks with boxes whose file has another size than the image that the regions come from.

    Training is right then, but the report and whoever opens the file sees boxes in wrong places. With ``scale_boxes``
    resized copies of the same aspect ratio are accepted. Only the headers of files are read, and of
    files that have not changed since the last call, not even these.
    """
    store = steps.store
    if store is None or not (steps.data / "images").is_dir():
        return {}
    changed = {}
    with ImageHeaders.open(steps.data, steps.folder / "made") as headers:
        files = headers.scan().files
        for key in sorted(steps.images_with_boxes() & files.keys()):
            try:
                regions, file = store.size(key), headers.size(files[key])
            except ImageError:
                continue  # cleaning lists unreadable images
            if regions is None or boxes.is_same_size(regions, file):
                continue
            if not (steps.config.scale_boxes and boxes.scale_factors(regions, file)):
                changed[str(key)] = f"regions of {regions[0]} x {regions[1]} pixels, the file has {file[0]} x {file[1]}"
    return changed
