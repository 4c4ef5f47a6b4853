"""Clean splits without preparing anything: decide which examples no task may learn from, and why. Paper: section 2.2.

``prepare`` does the same before it makes tables. Here the result is a manifest that recipes can pin, id lists for other
projects, and a comparison with the original project's ``*_test_ids.npy``. This module never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from twelvefold import datasets
from twelvefold.datasets.reading import same_image_links
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.schema import Split, TwelvefoldError
from twelvefold.splits import decide, id_lists, manifest
from twelvefold.splits.policy import Policy, get_policy
from twelvefold.splits.similarity_limit import SHEET, check_similarity, count_removed_by_similarity
from twelvefold.splits.split_source import FilesSource, id_tables
from twelvefold.store import atomic_files
from twelvefold.store.prepared import CLEANING, SPLITS

Tasks = Sequence[str] | Mapping[str, Mapping[str, Any]]
"""Names of tasks, or the keyword arguments of each task's reader. A drawn world states its own options for the rest."""


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """Examples of one split before cleaning, removed, and after."""

    read: int
    removed: int
    kept: int


class CleanSummary(msgspec.Struct, frozen=True):
    """The result of :func:`clean`.

    ``manifest``: path of the manifest. ``digest``: its digest, which a recipe can pin. ``counts``: by task, then split.
    ``ids``: the folder of id lists, if requested. ``limitations``: what could not be found out. ``unreadable``: images
    that could not be compared, with the reason. ``problems``: malformed records that were skipped.
    ``removed_by_similarity``: the number of examples that are removed only because images look alike.
    """

    manifest: Path
    digest: str
    policy: str
    counts: Mapping[str, Mapping[str, SplitCounts]]
    ids: Path | None
    limitations: tuple[str, ...] = msgspec.field(name="hidden")
    unreadable: Mapping[str, str]
    problems: tuple[str, ...]
    removed_by_similarity: int

    def table(self) -> Table:
        """Return the counts by task, for printing with rich."""
        return counts_table(self.counts)


