"""Check a data folder: which of the datasets are present, what is missing or malformed, and what to do next.

Every split is read with the reader that training uses; bad records are listed and skipped. A split that a prepared
folder has a table of, made from the same files, is read from that table. The number of examples is compared with that
of the publisher's full files, or in a world with the world's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from twelvefold.config.recipe import Recipe
from twelvefold.datasets import Dataset, check_options, load_datasets, paper_task_names
from twelvefold.datasets.reading import same_image_links
from twelvefold.datasets.reading.cards import IMAGE_SOURCES, dataset_cards
from twelvefold.datasets.reading.image_files import scan_image_files
from twelvefold.datasets.reading.image_sizes import SizeCheck, SizeOf
from twelvefold.datasets.reading.image_sources import VG
from twelvefold.datasets.reading.options import WORLD_FILE, read_world_file, reader_options
from twelvefold.datasets.reading.recipe_tasks import resolve_tasks
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.datasets.reading.shared_files import share_decoded_files
from twelvefold.datasets.reading.submissions import SCORED_BY_SERVER, server_part
from twelvefold.image_folder import SkippedFile
from twelvefold.images import ImageError, upright_size
from twelvefold.preparation.jobs import TaskRequest, find_table
from twelvefold.progress import track
from twelvefold.schema import ImageKey, Size, Split, TwelvefoldError
from twelvefold.store.region_store import RegionStore
from twelvefold.store.relaxed_gc import relaxed_gc

State = Literal["whole", "incomplete", "missing"]
MAX_SHOWN = 3
"""Malformed records and missing images that are listed for each split."""


class SplitCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one split.

    ``files``: the files that it is read from. ``examples``: the number that could be read. ``expected``: the number in
    the full files, None if unknown. ``error``: why the split cannot be read, or empty. ``num_malformed``: rejected
    records. ``num_images``: images that the examples use; ``num_images_missing`` of them have no file. ``other_sizes``:
    images that do not have the size that the annotations state, with both sizes. ``notes``: unusual records that are
    used. ``unlabeled``: examples whose label is withheld.
    """

    files: tuple[str, ...]
    examples: int
    expected: int | None
    error: str = msgspec.field(name="missing")
    num_malformed: int = msgspec.field(name="malformed")
    first_malformed: tuple[str, ...] = msgspec.field(name="bad")
    num_images: int = msgspec.field(name="pictures")
    num_images_missing: int = msgspec.field(name="pictures_missing")
    first_missing_images: tuple[str, ...] = msgspec.field(name="lost")
    count_is_right: bool
    other_sizes: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    unlabeled: int = 0


class TaskCheck(msgspec.Struct, frozen=True):
    """The result for one task. ``next``: what to do, in order; empty if nothing is wrong. ``server``: how its test set
    is scored, if its labels are withheld; empty if they are known."""

    state: State
    splits: Mapping[Split, SplitCheck]
    next: tuple[str, ...]
    server: str = ""


class DataCheck(msgspec.Struct, frozen=True):
    """The result for a data folder. ``limitations``: what cleaning cannot know without an id map or images.
    ``skipped``: files under ``images/`` that are no images or are not used."""

    data: Path
    tasks: Mapping[str, TaskCheck]
    limitations: tuple[str, ...] = msgspec.field(name="hidden")
    skipped: tuple[SkippedFile, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every checked task is whole and nothing limits cleaning."""
        return not self.limitations and all(task.state == "whole" for task in self.tasks.values())

    @property
    def server_tasks(self) -> Mapping[str, str]:
        """How the tasks are scored whose test labels are withheld, by task."""
        return {name: task.server for name, task in self.tasks.items() if task.server}


@dataclass(frozen=True, slots=True)
class _Folder:
    """A data folder. ``prepared``: a prepared folder, or None. ``world_examples``: examples by task and split if it is
    a world, else None. ``images``: the image files, or None if that is unknown. ``sizes``: by which the sizes that
    annotations state are checked. ``recipe_options``: reader options of a recipe, by task: where there are some, the
    numbers of examples are not compared."""

    data: Path
    prepared: Path | None
    world_examples: Mapping[str, Mapping[str, int]] | None
    images: Mapping[ImageKey, Path] | None
    sizes: Sequence[SizeOf]
    recipe_options: Mapping[str, Mapping[str, Any]]


def doctor(
    data: Path,
    *,
    tasks: Sequence[str] = (),
    recipe: Recipe | None = None,
    prepared: Path | None = None,
    regions: Path | None = None,
) -> DataCheck:
    """Read every split of the tasks in a data folder and report what is present, missing or malformed.

    Args:
        data: The data folder.
        tasks: Names of tasks, or dotted paths of your own datasets (as ``gqa nlvr2`` or ``gqa,nlvr2``); the paper's
            twelve tasks, or the recipe's, if empty.
        recipe: A recipe whose reader options are used, such as another part of a test set; the name of a shipped one
            or a .toml file.
        prepared: A folder that `twelvefold prepare` wrote from these data: its tables are read instead of the files.
        regions: A folder that `twelvefold extract` wrote: its image sizes are compared with those of the annotations,
            as those of the image files are.

    Raises:
        TwelvefoldError: there is no such folder or task, or the recipe has no such task.
    """
    data = Path(data)
    if not data.is_dir():
        raise TwelvefoldError(f"there is no data folder {data}; docs/data.md describes its layout")
    names, recipe_options = _requested(tasks, recipe)
    datasets = load_datasets(names)
    images, limitations, skipped = _find_images(data)
    options = reader_options(data, names, recipe_options)
    for name, dataset in zip(names, datasets.values(), strict=True):
        check_options(dataset, options[name])
    sizes: list[SizeOf] = [] if images is None else [cache(partial(_file_size, images))]
    sizes += [] if regions is None else [RegionStore.open(regions / "detected").size]
    folder = _Folder(data, prepared, _world_examples(data), images, sizes, recipe_options)
    checks = {
        dataset.TASK.name: _check_task(folder, name, dataset, options[name])
        for name, dataset in track(list(zip(names, datasets.values(), strict=True)), description="datasets read")
    }
    cards = dataset_cards()
    sources = {source for name in datasets if name in cards for source in cards[name].image_sources}
    maps = _map_limitations(data, sources) if VG in sources else []
    return DataCheck(data, checks, (*maps, *limitations), tuple(skipped))


def _requested(tasks: Sequence[str], recipe: Recipe | None) -> tuple[Sequence[str], Mapping[str, Mapping[str, Any]]]:
    """Return the datasets to check, and those of their reader options that the recipe states."""
    if recipe is None:
        return tasks or paper_task_names(), {}
    recipe = resolve_tasks(recipe)
    chosen = [recipe.task_name(name) for name in tasks] or recipe.tasks
    options = {recipe.module(task): recipe.task_config(task).options for task in chosen}
    return list(options), {name: each for name, each in options.items() if each}


def _world_examples(data: Path) -> Mapping[str, Mapping[str, int]] | None:
    world = read_world_file(data / WORLD_FILE)
    return world.examples if world else None


def _file_size(images: Mapping[ImageKey, Path], key: ImageKey) -> Size | None:
    """Return the size of an image according to its file's header, or None if it has no file that can be read."""
    try:
        return upright_size(images[key]) if key in images else None
    except ImageError:
        return None


def _find_images(data: Path) -> tuple[Mapping[ImageKey, Path] | None, list[str], list[SkippedFile]]:
    """Return the image files, or None; what is not possible without some; and files that are no images."""
    try:
        content = scan_image_files(data)
        unreadable = [f"images/, cannot be read: {name}: {reason}" for name, reason in content.unreadable.items()]
        more = f"images/, cannot be read: {len(unreadable) - MAX_SHOWN:,} more"
        sentences = unreadable[:MAX_SHOWN] + [more] * (len(unreadable) > MAX_SHOWN)
        return content.files, sentences, content.skipped
    except TwelvefoldError as error:
        return (
            None,
            [
                f"{error}; without images no features can be extracted (they can be imported instead: "
                "twelvefold features import), and cleaning cannot compare images"
            ],
            [],
        )


def _map_limitations(data: Path, sources: Collection[str]) -> list[str]:
    """Return what is missing or malformed in the id maps, and what cleaning cannot know because of it."""
    bad = BadRecords(skip=True)
    try:
        for _ in same_image_links.read_links(data, bad=bad):
            pass
    except TwelvefoldError as error:
        return [f"{error}; without this map cleaning counts an image that two datasets share as two images"]
    count = len(bad.rejected)
    missing = same_image_links.limitations(data, sources)
    if not count:
        return missing
    return [*missing, f"{count:,} malformed record{'s' * (count > 1)} in an id map, such as {bad.rejected[0]}"]


def _check_task(folder: _Folder, name: str, dataset: Dataset, options: Mapping[str, Any]) -> TaskCheck:
    with share_decoded_files():
        splits = {split: _check_split(folder, name, dataset, split, options) for split in get_args(Split)}
    steps = tuple(dict.fromkeys(_next_steps(name, splits)))
    if all(check.error and not check.files for check in splits.values()):
        return TaskCheck("missing", splits, steps)
    test = splits["test"]
    server = _describe_server(dataset, options) if test.unlabeled and test.unlabeled == test.examples else ""
    return TaskCheck("incomplete" if steps else "whole", splits, steps, server)


def _describe_server(dataset: Dataset, options: Mapping[str, Any]) -> str:
    """Return how a test set without labels is scored, in a sentence."""
    part, name = server_part(dataset, options), dataset.TASK.name
    sentence = f"{SCORED_BY_SERVER}: no label of the test split is in the files"
    if getattr(dataset, "SUBMISSION", None) is None:
        return f"{sentence}, and {name} has no submission format"
    command = f"after evaluate: twelvefold submit RUN --task {name}{part.option} --out FILE" if part.name else ""
    return "; ".join(filter(None, [sentence, part.note, command]))


@relaxed_gc()
def _check_split(folder: _Folder, name: str, dataset: Dataset, split: Split, options: Mapping[str, Any]) -> SplitCheck:
    """Read one split to its end, or as far as its files allow."""
    bad, used_images, sizes = BadRecords(skip=True), set[ImageKey](), SizeCheck(folder.sizes)
    paths: list[Path] = []
    num_examples, unlabeled, problem, rejected, notes = 0, 0, "", list[str](), list[str]()
    request = TaskRequest(name, dataset.TASK, options)
    try:
        paths = dataset.files(folder.data, split, **options)
        table = find_table(folder.prepared, request, split, folder.data) if folder.prepared else None
        if table is not None:
            num_examples, used_images, rejected = len(table[0]), table[0].all_images(), table[1].problems
            sizes.add_table(table[0])
            unlabeled = int((~table[0].is_labeled()).sum())
            notes = table[1].notes
        else:
            for example in dataset.read(folder.data, split, bad=bad, **options):
                num_examples += 1
                unlabeled += example.label is None
                used_images.update(pair.image for pair in example.pairs)
                sizes.add(example)
    except (TwelvefoldError, OSError) as error:
        problem = str(error)
    rejected = rejected or [str(rejection) for rejection in bad.rejected]
    missing_images = sorted(used_images - folder.images.keys()) if folder.images is not None else []
    card = dataset_cards().get(name)
    if folder.recipe_options.get(name):
        expected, count_is_right = None, True
    elif folder.world_examples is not None:
        expected = folder.world_examples.get(name, {}).get(split)
        count_is_right = expected in (None, num_examples)
    else:
        expected = card.examples[split] if card else None
        count_is_right = card is None or card.matches(split, num_examples)
    return SplitCheck(
        files=tuple(path.relative_to(folder.data).as_posix() for path in paths),
        examples=num_examples,
        expected=expected,
        error=problem,
        num_malformed=len(rejected),
        first_malformed=tuple(rejected[:MAX_SHOWN]),
        num_images=len(used_images),
        num_images_missing=len(missing_images),
        first_missing_images=tuple(str(key) for key in missing_images[:MAX_SHOWN]),
        count_is_right=count_is_right,
        other_sizes={str(key): reason for key, reason in sorted(sizes.other.items())},
        notes=tuple(notes or bad.notes()),
        unlabeled=unlabeled,
    )


def _next_steps(name: str, splits: Mapping[Split, SplitCheck]) -> Iterable[str]:
    """Yield what to do for one task, the most important step of each split first."""
    card = dataset_cards().get(name)
    publisher = f"{card.publisher} (twelvefold datasets {name})" if card else "its publisher"
    missing: dict[str, list[str]] = {}
    for split, check in splits.items():
        if check.error and not check.files:
            missing.setdefault(check.error, []).append(split)
    for error, names in missing.items():
        yield f"{', '.join(names)}: {error}; get it from {publisher}"
    for split, check in splits.items():
        if check.error and check.files:
            yield f"{split} cannot be read: {check.error}; get a damaged file again from {publisher}"
        if check.num_malformed:
            advice = "correct them, or prepare with --skip-bad"
            if not check.examples:
                advice = f"no record can be used, so this is another file or layout; get it from {publisher}"
            yield (
                f"{split}: {check.num_malformed:,} malformed record{'s' * (check.num_malformed > 1)}, such as "
                f"{check.first_malformed[0]}; {advice}"
            )
        if not check.error and not check.count_is_right:
            yield (
                f"{split}: {check.examples:,} examples, but the full files hold {check.expected:,}: the files are a "
                "sample, another release, or truncated"
            )
        if check.num_images_missing:
            sources = {ImageKey.parse(key).source for key in check.first_missing_images}
            folders = sorted(IMAGE_SOURCES[source].folder for source in sources if source in IMAGE_SOURCES)
            yield (
                f"{split}: {check.num_images_missing:,} of {check.num_images:,} images are not under images/, such as "
                f"{', '.join(check.first_missing_images)}; put them into {' or '.join(folders) or 'images/<source>'}"
            )
        if check.other_sizes:
            listed = [f"{key} ({reason})" for key, reason in list(check.other_sizes.items())[:MAX_SHOWN]]
            yield (
                f"{split}: {len(check.other_sizes):,} images do not fit their boxes, such as {'; '.join(listed)}; "
                "`prepare` leaves their examples out: use the publisher's own image files"
            )