def counts_table(counts_by_task: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the examples read, removed and kept, by task and split, for printing with rich."""
    table = Table("task")
    for name in ("train read", "removed", "kept", "val read", "removed", "kept", "test kept"):
        table.add_column(name, justify="right")
    for task, counts in counts_by_task.items():
        cells = [f"{n:,}" for s in ("train", "val") for n in (counts[s].read, counts[s].removed, counts[s].kept)]
        table.add_row(task, *cells, f"{counts['test'].kept:,}")
    return table


def clean(
    data: Path,
    out: Path,
    *,
    policy: str | Policy = "paper",
    tasks: Tasks = (),
    protect: Sequence[str | Path] = (),
    ids: bool = False,
    skip_bad: bool = False,
    processes: int = 1,
) -> CleanSummary:
    """Decide which examples no task may learn from, and write it to ``out/clean.json``, which recipes can pin.

    Args:
        data: A data folder with the official files.
        out: Folder for clean.json and for id lists.
        policy: paper: every task's test images leave every task's train and val. strict: val images leave train too.
            exact: as paper, without similarity. ids: as paper, by publishers' ids alone. lists: the lists given with
            --protect and nothing else. A :class:`Policy` can also have another ``max_similar``.
        tasks: Names of tasks, or dotted names of datasets of your own; default: all twelve. A mapping gives each task
            keyword arguments for its reader.
        protect: Lists of additional protected images, in any form that the audit reads, or folders of images:
            coco_test_ids.npy, or vg=mine.csv to name the source.
        ids: Also write lists of kept and removed ids, for each task and split, to OUT/ids.
        skip_bad: Skip malformed records instead of stopping at the first.
        processes: Number of processes that read files and compare images.

    Raises:
        TwelvefoldError: unknown policy or task, a missing or broken file, an invalid id list, the policy is
            ``lists`` and ``protect`` is empty, or similarity alone would remove more than ``max_similar`` of a split:
            then only OUT/similar.html is written, which shows the pairs.
    """
    chosen = policy if isinstance(policy, Policy) else get_policy(policy)
    lists = [id_lists.load_id_list(file) for file in protect]
    if not chosen.protects and not lists:
        raise TwelvefoldError(f"the policy {chosen.name!r} protects nothing but id lists: add --protect FILE")
    data, out, bad, bad_links = Path(data), Path(out), BadRecords(skip_bad), BadRecords(skip_bad)
    sources, notes = files_sources(data, tasks), out / "notes"
    with atomic_files.lock_folder(out):
        with (
            atomic_files.atomic_folder(out / "ids") if ids else nullcontext() as ids_dir,
            id_tables(sources, notes / "splits", bad=bad, processes=processes) as tables,
        ):
            used, decide_removals = decide.image_sources(tables, lists), partial(decide.decide_removals, lists=lists)
            collect = partial(decide.collect_policy_evidence, cache_dir=notes, processes=processes, sources=used)
            evidence = collect(data, chosen, bad=bad_links)
            decided = decide_removals(tables, chosen, evidence, bad=bad, processes=processes, ids_dir=ids_dir)
            check_similarity(decided, data, out / SHEET)
        manifest.write_manifest(out / CLEANING, decided)
    return CleanSummary(
        manifest=out / CLEANING,
        digest=decided.digest,
        policy=chosen.name,
        counts=_split_counts(decided),
        ids=out / "ids" if ids else None,
        limitations=(*decided.limitations, *_comment_notes(lists)),
        unreadable=decided.unreadable,
        removed_by_similarity=count_removed_by_similarity(decided),
        problems=tuple(map(str, [*bad_links.rejected, *bad.rejected])),
    )


def _comment_notes(lists: Sequence[id_lists.IdList]) -> list[str]:
    return [
        f"{each.info.file}: lines that begin with # are comments and left out: {each.num_comments:,}"
        for each in lists
        if each.num_comments
    ]


def _split_counts(decided: manifest.CleaningManifest) -> dict[str, dict[str, SplitCounts]]:
    return {
        task: {
            split: SplitCounts(each.source.examples, len(each.removed_ids()), each.kept)
            for split, each in splits.items()
        }
        for task, splits in decided.splits.items()
    }


def compare_id_lists(
    data: Path, lists: Sequence[str | Path], *, tasks: Tasks = (), skip_bad: bool = False, processes: int = 1
) -> list[id_lists.IdListComparison]:
    """Compare id lists of the original project with the test images of ``tasks``, under all keys of the id maps.

    Args:
        data: A data folder with the official files.
        lists: Lists of ids, in any form that the audit reads. The source of the ids is in the file's name, or before
            it: vg=mine.csv.
        tasks: Names of tasks, or dotted names of datasets of your own; default: all twelve. A mapping gives each task
            keyword arguments for its reader.
        skip_bad: Skip malformed records instead of stopping at the first.
        processes: Number of processes that read files.

    Raises:
        TwelvefoldError: as :func:`clean`.
    """
    data, loaded, bad = Path(data), [id_lists.load_id_list(file) for file in lists], BadRecords(skip=skip_bad)
    sources = files_sources(data, tasks)
    groups = ImageGroups(same_image_links.read_links(data, bad=bad))
    protected = decide.protected_test_images(sources, groups, bad=bad, processes=processes)
    return [id_lists.compare_id_list(id_list, protected) for id_list in loaded]


def files_sources(data: Path, tasks: Tasks) -> dict[str, dict[Split, FilesSource]]:
    """Return the official files of every split of the tasks, after checking all names and reader options."""
    if not data.is_dir():
        raise TwelvefoldError(
            f"{data} is not a data folder: expected a folder with the official files, as in docs/data.md"
        )
    tasks = tasks or datasets.paper_task_names()
    loaded = datasets.load_datasets(tasks)
    options = reader_options(data, tasks, tasks if isinstance(tasks, Mapping) else None)
    for name, dataset in zip(tasks, loaded.values(), strict=True):
        datasets.check_options(dataset, options[name])
    return {
        task: {split: FilesSource(data, name, options[name], split) for split in SPLITS}
        for name, task in zip(tasks, loaded, strict=True)
    }
